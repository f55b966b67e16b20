//! The near copies of a `TieredCache` in the file: a value's bytes as everywhere in it, and before them two words.
//!
//! Such an entry can be done without. So nothing here waits for another process, and what cannot be written is not stored.
#![allow(unsafe_code)] // implementing `Sink`

use std::mem::MaybeUninit;

use nearcache::shared::{NewEntry, ReadError, SharedCache, SharedError, SharedStats, Sink, Stamp};
use nearcache::{OutOfMemory, Timestamp};
use pyo3::prelude::*;

use super::super::stats::ObjectCounts;
use super::access::SharedStore;
use super::object_cache::{Header, ObjectCache, Read, Source, may_be_kept};
use crate::clock::Now;
use crate::memory::{concat, no_memory};
use crate::values::bytes::{Decoder, EncodedBytes, NEAR, Undecodable, rereading};
use crate::values::{Stored, pickle};

const WORD: usize = size_of::<u64>();

impl SharedStore {
    /// Returns the value of a live copy, if its header is valid. Any other is not decoded.
    ///
    /// What this process cannot decode counts as no copy.
    pub(crate) fn get_near_copy(
        &self,
        py: Python<'_>,
        key: &[u8],
        object_capacity: u64,
        is_valid: impl FnOnce(Header) -> bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let mapped = self.file.mapped();
        let mut sink = KeptOrBytes {
            py,
            objects: &self.objects,
            key,
            file: mapped.number,
            capacity: object_capacity,
            kept: None,
            bytes: Vec::new(),
        };
        let entry = match mapped.cache_without_waiting.try_get_into(key, &mut sink) {
            Ok(Some(entry)) if entry.kind & NEAR != 0 => entry,
            Ok(_) | Err(ReadError::Busy) => return Ok(None),
            Err(_) => return Err(no_memory(())),
        };
        if let Some((header, stored)) = sink.kept {
            if !is_valid(header) {
                return Ok(None);
            }
            self.objects.count_hit();
            return readable(stored.decode(py).map_err(Undecodable::from_exception(py)));
        }
        let Some((header, value)) = split_header(&sink.bytes).filter(|(header, _)| is_valid(*header)) else {
            return Ok(None);
        };
        let kind = entry.kind & !NEAR;
        let object = readable(Decoder::with_bytes(py, true, kind, value)?.object())?;
        if let Some(object) = &object
            && may_be_kept(kind, value.len(), object_capacity)
        {
            let read = Read {
                value: object.bind(py),
                rereading: rereading(kind, value.len()),
                header,
                pickle_protocol: Some(pickle::PROTOCOL),
            };
            let source = Source::new(mapped.number, &entry);
            self.objects.keep(key, &source, &read, object_capacity)?;
        }
        Ok(object)
    }

    /// Stores a copy; returns whether there was room and no other process was writing.
    pub(crate) fn set_near_copy(
        &self,
        key: &[u8],
        header: Header,
        value: &EncodedBytes<'_, '_>,
        expires_at: Timestamp,
    ) -> PyResult<bool> {
        let [first, second] = header.map(u64::to_le_bytes);
        let bytes = concat([&first, &second, value.bytes()])?;
        let entry = NewEntry::new(&bytes)
            .kind(value.kind | NEAR)
            .expires_at(expires_at);
        match self.file.mapped().cache_without_waiting.insert_entry(key, entry) {
            Ok(()) => Ok(true),
            Err(SharedError::OutOfMemory(_)) => Err(no_memory(())),
            Err(_) => Ok(false),
        }
    }

    pub(crate) fn clear_near_copies(&self) {
        self.with(Now::System, SharedCache::clear);
        self.objects.clear();
    }

    pub(crate) fn near_copy_stats(&self) -> (SharedStats, ObjectCounts) {
        (self.with(Now::System, SharedCache::stats), self.objects.counts())
    }

    pub(crate) fn reset_near_copy_stats(&self) {
        self.with(Now::System, SharedCache::reset_stats);
        self.objects.reset_counts();
    }
}

/// Returns the object; `None` if this process cannot read it.
fn readable(object: Result<Py<PyAny>, Undecodable>) -> PyResult<Option<Py<PyAny>>> {
    match object {
        Ok(object) => Ok(Some(object)),
        Err(Undecodable::Invalid(_)) => Ok(None),
        Err(Undecodable::Raised(raised)) => Err(raised),
    }
}

/// Receives a copy: the value kept of an earlier read, or else its bytes.
struct KeptOrBytes<'a, 'py> {
    py: Python<'py>,
    objects: &'a ObjectCache,
    key: &'a [u8],
    file: u64,
    capacity: u64,
    kept: Option<(Header, Stored)>,
    bytes: Vec<u8>,
}

impl Sink for KeptOrBytes<'_, '_> {
    #[inline]
    fn has_copy(&mut self, kind: u8, len: usize, stamp: &Stamp) -> bool {
        let value_len = len.saturating_sub(size_of::<Header>());
        if kind & NEAR != 0 && may_be_kept(kind & !NEAR, value_len, self.capacity) {
            let source = Source {
                file: self.file,
                stamp: *stamp,
            };
            self.kept = self.objects.get(self.py, self.key, &source);
        }
        self.kept.is_some()
    }

    #[inline]
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.bytes.buffer(kind, len)
    }

    #[inline]
    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: the caller promises that it wrote the last buffer, which is the vector's.
        unsafe { self.bytes.filled(len) };
    }
}

/// Splits a copy's bytes into the header and the value; `None` if they are too few.
fn split_header(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<WORD>()?;
    let (second, value) = rest.split_first_chunk::<WORD>()?;
    Some(([u64::from_le_bytes(*first), u64::from_le_bytes(*second)], value))
}
