//! From a Python value to bytes and their kind.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString};

use super::super::{atoms, pickle};
use super::kinds::{
    ASCII, BYTES, FALSE, FLOAT, INT, LARGE_INT, LATIN_1, NONE, NUMBER_LEN, PICKLE, SAFE, TRUE, UTF_8,
};
use crate::objects::{Count, dict, interned};
use crate::strings::{is_ascii, one_byte_characters};

/// A value as bytes.
pub(crate) struct EncodedBytes<'a, 'py> {
    pub(crate) kind: u8,
    content: Content<'a, 'py>,
}

enum Content<'a, 'py> {
    Number([u8; NUMBER_LEN]),
    Borrowed(&'a [u8]),
    Object(Bound<'py, PyBytes>),
}

impl<'a, 'py> EncodedBytes<'a, 'py> {
    /// Encodes a value. Texts and `bytes` are not copied.
    ///
    /// Fails with what pickling raises, if the value has to be pickled.
    pub(crate) fn new(value: &'a Bound<'py, PyAny>, pickle_protocol: Option<i32>) -> PyResult<Self> {
        if let Some(encoded) = Self::without_pickle(value)? {
            return Ok(encoded);
        }
        Ok(Self {
            kind: PICKLE,
            content: Content::Object(pickle::dumps(value, pickle_protocol)?),
        })
    }

    /// Encodes a value whose pickle is known.
    pub(crate) fn with_pickle(value: &'a Bound<'py, PyAny>, pickled: &'a [u8]) -> PyResult<Self> {
        let encoded = Self::without_pickle(value)?;
        Ok(encoded.unwrap_or(Self {
            kind: PICKLE,
            content: Content::Borrowed(pickled),
        }))
    }

    /// Encodes a value that need not be pickled.
    fn without_pickle(value: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let borrowed = |kind, bytes| {
            Ok(Some(Self {
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
            return Self::int(number).map(Some);
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            return Ok(Some(Self {
                kind: FLOAT,
                content: Content::Number(number.value().to_ne_bytes()),
            }));
        } else if atoms::is_safe_string(value)
            && let Some((kind, bytes)) = value.cast::<PyString>().ok().and_then(text_bytes)
        {
            return borrowed(kind | SAFE, bytes);
        }
        Ok(None)
    }

    fn int(number: &Bound<'py, PyInt>) -> PyResult<Self> {
        let py = number.py();
        if let Ok(small) = number.extract::<i64>() {
            return Ok(Self {
                kind: INT,
                content: Content::Number(small.to_ne_bytes()),
            });
        }
        let bits: usize = number.call_method0(interned!(py, "bit_length")?)?.extract()?;
        let bytes = number.call_method(
            interned!(py, "to_bytes")?,
            (Count((bits / 8 + 1) as u64), interned!(py, "little")?),
            Some(&signed(py)?),
        )?;
        Ok(Self {
            kind: LARGE_INT,
            content: Content::Object(bytes.cast_into()?),
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Number(bytes) => bytes,
            Content::Borrowed(bytes) => bytes,
            Content::Object(object) => object.as_bytes(),
        }
    }
}

/// Returns a text's kind and bytes; `None` if it has lone surrogates.
fn text_bytes<'a>(text: &'a Bound<'_, PyString>) -> Option<(u8, &'a [u8])> {
    match one_byte_characters(text) {
        // The str itself knows whether it is ASCII, but from Python 3.14 on only a macro of C can ask it.
        Some(bytes) => Some((if is_ascii(bytes) { ASCII } else { LATIN_1 }, bytes)),
        None => text.to_str().ok().map(|text| (UTF_8, text.as_bytes())),
    }
}

/// Returns the keyword argument `signed=True` of `int.to_bytes` and `int.from_bytes`.
pub(super) fn signed(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let signed = dict(py)?;
    signed.set_item(interned!(py, "signed")?, true)?;
    Ok(signed)
}
