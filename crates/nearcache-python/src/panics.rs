//! Turns panics, which are bugs of this module, into exceptions that a worker survives.
//!
//! `PyO3` raises a panic as a `PanicException`. That is a `BaseException`, so a worker that handles every `Exception` of a
//! request would exit. [`guarded`] raises a `RuntimeError` for a panic in a method's body. For a panic in the conversions
//! that `PyO3` does around the methods, [`make_panics_runtime_errors`] changes the base class of `PanicException`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

use crate::errors::error;
use crate::objects::interned;

/// Runs `work`; a panic in it becomes a `RuntimeError`.
///
/// Locks held at the panic are released, and the next thread that takes one repairs the data.
#[allow(clippy::inline_always)] // for `get`
#[inline(always)]
pub(crate) fn guarded<T>(py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(to_exception(py, &*panic)),
    }
}

#[cold]
#[inline(never)]
fn to_exception(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    error::<PyRuntimeError>(
        py,
        format_args!("nearcache: an internal error, please report it: {message}"),
    )
}

/// Makes this module's `PanicException` a subclass of `RuntimeError`.
pub(crate) fn make_panics_runtime_errors(py: Python<'_>) -> PyResult<()> {
    let bases = (py.get_type::<PyRuntimeError>(),);
    py.get_type::<PanicException>()
        .setattr(interned!(py, "__bases__")?, bases)
}
