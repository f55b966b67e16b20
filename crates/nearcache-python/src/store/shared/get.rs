//! Reading values: straight from the file into the Python object, or from the objects kept of earlier reads.
#![allow(unsafe_code)] // `Sink::filled` is unsafe to call

use std::mem::MaybeUninit;

use nearcache::OutOfMemory;
use nearcache::shared::{ReadError, Sink, Stamp};
use pyo3::prelude::*;

use super::access::{SharedStore, with_clock};
use super::object_cache::{Header, ObjectCache};
use crate::clock::Now;
use crate::context::CallContext;
use crate::memory::no_memory;
use crate::values::bytes::Decoder;

impl SharedStore {
    pub(crate) fn get(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        let (py, now, mapped) = (context.py(), context.now()?, self.file.mapped());
        let mut sink = CachedOrDecoded {
            objects: &mapped.objects,
            cached: None,
            decoder: Decoder::new(py),
        };
        let entry = match with_clock(&mapped.cache, now, |cache| cache.try_get_into(key, &mut sink)) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(ReadError::Busy) => return self.get_with_waiting(context, key, now),
            Err(_) => return Err(no_memory(())),
        };
        if sink.cached.is_some() {
            return Ok(sink.cached);
        }
        let decoded = self.decode(py, key, sink.decoder, now)?;
        if let Some(object) = decoded
            .as_ref()
            .filter(|_| mapped.objects.accepts(entry.kind, entry.len))
        {
            mapped
                .objects
                .insert(entry.stamp, Header::default(), entry.len, object.clone_ref(py));
        }
        Ok(decoded)
    }

    #[cold]
    fn get_with_waiting(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<Py<PyAny>>> {
        let mut value = Vec::new();
        let found = self
            .read_bytes(context, key, now, &mut value)
            .map_err(no_memory)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let decoder = Decoder::with_bytes(context.py(), found.kind, &value)?;
        self.decode(context.py(), key, decoder, now)
    }
}

/// Receives a value: the object kept of an earlier read, or else its bytes.
struct CachedOrDecoded<'a, 'py> {
    objects: &'a ObjectCache,
    cached: Option<Py<PyAny>>,
    decoder: Decoder<'py>,
}

impl Sink for CachedOrDecoded<'_, '_> {
    #[inline]
    fn has_copy(&mut self, kind: u8, len: usize, stamp: &Stamp) -> bool {
        if self.objects.accepts(kind, len) {
            let found = self.objects.get(self.decoder.py(), stamp);
            self.cached = found.map(|(_, object)| object);
        }
        self.cached.is_some()
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
