//! Stored keys: `prefix:version:key`, as Django makes them.
//!
//! The key is built and checked on the stack if Django's own way would give the same result without a warning. Otherwise
//! the instance's Python methods make it: if `make_key`, `validate_key`, `make_and_validate_key` or the key function is not
//! Django's own, if the key is not exactly a `str` or the version not exactly an `int`, or if Django would warn about the
//! key.

use std::borrow::Cow;
use std::io::Write;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use crate::arguments::{Any, Version};
use crate::django::{base_cache, default_key_func};
use crate::errors::error_about;
use crate::instance::Instance;
use crate::memory::{concat, format};
use crate::objects::{self, interned};

/// The length above which Django warns (in characters, of which there are no more than bytes).
const MAX_UNWARNED_LEN: usize = 250;
/// Room for every key without a warning, in whole chunks.
const BUFFER_LEN: usize = 256;
/// How many bytes are checked at once.
const CHUNK: usize = 16;
/// What the unused bytes of a buffer contain: a character that needs no warning.
const FILLER: u8 = b'x';
/// The length of the lowest `i64`, with its sign.
const MAX_DIGITS: usize = 20;

/// How a backend instance makes stored keys.
pub(crate) struct KeySettings {
    pub(crate) rule: KeyRule,
    pub(crate) method: KeyMethod,
}

/// Who makes the stored keys of a backend instance.
pub(crate) enum KeyRule {
    /// This module, in Django's way.
    Django(Prefix),
    /// The instance's `make_key` and `validate_key`.
    MakeKey,
    /// The instance's own `make_and_validate_key`.
    MakeAndValidateKey,
}

/// The Python method that makes keys, and whether it is overridden.
#[derive(Clone, Copy)]
pub(crate) struct KeyMethod {
    pub(crate) name: &'static str,
    pub(crate) overridden: bool,
}

impl KeySettings {
    /// Reads how keys are made from a backend's attributes.
    pub(crate) fn read(instance: &Instance<'_, '_>) -> PyResult<Self> {
        let django = base_cache(instance.py())?;
        if instance.overrides("make_and_validate_key", django)? {
            return Ok(Self {
                rule: KeyRule::MakeAndValidateKey,
                method: KeyMethod {
                    name: "make_and_validate_key",
                    overridden: true,
                },
            });
        }
        let method = KeyMethod {
            name: "make_key",
            overridden: instance.overrides("make_key", django)?,
        };
        let overridden = method.overridden || instance.overrides("validate_key", django)?;
        // A property of a subclass may return something else every time.
        let mut computed = false;
        for name in ["key_prefix", "version", "key_func"] {
            computed |= instance.has_class_attribute(name)?;
        }
        let prefix = if overridden || computed {
            None
        } else {
            Prefix::read(instance)?
        };
        Ok(Self {
            rule: prefix.map_or(KeyRule::MakeKey, KeyRule::Django),
            method,
        })
    }
}

/// Makes the stored keys of one backend instance.
#[derive(Clone, Copy)]
pub(crate) struct KeyMaker<'a, 'py> {
    backend: Any<'a, 'py>,
    rule: &'a KeyRule,
}

impl<'a, 'py> KeyMaker<'a, 'py> {
    pub(crate) const fn new(backend: Any<'a, 'py>, rule: &'a KeyRule) -> Self {
        Self { backend, rule }
    }

    /// Calls `work` with the stored key for a caller's key and version.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(crate) fn with_key<T>(
        self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        work: impl FnOnce(&[u8]) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut buffer = KeyBuffer::new();
        let key = self.make(key, version, &mut buffer)?;
        work(&key)
    }

    fn make<'b>(
        self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        buffer: &'b mut KeyBuffer,
    ) -> PyResult<Cow<'b, [u8]>> {
        if let KeyRule::Django(prefix) = self.rule
            && let Some(key) = prefix.make(key, version, buffer)
        {
            return Ok(Cow::Borrowed(key));
        }
        self.make_in_python(key, version).map(Cow::Owned)
    }

    #[cold]
    fn make_in_python(self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Vec<u8>> {
        let (backend, py) = (self.backend, self.backend.py());
        if matches!(self.rule, KeyRule::MakeAndValidateKey) {
            let made = backend.call_method1(interned!(py, "make_and_validate_key")?, (key, version))?;
            return encode(as_str(&made)?);
        }
        let made = backend.call_method1(interned!(py, "make_key")?, (key, version))?;
        let text = as_str(&made)?;
        backend.call_method1(interned!(py, "validate_key")?, (&made,))?;
        encode(text)
    }
}

