//! Near copies in the machine's shared file: two words, the stamp and the deadline, and the value as the server stores it.

use nearcache::Timestamp;
use nearcache::shared::NewEntry;
use nearcache_remote::near::{BootTime, Stamp, Stripe};
use pyo3::prelude::*;

use super::wire;
use crate::memory;
use crate::store::near_copy::Mark;
use crate::store::shared::SharedStore;

/// The kind of the entries, which no value of a `SharedCache` has.
const KIND: u8 = 0x7f;
const WORD: usize = size_of::<u64>();

/// A copy's bytes in the file: two words, and the value as the server stores it.
pub(super) struct StoredBytes(Vec<u8>);

impl StoredBytes {
    /// Returns the value.
    pub(super) fn decode(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        wire::decode(py, &self.0[2 * WORD..])
    }

    /// Returns until when the copy is valid; `None` if they are too few.
    fn mark(&self, key: &[u8]) -> Option<Mark> {
        let (stamp, rest) = take_word(&self.0)?;
        let (deadline, _) = take_word(rest)?;
        Some(Mark {
            stripe: Stripe::of(key),
            stamp: Stamp::from_word(stamp),
            deadline: BootTime::from_millis(deadline),
        })
    }
}

/// Returns the copy of a key.
pub(super) fn find(store: &SharedStore, key: &[u8]) -> PyResult<Option<(Mark, StoredBytes)>> {
    let mut bytes = Vec::new();
    if !store.read_raw(key, KIND, &mut bytes)? {
        return Ok(None);
    }
    let bytes = StoredBytes(bytes);
    Ok(bytes.mark(key).map(|mark| (mark, bytes)))
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
