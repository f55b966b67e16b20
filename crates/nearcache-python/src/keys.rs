//! Django's keys: `prefix:version:key`, built and checked on the stack where that cannot be told from Django's way.
//!
//! It can be told if the key function, `make_key`, `validate_key` or `make_and_validate_key` is not Django's own, if the
//! key is not a plain `str` or the version not a plain `int`, or if the key deserves a warning. Then Python does it.

use std::borrow::Cow;
use std::io::Write;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use crate::arguments::{Any, Version};
use crate::fallible::{self, error_about, interned};
use crate::settings::KeyMaking;

/// Above this length Django warns (in characters, of which there are no more than bytes).
const MAX_UNWARNED_LEN: usize = 250;
/// Room for every key that is not warned of, in whole chunks.
const BUFFER_LEN: usize = 256;
/// How many bytes are checked at once.
const CHUNK: usize = 16;
/// What is not yet filled of a buffer holds this, which needs no warning.
const FILLER: u8 = b'x';
/// Of the lowest `i64`, with its sign.
const MAX_DIGITS: usize = 20;

/// Where a key is built: in the frame of the method that wants it.
pub(crate) struct KeyBuffer([u8; BUFFER_LEN]);

impl KeyBuffer {
    pub(crate) const fn new() -> Self {
        Self([FILLER; BUFFER_LEN])
    }

    /// Puts the parts together; `None` if Django would warn of the key.
    #[inline]
    fn join<const N: usize>(&mut self, parts: [&[u8]; N]) -> Option<&[u8]> {
        let mut len = 0;
        for part in parts {
            let end = len + part.len();
            if end > MAX_UNWARNED_LEN {
                return None;
            }
            self.0[len..end].copy_from_slice(part);
            len = end;
        }
        let chunks = self.0.as_chunks::<CHUNK>().0;
        chunks[..len.div_ceil(CHUNK)]
            .iter()
            .all(is_unremarkable)
            .then_some(&self.0[..len])
    }
}

/// Whether there are no control characters and no spaces.
fn is_unremarkable(chunk: &[u8; CHUNK]) -> bool {
    // No early exit, so that it becomes a few vector instructions.
    #[allow(clippy::needless_bitwise_bool)]
    let remarkable = chunk
        .iter()
        .fold(false, |any, &byte| any | (byte <= b' ') | (byte == 0x7f));
    !remarkable
}

/// The prefix and default version, ready to be put before a key.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// `prefix:`
    before_version: Vec<u8>,
    /// `prefix:version:`
    whole: Vec<u8>,
}

impl Prefix {
    pub(crate) fn new(prefix: &str, version: i64) -> PyResult<Self> {
        let prefix = prefix.as_bytes();
        let version = fallible::format(format_args!("{version}"))?;
        Ok(Self {
            before_version: fallible::concat([prefix, b":"])?,
            whole: fallible::concat([prefix, b":", version.as_bytes(), b":"])?,
        })
    }

    /// The stored key; `None` if Python has to make it.
    fn make<'b>(
        &self,
        key: Any<'_, '_>,
        version: Version<'_, '_>,
        buffer: &'b mut KeyBuffer,
    ) -> Option<&'b [u8]> {
        // Fails for lone surrogates only, which the way through Python can encode.
        let key = key.cast_exact::<PyString>().ok()?.to_str().ok()?.as_bytes();
        let Some(version) = version else {
            return buffer.join([&self.whole, key]);
        };
        let version: i64 = version.cast_exact::<PyInt>().ok()?.extract().ok()?;
        let mut digits = [0; MAX_DIGITS];
        let mut rest = digits.as_mut_slice();
        write!(rest, "{version}").ok()?;
        let unused = rest.len();
        let digits = &digits[..MAX_DIGITS - unused];
        buffer.join([&self.before_version, digits, b":", key])
    }
}

/// The stored key for what a caller passed.
pub(crate) fn make<'b>(
    backend: Any<'_, '_>,
    making: &KeyMaking,
    key: Any<'_, '_>,
    version: Version<'_, '_>,
    buffer: &'b mut KeyBuffer,
) -> PyResult<Cow<'b, [u8]>> {
    if let KeyMaking::Django(prefix) = making
        && let Some(key) = prefix.make(key, version, buffer)
    {
        return Ok(Cow::Borrowed(key));
    }
    make_in_python(backend, making, key, version).map(Cow::Owned)
}

#[cold]
fn make_in_python(
    backend: Any<'_, '_>,
    making: &KeyMaking,
    key: Any<'_, '_>,
    version: Version<'_, '_>,
) -> PyResult<Vec<u8>> {
    let py = backend.py();
    if matches!(making, KeyMaking::Whole) {
        let made = backend.call_method1(interned!(py, "make_and_validate_key")?, (key, version))?;
        return encode(as_str(&made)?);
    }
    let made = backend.call_method1(interned!(py, "make_key")?, (key, version))?;
    let text = as_str(&made)?;
    backend.call_method1(interned!(py, "validate_key")?, (&made,))?;
    encode(text)
}

/// What a key function made, if it is a text.
pub(crate) fn as_str<'a, 'py>(made: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    made.cast::<PyString>().map_err(|_| {
        let rule = format_args!("the key function must return a str, but it returned");
        error_about::<PyTypeError>(rule, made)
    })
}

/// A text as a stored key has it: UTF-8, with surrogates let through.
pub(crate) fn encode(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    if let Ok(utf8) = text.to_str() {
        return fallible::concat([utf8.as_bytes()]);
    }
    let py = text.py();
    let encoded = text.call_method1(
        interned!(py, "encode")?,
        (interned!(py, "utf-8")?, interned!(py, "surrogatepass")?),
    )?;
    fallible::concat([encoded.cast::<PyBytes>()?.as_bytes()])
}

/// A stored key as text.
pub(crate) fn decode<'py>(py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    fallible::bytes(py, key)?.call_method1(
        interned!(py, "decode")?,
        (interned!(py, "utf-8")?, interned!(py, "surrogatepass")?),
    )
}
