//! The names of stored keys: what a caller passed as the key.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::Version;
use crate::context::CallContext;
use crate::django::{default_key_func, improperly_configured};
use crate::errors::{error_about, repr};
use crate::keys::{as_str, encode};
use crate::memory::format;
use crate::objects::interned;

/// How the name of a stored key is found.
pub(super) enum KeyNames {
    /// The name is what follows this prefix of the stored key.
    Prefixed(Vec<u8>),
    /// The name is what this function returns for the stored key, if the key made of that name is the stored one.
    Reversed {
        function: Py<PyAny>,
        /// The Python method that makes keys.
        method: &'static str,
    },
}

impl KeyNames {
    /// Returns how a backend's keys of this version are named.
    ///
    /// Fails with `ImproperlyConfigured` if a function makes the keys and no other one reverses it.
    pub(super) fn new(context: &CallContext<'_, '_>, version: Version<'_, '_>) -> PyResult<Self> {
        let py = context.py();
        let reverse = context.backend.getattr(interned!(py, "reverse_key_func")?)?;
        if !reverse.is_none() {
            return Ok(Self::Reversed {
                function: reverse.unbind(),
                method: context.settings.keys.method.name,
            });
        }
        require_default_keys(context)?;
        let prefix = context
            .backend
            .call_method1(interned!(py, "make_key")?, (interned!(py, "")?, version))?;
        Ok(Self::Prefixed(encode(as_str(&prefix)?)?))
    }
}

/// Fails with `ImproperlyConfigured` unless Django's own functions make the keys.
fn require_default_keys(context: &CallContext<'_, '_>) -> PyResult<()> {
    let (py, method) = (context.py(), context.settings.keys.method);
    let problem = if method.overridden {
        format(format_args!(
            "{} has a {} of its own, so it needs a reverse_key_func",
            context.backend.get_type(),
            method.name
        ))?
    } else if context
        .backend
        .getattr(interned!(py, "key_func")?)?
        .is(default_key_func(py)?)
    {
        return Ok(());
    } else {
        format(format_args!(
            "this cache has a KEY_FUNCTION, so it needs a REVERSE_KEY_FUNCTION beside it in CACHES"
        ))?
    };
    let message = format(format_args!(
        "nearcache: to find keys by a pattern, {problem}: a function that takes a stored key and returns the key that it was \
         made from"
    ))?;
    Err(improperly_configured(py, &message))
}

/// Returns the error for a reverse key function whose result is not a `str`.
#[cold]
pub(super) fn not_a_str(stored: &Bound<'_, PyAny>, returned: &Bound<'_, PyAny>) -> PyErr {
    let rule = "the REVERSE_KEY_FUNCTION must return a str, but for";
    match repr(stored) {
        Ok(stored) => error_about::<PyTypeError>(format_args!("{rule} {stored} it returned"), returned),
        Err(error) => error,
    }
}

/// Returns a pattern argument as bytes. Fails with `TypeError` if it is not a `str`.
pub(super) fn encode_pattern(pattern: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let text = pattern
        .cast::<PyString>()
        .map_err(|_| error_about::<PyTypeError>(format_args!("a pattern must be a str, not"), pattern))?;
    encode(text)
}
