//! The names of what `get_or_set` keeps on the server beside an entry.
//!
//! They begin with the cache's prefix, so that `clear` finds them and rules for access that allow the prefix allow them, but
//! where a key has its version they have a word, so that no pattern of keys matches them. They have the hash slot of the key.

use nearcache_remote::{Request, Route, number_with_slot_of};
use pyo3::prelude::*;

use super::tiered_store::TieredStore;
use crate::memory::{concat, format, push};

/// What a key has beside its entry.
#[derive(Clone, Copy)]
pub(super) enum Beside {
    /// The entry's cost, and its value for when it is stale.
    Stale,
    /// The token of the machine that computes.
    Lock,
}

impl Beside {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Stale => b"nearcache-stale:",
            Self::Lock => b"nearcache-lock:",
        }
    }
}

impl TieredStore {
    /// Returns the name of what a key has beside its entry. O(length of the key).
    pub(super) fn name(&self, key: &[u8], beside: Beside) -> PyResult<Vec<u8>> {
        let (prefix, word) = (self.key_prefix.as_slice(), beside.word());
        let slot = Route::key(key);
        if Route::key(&concat([prefix, word, key])?) == slot {
            // The key has a hash tag, or there is one slot in any case.
            return concat([prefix, word, key]);
        }
        let tagged = concat([prefix, word, b"{", key, b"}"])?;
        if !self.is_cluster() || Route::key(&tagged) == slot {
            return Ok(tagged);
        }
        // Braces that are no hash tag: a number that has the slot becomes one.
        let tag = format(format_args!("{{{}}}", number_with_slot_of(key)))?;
        if prefix.contains(&b'{') {
            // The first brace counts. `clear` does not find this name.
            concat([tag.as_bytes(), prefix, word, key])
        } else {
            concat([prefix, word, tag.as_bytes(), key])
        }
    }

    /// Returns whether a stored key is the name of what another key has beside its entry.
    pub(super) fn is_beside(&self, stored: &[u8]) -> bool {
        self.split(stored).is_some()
    }

    /// Adds the keys that have this name beside their entries to `keys`. There are two if one is the other one in braces.
    pub(super) fn push_keys_of(&self, stored: &[u8], keys: &mut Vec<Vec<u8>>) -> PyResult<()> {
        let Some((beside, rest)) = self.split(stored) else {
            return Ok(());
        };
        let in_braces = rest.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        let after_tag = rest.strip_prefix(b"{").and_then(after_brace);
        for key in [Some(rest), in_braces, after_tag].into_iter().flatten() {
            if self.name(key, beside)? == stored {
                push(keys, concat([key])?)?;
            }
        }
        Ok(())
    }

    /// Splits the name of what a key has beside its entry: what it is, and what follows the word.
    fn split<'a>(&self, stored: &'a [u8]) -> Option<(Beside, &'a [u8])> {
        let unprefixed = match stored.strip_prefix(b"{") {
            // As `name` makes it for a prefix with a brace.
            Some(rest) => after_brace(rest).unwrap_or(stored),
            None => stored,
        };
        [stored, unprefixed].into_iter().find_map(|name| {
            let rest = name.strip_prefix(self.key_prefix.as_slice())?;
            [Beside::Stale, Beside::Lock]
                .into_iter()
                .find_map(|beside| Some((beside, rest.strip_prefix(beside.word())?)))
        })
    }

    /// Adds the command that deletes all that a key has beside its entry.
    pub(super) fn unlink_beside(&self, keys: &[&[u8]], route: Route, request: &mut Request) -> PyResult<()> {
        let mut command = nearcache_remote::cmd("UNLINK");
        for key in keys {
            command
                .arg(self.name(key, Beside::Stale)?)
                .arg(self.name(key, Beside::Lock)?);
        }
        request.add(command, route, true);
        Ok(())
    }
}

/// Returns what follows the first closing brace.
fn after_brace(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|&byte| byte == b'}')?;
    text.get(end + 1..)
}
