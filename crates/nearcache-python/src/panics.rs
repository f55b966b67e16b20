//! A panic is a bug of ours, and must not be worse than an exception.
//!
//! `PyO3` raises a panic as a `PanicException`, which is no `Exception`, so that a worker that survives every error of a request
//! ends by it. What runs [`guarded`] raises a `RuntimeError`. And for the conversions that `PyO3` does around the methods,
//! [`tame`] makes its type a kind of `RuntimeError`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

use crate::fallible::{error, interned};

/// Does some work; a panic becomes a `RuntimeError`. What was locked is unlocked then, and put in order by the next one to
/// lock it.
#[allow(clippy::inline_always)] // for `get`
#[inline(always)]
pub(crate) fn guarded<T>(py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(raised(py, &*panic)),
    }
}

#[cold]
#[inline(never)]
fn raised(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
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

/// Makes this module's `PanicException` a `RuntimeError`, where `PyO3` raises one itself.
pub(crate) fn tame(py: Python<'_>) -> PyResult<()> {
    let bases = (py.get_type::<PyRuntimeError>(),);
    py.get_type::<PanicException>()
        .setattr(interned!(py, "__bases__")?, bases)
}
