//! Near copies in the machine's shared file: two words, the stamp and the deadline, and the value as the server stores it.

use nearcache::Timestamp;
use nearcache::shared::NewEntry;
use nearcache_remote::near::{BootTime, Stamp};
use pyo3::prelude::*;

use super::near::{Found, Mark, found_on_wire};
use crate::memory;
use crate::store::shared::SharedStore;

/// The kind of the entries, which no value of a `SharedCache` has.
const KIND: u8 = 0x7f;
const WORD: usize = size_of::<u64>();

/// Returns the copy of a key.
pub(super) fn find(store: &SharedStore, py: Python<'_>, key: &[u8]) -> PyResult<Option<Found>> {
    let mut bytes = Vec::new();
    if !store.read_raw(key, KIND, &mut bytes)? {
        return Ok(None);
    }
    let Some((stamp, rest)) = take_word(&bytes) else {
        return Ok(None);
    };
    let Some((deadline, stored)) = take_word(rest) else {
        return Ok(None);
    };
    let mark = Mark {
        stamp: Stamp::from_word(stamp),
        deadline: BootTime::from_millis(deadline),
    };
    found_on_wire(py, mark, stored).map(Some)
}

/// Stores a copy; returns whether the file has room for it.
pub(super) fn insert(
    store: &SharedStore,
    key: &[u8],
    mark: Mark,
    stored: &[u8],
    expires_at: Timestamp,
) -> PyResult<bool> {
    let (stamp, deadline) = (
        mark.stamp.as_word().to_le_bytes(),
        mark.deadline.as_millis().to_le_bytes(),
    );
    let bytes = memory::concat([&stamp, &deadline, stored])?;
    let entry = NewEntry::new(&bytes).kind(KIND).expires_at(expires_at);
    store.write_raw(key, entry)
}

fn take_word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<WORD>()?;
    Some((u64::from_le_bytes(*word), rest))
}
