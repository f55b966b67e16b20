//! Entries in the memory of this process.

use nearcache::local::{NewEntry, RawCache};
use nearcache::{Clock, Condition, OutOfMemory, Timestamp, UpdateError, WriteError};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{EntryStore, SetOutcome, Stats, StoredKeys};
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::errors::error;
use crate::memory::no_memory;
use crate::objects::text;
use crate::system::trim_heap;
use crate::values::{Encoded, Stored};

/// What the heap's allocator takes at least, and by which steps; 8 bytes of it are its own. (glibc's, on 64 bits.)
const MIN_CHUNK: usize = 32;
const CHUNK_STEP: usize = 16;
const CHUNK_HEADER: usize = 8;

/// How much has to be cleared for its memory to be asked back from the heap's allocator.
const WORTH_TRIMMING: u64 = 16 << 20;

/// What an entry counts against `MAX_MEMORY`: the bytes of its Python value, its slot with the reference to that, its
/// bookkeeping, its key.
fn weight(key: &[u8], value_size: u64) -> u64 {
    let key_chunk = (key.len() + CHUNK_HEADER)
        .next_multiple_of(CHUNK_STEP)
        .max(MIN_CHUNK);
    value_size + (RawCache::<Stored>::BOOKKEEPING + size_of::<Stored>() + key_chunk) as u64
}

impl EntryStore for RawCache<Stored> {
    fn get(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let stored = self.get_with(key, &context.now()?, |stored| stored.clone_ref(py));
        stored.map(|stored| stored.decode(py)).transpose()
    }

    fn set<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome> {
        let Encoded { stored, size } = Encoded::new(value, context.settings.pickle_protocol)?;
        let (expires, now) = context.expires_at(timeout)?;
        let draft = NewEntry {
            value: stored,
            weight: weight(key, size),
            expires_at: expires,
        };
        let capacity = &context.settings.capacity;
        match self.insert_if(key, draft, condition, capacity, &now) {
            Ok(true) => Ok(SetOutcome::Stored),
            Ok(false) => Ok(SetOutcome::Refused),
            Err(WriteError::Rejected(_)) => Ok(SetOutcome::Rejected),
            Err(WriteError::OutOfMemory(short)) => Err(no_memory(short)),
        }
    }

    fn incr<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let mut sum = None;
        let updated = self.update(key, &context.settings.capacity, &context.now()?, |old| {
            let new = old.decode(py)?.bind(py).add(delta)?;
            let Encoded { stored, size } = Encoded::new(&new, context.settings.pickle_protocol)?;
            sum = Some(new.unbind());
            Ok((stored, weight(key, size)))
        });
        match updated {
            Ok(true) | Err(UpdateError::Rejected(_)) => Ok(sum),
            Ok(false) => Ok(None),
            Err(UpdateError::Function(raised)) => Err(raised),
            Err(other) => Err(error::<PyRuntimeError>(py, format_args!("{other}"))),
        }
    }

    fn contains(&self, _: &CallContext<'_, '_>, key: &[u8], now: Now) -> bool {
        self.contains(key, &now)
    }

    fn delete(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        Ok(self.remove(key, &context.now()?).is_some())
    }

    fn clear(&self) {
        let weight = self.weight();
        self.clear();
        if weight >= WORTH_TRIMMING {
            trim_heap();
        }
    }

    fn expires_at(&self, _: &CallContext<'_, '_>, key: &[u8], now: Now) -> Option<Timestamp> {
        self.expires_at(key, &now)
    }

    fn expire_at(&self, _: &CallContext<'_, '_>, key: &[u8], expires: Timestamp, now: Now) -> PyResult<bool> {
        Ok(self.expire_at(key, expires, &now))
    }

    fn persist(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        let never = |_: &Stored, old| (old != Timestamp::NEVER).then_some(Timestamp::NEVER);
        Ok(self.expire_if(key, &context.now()?, never))
    }

    fn acquire_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let token = text(context.py(), token)?;
        let Encoded { stored, size } = Encoded::new(&token, None)?;
        let draft = NewEntry {
            value: stored,
            weight: weight(key, size),
            expires_at: expires,
        };
        let added = self.insert_if(key, draft, Condition::IfAbsent, &context.settings.capacity, &now);
        added.map_err(|refused| match refused {
            WriteError::Rejected(rejected) => {
                let message = format_args!("there is no room for this lock: {rejected}");
                error::<PyValueError>(context.py(), message)
            }
            WriteError::OutOfMemory(OutOfMemory) => no_memory(OutOfMemory),
        })
    }

    fn release_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let held = |stored: &Stored| is_text(context.py(), stored, token);
        Ok(self.remove_if(key, &context.now()?, held).is_some())
    }

    fn holds_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let mut holds = false;
        self.expire_if(key, &context.now()?, |stored, _| {
            holds = is_text(context.py(), stored, token);
            None
        });
        Ok(holds)
    }

    fn extend_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        end: &dyn Fn(Timestamp) -> Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let extended = |stored: &Stored, old| is_text(context.py(), stored, token).then(|| end(old));
        Ok(self.expire_if(key, &now, extended))
    }

    fn keys(&'static self, now: Now) -> StoredKeys {
        StoredKeys::Local(self.keys(now.now()))
    }

    fn stats(&self, context: &CallContext<'_, '_>) -> PyResult<Stats> {
        Ok(Stats::of_local(self, &context.settings.capacity))
    }

    fn reset_stats(&self) {
        self.reset_stats();
    }

    fn panic(&self, key: &[u8]) {
        self.get_with(key, &Now::System, |_| panic!("asked for by a test"));
    }
}

/// Whether a value is exactly this text. Runs no Python code.
fn is_text(py: Python<'_>, stored: &Stored, text: &str) -> bool {
    let Stored::Shared(value) = stored else {
        return false;
    };
    let value = value.bind(py).cast_exact::<PyString>();
    value.is_ok_and(|value| value.to_str().is_ok_and(|value| value == text))
}
