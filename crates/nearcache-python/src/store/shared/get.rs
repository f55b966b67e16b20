//! Reading values: straight from the file into the Python object, or from the objects kept of earlier reads.
#![allow(unsafe_code)] // `Sink::filled` is unsafe to call

use std::mem::MaybeUninit;

use nearcache::OutOfMemory;
use nearcache::shared::{EntryInfo, ReadError, Sink, Stamp};
use pyo3::prelude::*;

use super::access::{SharedStore, with_clock};
use super::object_cache::{ObjectCache, Read, Source, may_be_kept};
use crate::clock::Now;
use crate::context::CallContext;
use crate::memory::no_memory;
use crate::values::Stored;
use crate::values::bytes::{Decoder, Undecodable, is_pickle, rereading};

impl SharedStore {
    pub(crate) fn get(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.get_entry(context, key)?.map(|(value, _)| value))
    }

    /// Returns the value of a live entry, and a description of the entry.
    #[inline]
    pub(super) fn get_entry(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
    ) -> PyResult<Option<(Py<PyAny>, EntryInfo)>> {
        let (py, now, mapped) = (context.py(), context.now()?, self.file.mapped());
        let settings = &context.settings;
        let mut sink = KeptOrDecoded {
            objects: &self.objects,
            key,
            file: mapped.number,
            capacity: settings.shared.object_capacity,
            unpickles: settings.shared.pickles,
            kept: None,
            decoder: Decoder::new(py, settings.shared.pickles),
        };
        let entry = match with_clock(&mapped.cache, now, |cache| cache.try_get_into(key, &mut sink)) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(ReadError::Busy) => return self.get_with_waiting(context, key, now),
            Err(_) => return Err(no_memory(())),
        };
        if let Some(kept) = sink.kept {
            self.objects.count_hit();
            let object = kept.decode(py).map_err(Undecodable::from_exception(py));
            let object = self.readable(py, key, object, now)?;
            return Ok(object.map(|object| (object, entry)));
        }
        let decoded = self.decode(py, key, sink.decoder, now)?;
        if let Some(object) = &decoded
            && may_be_kept(entry.kind, entry.len, settings.shared.object_capacity)
        {
            let read = Read {
                value: object.bind(py),
                rereading: rereading(entry.kind, entry.len),
                header: [0; 2],
                pickle_protocol: settings.pickle_protocol,
            };
            let source = Source::new(mapped.number, &entry);
            self.objects
                .keep(key, &source, &read, settings.shared.object_capacity)?;
        }
        Ok(decoded.map(|object| (object, entry)))
    }

    #[cold]
    fn get_with_waiting(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<(Py<PyAny>, EntryInfo)>> {
        let mut value = Vec::new();
        let found = self
            .read_bytes(context, key, now, &mut value)
            .map_err(no_memory)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let decoder = Decoder::with_bytes(context.py(), context.settings.shared.pickles, found.kind, &value)?;
        let object = self.decode(context.py(), key, decoder, now)?;
        Ok(object.map(|object| (object, found)))
    }
}

/// Receives a value: the one kept of an earlier read, or else its bytes.
struct KeptOrDecoded<'a, 'py> {
    objects: &'a ObjectCache,
    key: &'a [u8],
    file: u64,
    capacity: u64,
    unpickles: bool,
    kept: Option<Stored>,
    decoder: Decoder<'py>,
}

impl Sink for KeptOrDecoded<'_, '_> {
    #[inline]
    fn has_copy(&mut self, kind: u8, len: usize, stamp: &Stamp) -> bool {
        if may_be_kept(kind, len, self.capacity) && (self.unpickles || !is_pickle(kind)) {
            let source = Source {
                file: self.file,
                stamp: *stamp,
            };
            let found = self.objects.get(self.decoder.py(), self.key, &source);
            self.kept = found.map(|(_, stored)| stored);
        }
        self.kept.is_some()
    }

    #[inline]
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.decoder.buffer(kind, len)
    }

    #[inline]
    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: the caller promises that it wrote the last buffer, which is the decoder's.
        unsafe { self.decoder.filled(len) };
    }
}