/// A buffer on the stack in which a key is built.
struct KeyBuffer([u8; BUFFER_LEN]);

impl KeyBuffer {
    const fn new() -> Self {
        Self([FILLER; BUFFER_LEN])
    }

    /// Joins the parts; returns `None` if Django would warn about the key.
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
            .all(needs_no_warning)
            .then_some(&self.0[..len])
    }
}

/// Returns whether a chunk has neither control characters nor spaces.
fn needs_no_warning(chunk: &[u8; CHUNK]) -> bool {
    // No early exit, so that it compiles to a few vector instructions.
    #[allow(clippy::needless_bitwise_bool)]
    let warned = chunk
        .iter()
        .fold(false, |any, &byte| any | (byte <= b' ') | (byte == 0x7f));
    !warned
}

/// The prefix and the default version, encoded once.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// `prefix:`
    before_version: Vec<u8>,
    /// `prefix:version:`
    whole: Vec<u8>,
}

impl Prefix {
    /// Reads the prefix; `None` if keys are not made of one in Django's way.
    ///
    /// A missing attribute is not an error here: Python raises one when it makes the first key.
    fn read(instance: &Instance<'_, '_>) -> PyResult<Option<Self>> {
        let (Some(function), Some(prefix), Some(version)) = (
            instance.optional_attribute("key_func")?,
            instance.optional_attribute("key_prefix")?,
            instance.optional_attribute("version")?,
        ) else {
            return Ok(None);
        };
        if !function.is(default_key_func(instance.py())?) {
            return Ok(None);
        }
        let (Ok(prefix), Ok(version)) = (prefix.cast_exact::<PyString>(), version.cast_exact::<PyInt>())
        else {
            return Ok(None);
        };
        let (Ok(prefix), Ok(version)) = (prefix.to_str(), version.extract()) else {
            return Ok(None);
        };
        Self::new(prefix, version).map(Some)
    }

    fn new(prefix: &str, version: i64) -> PyResult<Self> {
        let prefix = prefix.as_bytes();
        let version = format(format_args!("{version}"))?;
        Ok(Self {
            before_version: concat([prefix, b":"])?,
            whole: concat([prefix, b":", version.as_bytes(), b":"])?,
        })
    }

    /// Builds a stored key; `None` if Python has to make it.
    fn make<'b>(
        &self,
        key: Any<'_, '_>,
        version: Version<'_, '_>,
        buffer: &'b mut KeyBuffer,
    ) -> Option<&'b [u8]> {
        // `to_str` fails only for lone surrogates, which `encode` can store.
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

/// Returns what a key function returned, if it is a `str`; else a `TypeError`.
pub(crate) fn as_str<'a, 'py>(made: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    made.cast::<PyString>().map_err(|_| {
        let rule = format_args!("the key function must return a str, but it returned");
        error_about::<PyTypeError>(rule, made)
    })
}

/// Encodes a key for the store: UTF-8, in which lone surrogates are encoded too.
pub(crate) fn encode(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    if let Ok(utf8) = text.to_str() {
        return concat([utf8.as_bytes()]);
    }
    let py = text.py();
    let encoded = text.call_method1(
        interned!(py, "encode")?,
        (interned!(py, "utf-8")?, interned!(py, "surrogatepass")?),
    )?;
    concat([encoded.cast::<PyBytes>()?.as_bytes()])
}

/// Decodes a stored key. Fails with `UnicodeDecodeError` if it was not made by [`encode`].
pub(crate) fn decode<'py>(py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    objects::bytes(py, key)?.call_method1(
        interned!(py, "decode")?,
        (interned!(py, "utf-8")?, interned!(py, "surrogatepass")?),
    )
}
