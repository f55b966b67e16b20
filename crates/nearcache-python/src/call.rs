//! One call of a backend's method: what it is called on, and what it goes by.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use nearcache::local::Draft;
use nearcache::{Rejected, Timestamp};
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::arguments::{Any, Argument, Version};
use crate::expiry::{BackendClock, Now, expiry};
use crate::keys::{self, KeyBuffer};
use crate::local::LocalCache;
use crate::settings::{Settings, base_cache};
use crate::stores::{self, LocalStore};
use crate::values::{Encoded, Stored};

/// What an instance is once it is open.
pub(crate) struct Open {
    pub(crate) store: &'static LocalStore,
    pub(crate) clock: BackendClock,
    /// Swapped whole when an attribute is assigned. Not a lock: a child of `fork` could inherit that locked.
    pub(crate) settings: ArcSwap<Settings>,
}

/// What one call works with.
pub(crate) struct Call<'a, 'py> {
    pub(crate) backend: Any<'a, 'py>,
    pub(crate) open: &'a Open,
    pub(crate) settings: Guard<Arc<Settings>>,
}

impl<'a, 'py> Call<'a, 'py> {
    pub(crate) fn new(slf: &'a Bound<'py, LocalCache>) -> PyResult<Self> {
        let open = slf.get().open.get().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this cache is not open: an __init__ that overrides LocalCache's must call super().__init__(name, params)",
            )
        })?;
        Ok(Self {
            backend: slf.as_any(),
            open,
            settings: open.settings.load(),
        })
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.backend.py()
    }

    pub(crate) fn key<'b>(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        buffer: &'b mut KeyBuffer,
    ) -> PyResult<Cow<'b, [u8]>> {
        keys::make(self.backend, &self.settings.keys, key, version, buffer)
    }

    pub(crate) fn now(&self) -> PyResult<Now> {
        self.open.clock.now(self.py())
    }

    pub(crate) fn expiry(&self, timeout: Argument<'_, 'py>) -> PyResult<(Timestamp, Now)> {
        expiry(self.backend, &self.settings, &self.open.clock, timeout)
    }

    pub(crate) fn encode(&self, value: Any<'_, 'py>) -> PyResult<Encoded> {
        Encoded::new(value, self.settings.pickle_protocol)
    }

    /// A value made ready to be stored under a key, and the time of the call.
    pub(crate) fn draft(
        &self,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
    ) -> PyResult<(Draft<Stored>, Now)> {
        let Encoded { stored, size } = self.encode(value)?;
        let (expires, now) = self.expiry(timeout)?;
        Ok((
            Draft {
                value: stored,
                weight: weight(key, size),
                expires,
            },
            now,
        ))
    }

    pub(crate) fn get(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Option<Py<PyAny>>> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let stored = self
            .open
            .store
            .get_with(&key, &self.now()?, |stored| stored.clone_ref(self.py()));
        stored.map(|stored| stored.decode(self.py())).transpose()
    }

    /// Stores a value; `Err` inside if it was too large.
    pub(crate) fn set(
        &self,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Result<(), Rejected>> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let (draft, now) = self.draft(&key, value, timeout)?;
        Ok(self.open.store.insert(&key, draft, &self.settings.capacity, &now))
    }

    /// Stores a value only if there is none (`nx`) or one (`xx`) to replace; whether it did.
    pub(crate) fn set_if(
        &self,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
        nx: bool,
        xx: bool,
    ) -> PyResult<bool> {
        if nx && xx {
            return Err(PyValueError::new_err(
                "nx stores only what is new and xx only what is not: use one of them",
            ));
        }
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let (draft, now) = self.draft(&key, value, timeout)?;
        let insert = if nx {
            LocalStore::insert_if_absent
        } else {
            LocalStore::insert_if_present
        };
        Ok(insert(self.open.store, &key, draft, &self.settings.capacity, &now).unwrap_or(false))
    }

    pub(crate) fn delete(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        Ok(self.open.store.remove(&key, &self.now()?).is_some())
    }

    /// Calls Django's own version of a method, which goes through this instance's `get`, `set` or `delete` key by key.
    pub(crate) fn django<A: PyCallArgs<'py>>(&self, method: &str, args: A) -> PyResult<Bound<'py, PyAny>> {
        base_cache(self.py())?.getattr(method)?.call1(args)
    }
}

/// What an entry counts against `MAX_MEMORY`.
pub(crate) fn weight(key: &[u8], value_size: u64) -> u64 {
    value_size + stores::entry_size(key)
}
