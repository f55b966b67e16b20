//! The fast subclasses of Django's two types, which exist once in a process.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::handler::HandlerTypes;
use super::python::is_exactly;
use crate::nonblocking_once::NonblockingOnce;

/// The fast types, and what they know about Django's.
pub(super) struct FastTypes {
    pub(super) proxy: Py<PyType>,
    pub(super) handlers: HandlerTypes,
}

/// Empty until the types are made.
pub(super) static FAST_TYPES: NonblockingOnce<FastTypes> = NonblockingOnce::new();

impl FastTypes {
    /// Returns whether a proxy with this `__dict__` has only what Django gives it, so that a name without a leading
    /// underscore cannot be the proxy's own.
    ///
    /// The type has no such attributes (a subclass may), and the instance has its handler and alias, unless a program wrote
    /// into its `__dict__`.
    pub(super) fn is_plain(&self, proxy: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>) -> bool {
        is_exactly(proxy, &self.proxy) && dict.len() == 2
    }
}
