//! Arguments as the methods take them.

use std::convert::Infallible;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis};

use crate::fallible::error_about;

/// Any object.
pub(crate) type Any<'a, 'py> = &'a Bound<'py, PyAny>;
/// A version, or none for the backend's default.
pub(crate) type Version<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// An argument that may be omitted where None means something of its own: `Argument::OMITTED` is the default in a
/// signature.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a, 'py>(Option<Borrowed<'a, 'py, PyAny>>);

impl<'a, 'py> Argument<'a, 'py> {
    pub(crate) const OMITTED: Self = Self(None);

    /// What was passed, unless it was nothing or the marker that stands for nothing.
    pub(crate) fn unless(self, marker: &Bound<'py, PyAny>) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.0.filter(|given| !given.is(marker))
    }

    /// What was passed, if anything.
    pub(crate) const fn given(self) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.0
    }

    /// True or False; False if nothing was passed. Fails for anything else.
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

    /// `...` is what the signatures show as the default, so that tools which bind a signature pass it on.
    fn extract(given: Borrowed<'a, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self((!given.is(PyEllipsis::get(given.py()))).then_some(given)))
    }
}
