//! One call of a backend's method: what it is called on, and what it goes by.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use nearcache::{Condition, Timestamp};
use pyo3::call::PyCallArgs;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::arguments::{Any, Argument, Version};
use crate::backend::Backend;
use crate::expiry::{BackendClock, Now, expiry};
use crate::fallible::{error, text};
use crate::keys::{self, KeyBuffer};
use crate::panics::guarded;
use crate::settings::{Settings, base_cache};
use crate::store::{Keep, Outcome, Store};

/// What an instance is once it is open.
pub(crate) struct Open {
    pub(crate) store: Store,
    pub(crate) clock: BackendClock,
    /// Swapped whole when an attribute is assigned. Not a lock: a child of `fork` could inherit that locked.
    pub(crate) settings: ArcSwap<Settings>,
}

/// What one call works with.
pub(crate) struct Call<'a, 'py> {
    pub(crate) backend: Any<'a, 'py>,
    pub(crate) open: &'a Open,
    pub(crate) settings: Guard<Arc<Settings>>,
    /// How long reads of this call may still wait for writes of other processes. A call that reads many keys of a stopped
    /// process waits once, not for each key.
    pub(crate) read_timeout: Cell<Duration>,
}

/// How long the reads of one call wait for other processes, in all.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

impl<'a, 'py> Call<'a, 'py> {
    /// Runs the body of a method, with a panic in it raised as a `RuntimeError`.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(crate) fn run<T>(
        slf: &'a Bound<'py, Backend>,
        body: impl FnOnce(Self) -> PyResult<T>,
    ) -> PyResult<T> {
        guarded(slf.py(), || body(Self::new(slf)?))
    }

    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn new(slf: &'a Bound<'py, Backend>) -> PyResult<Self> {
        let open = slf.get().open.get().ok_or_else(|| not_open(slf.py()))?;
        Ok(Self {
            backend: slf.as_any(),
            open,
            settings: open.settings.load(),
            read_timeout: Cell::new(READ_TIMEOUT),
        })
    }

    pub(crate) fn keep(&self) -> &'static dyn Keep {
        self.open.store.keep()
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

    pub(crate) fn get(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Option<Py<PyAny>>> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        self.open.store.get(self, &key)
    }

    pub(crate) fn set(
        &self,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
        condition: Condition,
    ) -> PyResult<Outcome> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        self.keep().set(self, &key, value, timeout, condition)
    }

    pub(crate) fn delete(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        self.keep().remove(self, &key)
    }

    /// Calls Django's own version of a method, which goes through this instance's `get`, `set` or `delete` key by key.
    pub(crate) fn django<A: PyCallArgs<'py>>(&self, method: &str, args: A) -> PyResult<Bound<'py, PyAny>> {
        let method = text(self.py(), method)?;
        base_cache(self.py())?.getattr(method)?.call1(args)
    }
}

#[cold]
fn not_open(py: Python<'_>) -> PyErr {
    error::<PyRuntimeError>(
        py,
        format_args!(
            "this cache is not open: an __init__ that overrides the backend's must call super().__init__(name, params)"
        ),
    )
}
