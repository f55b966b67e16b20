//! An open backend instance, and one operation on it.

use arc_swap::ArcSwap;
use pyo3::prelude::*;

use crate::arguments::Any;
use crate::clock::BackendClock;
use crate::context::CallContext;
use crate::panics::guarded;
use crate::settings::Settings;
use crate::store::{EntryStore, Store};

/// What a backend instance consists of once it is open.
pub(crate) struct OpenCache {
    pub(crate) store: Store,
    pub(crate) clock: BackendClock,
    /// Replaced as a whole when an attribute is assigned. Not in a lock, which a child of `fork` could inherit locked.
    pub(crate) settings: ArcSwap<Settings>,
}

/// One call of a method on an open cache. The methods are in [`operations`](crate::operations).
pub(crate) struct Operation<'a, 'py> {
    pub(crate) store: Store,
    pub(crate) context: CallContext<'a, 'py>,
}

impl OpenCache {
    /// Runs the body of a method. A panic in it is raised as a `RuntimeError`.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(crate) fn run<'a, 'py, T>(
        &'a self,
        backend: Any<'a, 'py>,
        body: impl FnOnce(Operation<'a, 'py>) -> PyResult<T>,
    ) -> PyResult<T> {
        guarded(backend.py(), || {
            body(Operation {
                store: self.store,
                context: CallContext::new(backend, &self.clock, &self.settings),
            })
        })
    }
}

impl Operation<'_, '_> {
    /// Returns the store as a trait object. `get` does not use it, because a call through a pointer would slow it.
    pub(crate) fn entries(&self) -> &'static dyn EntryStore {
        self.store.entries()
    }
}
