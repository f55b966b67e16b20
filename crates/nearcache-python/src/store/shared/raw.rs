//! Reading and writing bytes of a kind that is not a Python value's: the near copies of a `TieredCache`.
//!
//! Such an entry can be done without. So nothing here waits for another process, and what cannot be written is not stored.

use nearcache::shared::{NewEntry, ReadError, SharedCache, SharedError, SharedStats};
use pyo3::prelude::*;

use super::access::SharedStore;
use crate::clock::Now;
use crate::memory::no_memory;

impl SharedStore {
    /// Copies the bytes of a live entry of this kind; returns whether there is one.
    pub(crate) fn read_raw(&self, key: &[u8], kind: u8, value: &mut Vec<u8>) -> PyResult<bool> {
        let mapped = self.file.mapped();
        match mapped.cache_without_waiting.try_get_into(key, value) {
            Ok(found) => Ok(found.is_some_and(|found| found.kind == kind)),
            Err(ReadError::Busy) => Ok(false),
            Err(_) => Err(no_memory(())),
        }
    }

    /// Stores bytes; returns whether there was room and no other process was writing.
    pub(crate) fn write_raw(&self, key: &[u8], entry: NewEntry<'_>) -> PyResult<bool> {
        match self.file.mapped().cache_without_waiting.set(key, entry) {
            Ok(()) => Ok(true),
            Err(SharedError::OutOfMemory(_)) => Err(no_memory(())),
            Err(_) => Ok(false),
        }
    }

    pub(crate) fn clear_raw(&self) {
        self.with(Now::System, SharedCache::clear);
    }

    pub(crate) fn raw_stats(&self) -> SharedStats {
        self.with(Now::System, SharedCache::stats)
    }

    pub(crate) fn reset_raw_stats(&self) {
        self.with(Now::System, SharedCache::reset_stats);
    }
}
