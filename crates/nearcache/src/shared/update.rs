//! Replacing a value by one that is computed from it.

use super::cache::SharedCache;
use super::entry::NewEntry;
use super::error::{SharedError, UpdateError};
use crate::clock::Clock;

/// How often an update is attempted.
const ATTEMPTS: u32 = 100;

impl<C: Clock> SharedCache<C> {
    /// Replaces the kind and value of a live entry by what `f` returns for them, atomically; returns whether there was a
    /// live entry.
    ///
    /// The expiry time stays; a stale time and a cost do not. No lock is held while `f` runs. It is called again if the entry
    /// was written meanwhile.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Function`] if `f` failed. [`UpdateError::Overtaken`] if the entry was written meanwhile 100 times in
    /// succession. [`UpdateError::Cache`] if the new value could not be inserted.
    pub fn update<E>(
        &self,
        key: &[u8],
        mut f: impl FnMut(u8, &[u8]) -> Result<(u8, Vec<u8>), E>,
    ) -> Result<bool, UpdateError<E>> {
        let mut old = Vec::new();
        for _ in 0..ATTEMPTS {
            let Some(found) = self.get_into(key, &mut old).map_err(SharedError::from)? else {
                return Ok(false);
            };
            let (kind, new) = f(found.kind, &old).map_err(UpdateError::Function)?;
            let entry = NewEntry::new(&new).kind(kind).expires_at(found.expires_at);
            if self.insert_entry_if_unchanged(key, entry, found.stamp)? {
                return Ok(true);
            }
        }
        Err(UpdateError::Overtaken { attempts: ATTEMPTS })
    }
}
