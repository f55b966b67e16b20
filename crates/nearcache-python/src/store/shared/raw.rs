//! Reading and writing bytes of a kind that is not a Python value's: the near copies of a `TieredCache`.
//!
//! Such an entry can be done without. So nothing here waits for another process, and what cannot be written is not stored.
#![allow(unsafe_code)] // `Sink::filled` is unsafe to call

use std::mem::MaybeUninit;

use nearcache::OutOfMemory;
use nearcache::shared::{NewEntry, ReadError, SharedCache, SharedError, SharedStats, Sink, Stamp};
use pyo3::prelude::*;

use super::super::stats::ObjectCounts;
use super::access::SharedStore;
use super::object_cache::{ObjectCache, Read, Source, Words};
use crate::clock::Now;
use crate::memory::no_memory;
use crate::values::Stored;
use crate::values::bytes::Rereading;

/// The value of an entry.
pub(crate) enum RawValue {
    /// As it was decoded at an earlier read, and its first words.
    Kept(Words, Stored),
    Bytes(Vec<u8>, Source),
}

impl SharedStore {
    /// Reads a live entry of this kind.
    pub(crate) fn read_raw(
        &self,
        py: Python<'_>,
        key: &[u8],
        kind: u8,
        object_capacity: u64,
    ) -> PyResult<Option<RawValue>> {
        let mapped = self.file.mapped();
        let mut sink = KeptOrBytes {
            py,
            objects: (object_capacity > 0).then_some(&self.objects),
            key,
            file: mapped.number,
            kept: None,
            bytes: Vec::new(),
        };
        let found = match mapped.cache_without_waiting.try_get_into(key, &mut sink) {
            Ok(found) => found.filter(|found| found.kind == kind),
            Err(ReadError::Busy) => None,
            Err(_) => return Err(no_memory(())),
        };
        let value = |entry| match sink.kept {
            Some((words, stored)) => RawValue::Kept(words, stored),
            None => RawValue::Bytes(sink.bytes, Source::new(mapped.number, &entry)),
        };
        Ok(found.map(value))
    }

    /// Keeps what was decoded from an entry's bytes, if that is worth it.
    pub(crate) fn keep_raw(
        &self,
        key: &[u8],
        source: &Source,
        words: Words,
        value: &Bound<'_, PyAny>,
        object_capacity: u64,
    ) -> PyResult<()> {
        let read = Read {
            value,
            rereading: Rereading::Expensive,
            words,
            pickle_protocol: None,
        };
        self.objects.keep(key, source, &read, object_capacity)
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
        self.objects.clear();
    }

    pub(crate) fn raw_stats(&self) -> (SharedStats, ObjectCounts) {
        (self.with(Now::System, SharedCache::stats), self.objects.counts())
    }

    pub(crate) fn reset_raw_stats(&self) {
        self.with(Now::System, SharedCache::reset_stats);
        self.objects.reset_counts();
    }
}

/// Receives a value: the one kept of an earlier read, or else its bytes.
struct KeptOrBytes<'a, 'py> {
    py: Python<'py>,
    objects: Option<&'a ObjectCache>,
    key: &'a [u8],
    file: u64,
    kept: Option<(Words, Stored)>,
    bytes: Vec<u8>,
}

impl Sink for KeptOrBytes<'_, '_> {
    fn has_copy(&mut self, _kind: u8, _len: usize, stamp: &Stamp) -> bool {
        let source = Source {
            file: self.file,
            stamp: *stamp,
        };
        self.kept = self
            .objects
            .and_then(|objects| objects.get(self.py, self.key, &source));
        self.kept.is_some()
    }

    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.bytes.buffer(kind, len)
    }

    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: the caller promises that it wrote the last buffer, which is the vector's.
        unsafe { self.bytes.filled(len) };
    }
}
