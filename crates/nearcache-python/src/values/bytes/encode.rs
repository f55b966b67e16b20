//! From a Python value to bytes and their kind.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

use super::super::{atoms, pickle};
use super::kinds::{BYTES, FALSE, FLOAT, INT, LARGE_INT, NONE, NUMBER_LEN, PICKLE, SAFE, TREE, TRUE};
use super::large_int;
use super::text::text_bytes;
use super::tree::{self, NoTree};
use crate::errors::error;

/// A value as bytes.
pub(crate) struct EncodedBytes<'a, 'py> {
    pub(crate) kind: u8,
    content: Content<'a, 'py>,
}

enum Content<'a, 'py> {
    Number([u8; NUMBER_LEN]),
    Borrowed(&'a [u8]),
    Object(Bound<'py, PyBytes>),
    Tree(Vec<u8>),
}

/// Whether values that are no trees are pickled.
#[derive(Clone, Copy)]
pub(crate) enum Pickling {
    /// With this protocol; pickle's own default if `None`.
    Protocol(Option<i32>),
    Refused,
}

impl<'a, 'py> EncodedBytes<'a, 'py> {
    /// Encodes a value. Texts and `bytes` are not copied.
    ///
    /// Fails with what pickling raises if the value has to be pickled, or with `TypeError` if that is refused.
    pub(crate) fn new(value: &'a Bound<'py, PyAny>, pickling: Pickling) -> PyResult<Self> {
        match (Self::without_pickle(value)?, pickling) {
            (Ok(encoded), _) => Ok(encoded),
            (Err(_), Pickling::Protocol(protocol)) => Ok(Self {
                kind: PICKLE,
                content: Content::Object(pickle::dumps(value, protocol)?),
            }),
            (Err(reason), Pickling::Refused) => Err(refusal(value.py(), &reason)),
        }
    }

    /// Encodes a value whose pickle is known.
    pub(crate) fn with_pickle(value: &'a Bound<'py, PyAny>, pickled: &'a [u8]) -> PyResult<Self> {
        Ok(Self::without_pickle(value)?.unwrap_or(Self {
            kind: PICKLE,
            content: Content::Borrowed(pickled),
        }))
    }

    /// Encodes a value that need not be pickled.
    fn without_pickle(value: &'a Bound<'py, PyAny>) -> PyResult<Result<Self, NoTree<'py>>> {
        let borrowed = |kind, bytes| {
            Ok(Ok(Self {
                kind,
                content: Content::Borrowed(bytes),
            }))
        };
        if let Ok(text) = value.cast_exact::<PyString>() {
            if let Some((kind, bytes)) = text_bytes(text) {
                return borrowed(kind, bytes);
            }
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            return borrowed(BYTES, bytes.as_bytes());
        } else if value.is_none() {
            return borrowed(NONE, &[]);
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            return borrowed(if truth.is_true() { TRUE } else { FALSE }, &[]);
        } else if let Ok(number) = value.cast_exact::<PyInt>() {
            return Self::int(number).map(Ok);
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            return Ok(Ok(Self {
                kind: FLOAT,
                content: Content::Number(number.value().to_ne_bytes()),
            }));
        } else if atoms::is_safe_string(value)
            && let Some((kind, bytes)) = value.cast::<PyString>().ok().and_then(text_bytes)
        {
            return borrowed(kind | SAFE, bytes);
        }
        Ok(tree::encode(value)?.map(|bytes| Self {
            kind: TREE,
            content: Content::Tree(bytes),
        }))
    }

    fn int(number: &Bound<'py, PyInt>) -> PyResult<Self> {
        if let Ok(small) = number.extract::<i64>() {
            return Ok(Self {
                kind: INT,
                content: Content::Number(small.to_ne_bytes()),
            });
        }
        Ok(Self {
            kind: LARGE_INT,
            content: Content::Object(large_int::to_bytes(number)?),
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Number(bytes) => bytes,
            Content::Borrowed(bytes) => bytes,
            Content::Object(object) => object.as_bytes(),
            Content::Tree(bytes) => bytes,
        }
    }
}

/// Returns the exception for a value that would have to be pickled.
#[cold]
fn refusal(py: Python<'_>, reason: &NoTree<'_>) -> PyErr {
    error::<PyTypeError>(
        py,
        format_args!(
            "nearcache: OPTIONS[\"PICKLE\"] is False, and this value cannot be stored without pickle: {reason}. Accepted are \
             None, bool, int, float, complex, str, bytes, bytearray, date, datetime, time, timedelta, timezone, ZoneInfo, \
             Decimal, UUID and SafeString, and dict, list, tuple, set and frozenset of these; not their subclasses."
        ),
    )
}
