//! Near copies in the machine's shared file: two words, the stamp and the deadline, and the value as the server stores it.

use nearcache::Timestamp;
use nearcache::shared::NewEntry;
use nearcache_remote::near::{BootTime, Stamp, Stripe};
use pyo3::prelude::*;

use super::wire;
use crate::memory;
use crate::store::near_copy::Mark;
use crate::store::shared::{RawValue, SharedStore, Words};

/// The kind of the entries, which no value of a `SharedCache` has.
const KIND: u8 = 0x7f;
const WORD: usize = size_of::<u64>();
/// The shortest value that is kept as an object. Shorter ones are decoded as quickly as they are found.
const WORTH_KEEPING: usize = 48;

/// A copy's value.
pub(super) struct SharedCopy {
    words: Words,
    value: RawValue,
    object_capacity: u64,
}

impl SharedCopy {
    /// Returns the value.
    pub(super) fn decode(self, py: Python<'_>, store: &SharedStore, key: &[u8]) -> PyResult<Py<PyAny>> {
        let (bytes, source) = match self.value {
            RawValue::Kept(_, stored) => {
                store.objects.count_hit();
                return stored.decode(py);
            }
            RawValue::Bytes(bytes, source) => (bytes, source),
        };
        let stored = &bytes[2 * WORD..];
        let value = wire::decode(py, stored)?;
        if stored.len() >= WORTH_KEEPING && stored.len() as u64 <= self.object_capacity {
            store.keep_raw(key, &source, self.words, value.bind(py), self.object_capacity)?;
        }
        Ok(value)
    }
}

/// Returns the copy of a key, and until when it is valid.
pub(super) fn find(
    py: Python<'_>,
    store: &SharedStore,
    key: &[u8],
    object_capacity: u64,
) -> PyResult<Option<(Mark, SharedCopy)>> {
    let Some(value) = store.read_raw(py, key, KIND, object_capacity)? else {
        return Ok(None);
    };
    let words = match &value {
        RawValue::Kept(words, _) => Some(*words),
        RawValue::Bytes(bytes, _) => take_words(bytes),
    };
    Ok(words.map(|words| {
        let copy = SharedCopy {
            words,
            value,
            object_capacity,
        };
        (mark(key, words), copy)
    }))
}

/// Returns until when a copy is valid.
fn mark(key: &[u8], [stamp, deadline]: Words) -> Mark {
    Mark {
        stripe: Stripe::of(key),
        stamp: Stamp::from_word(stamp),
        deadline: BootTime::from_millis(deadline),
    }
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

/// Returns the first words of a copy; `None` if it has too few bytes.
fn take_words(bytes: &[u8]) -> Option<Words> {
    let (stamp, rest) = bytes.split_first_chunk::<WORD>()?;
    let deadline = rest.first_chunk::<WORD>()?;
    Some([u64::from_le_bytes(*stamp), u64::from_le_bytes(*deadline)])
}
