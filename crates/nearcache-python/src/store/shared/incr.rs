//! Adding to values: in place if both are integers of 64 bits, else by reading, adding in Python, and writing if no other
//! wrote meanwhile.

use nearcache::shared::{Incremented, NewEntry};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::access::{SharedStore, WriteFailure};
use crate::arguments::Any;
use crate::clock::Now;
use crate::context::CallContext;
use crate::errors::error;
use crate::memory::no_memory;
use crate::objects::int;
use crate::values::bytes::{Decoder, EncodedBytes, INT};

/// How often an addition in Python is repeated because another writer was faster.
const MAX_ATTEMPTS: u32 = 100;

impl SharedStore {
    pub(super) fn add<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let now = context.now()?;
        let small = delta
            .cast_exact::<PyInt>()
            .ok()
            .and_then(|delta| delta.extract().ok());
        let Some(small) = small else {
            return self.add_objects(context, key, delta, now);
        };
        let incremented = self.write(py, now, |cache| cache.incr(key, small, INT));
        match incremented.map_err(|failure| failure.into_exception(py))? {
            Incremented::Value(sum) => Ok(Some(int(py, sum)?.into_any().unbind())),
            Incremented::Missing => Ok(None),
            _ => self.add_objects(context, key, delta, now),
        }
    }

    /// Adds in Python, for a value or a sum that is not an integer of 64 bits.
    fn add_objects<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
        now: Now,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let mut bytes = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let found = self
                .read_bytes(context, key, now, &mut bytes)
                .map_err(no_memory)?;
            let Some(found) = found else {
                return Ok(None);
            };
            // A value that cannot be decoded counts as missing, as in `get`.
            let decoder = Decoder::with_bytes(py, context.settings.shared.pickles, found.kind, &bytes)?;
            let Some(old) = self.decode(py, key, decoder, now)? else {
                return Ok(None);
            };
            let sum = old.bind(py).add(delta)?;
            let value = EncodedBytes::new(&sum, context.settings.pickling())?;
            let entry = NewEntry::new(value.bytes())
                .kind(value.kind)
                .expires_at(found.expires_at);
            let stored = self.write(py, now, |cache| {
                cache.insert_entry_if_unchanged(key, entry, found.stamp)
            });
            match stored {
                Ok(true) | Err(WriteFailure::Rejected(_)) => return Ok(Some(sum.unbind())),
                Ok(false) => {}
                Err(WriteFailure::Raised(raised)) => return Err(raised),
            }
        }
        Err(error::<PyRuntimeError>(
            py,
            format_args!("other writers changed the value during each of {MAX_ATTEMPTS} attempts"),
        ))
    }
}
