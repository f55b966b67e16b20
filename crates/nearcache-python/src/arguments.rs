//! The types of the methods' arguments.

use std::convert::Infallible;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis};

use crate::errors::error_about;

/// An object of any type.
pub(crate) type Any<'a, 'py> = &'a Bound<'py, PyAny>;
/// A version of keys; `None` is the backend's default.
pub(crate) type Version<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// An argument that may be omitted, where Python's None has a meaning of its own.
///
/// [`Argument::OMITTED`] is its default in a signature.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a, 'py>(Option<Borrowed<'a, 'py, PyAny>>);

impl<'a, 'py> Argument<'a, 'py> {
    pub(crate) const OMITTED: Self = Self(None);

    /// Returns the argument; `None` if it was omitted or is `marker`, which stands for an omitted one.
    pub(crate) fn unless(self, marker: &Bound<'py, PyAny>) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.0.filter(|given| !given.is(marker))
    }

    /// Returns the argument; `None` if it was omitted.
    pub(crate) const fn given(self) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.0
    }

    /// Reads a flag, which is False if omitted. Fails if the argument is neither True nor False.
    pub(crate) fn flag(self, name: &str) -> PyResult<bool> {
        let Some(given) = self.0 else {
            return Ok(false);
        };
        let flag = given.cast::<PyBool>().map_err(|_| {
            error_about::<PyTypeError>(format_args!("{name} must be True or False, not"), &given)
        })?;
        Ok(flag.is_true())
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Argument<'a, 'py> {
    type Error = Infallible;

    /// Takes `...` for an omitted argument: the signatures show it as the default, so tools that bind a signature pass it
    /// on.
    fn extract(given: Borrowed<'a, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self((!given.is(PyEllipsis::get(given.py()))).then_some(given)))
    }
}
