//! Django's keys: `prefix:version:key`, built and checked on the stack where that cannot be told from Django's way.
//!
//! It can be told if the key function, `make_key`, `validate_key` or `make_and_validate_key` is not Django's own, if the
//! key is not a plain `str` or the version not a plain `int`, or if the key deserves a warning. Then Python does it.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};
use smallvec::SmallVec;

use crate::settings::KeyMaking;

/// A key as it is stored. Most fit on the stack.
pub(crate) type KeyBytes = SmallVec<[u8; 256]>;

/// From this length on Django warns (in characters, of which there are no more than bytes).
const MAX_UNWARNED_LEN: usize = 250;

/// The prefix and default version, ready to be put before a key.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// `prefix:`
    before_version: Box<[u8]>,
    /// `prefix:version:`
    whole: Box<[u8]>,
}

impl Prefix {
    /// `None` if Python has to make the keys, since they would all be warned of.
    pub(crate) fn new(prefix: &str, version: i64) -> Option<Self> {
        let before_version = format!("{prefix}:").into_bytes().into_boxed_slice();
        let whole = format!("{prefix}:{version}:").into_bytes().into_boxed_slice();
        is_unremarkable(&whole).then_some(Self {
            before_version,
            whole,
        })
    }

    /// The stored key; `None` if Python has to make it.
    fn make(&self, key: &Bound<'_, PyAny>, version: Option<&Bound<'_, PyAny>>) -> Option<KeyBytes> {
        let key = key.cast_exact::<PyString>().ok()?;
        // Fails for lone surrogates only, which the way through Python can encode.
        let key = key.to_str().ok()?;
        let mut bytes = KeyBytes::new();
        match version {
            None => bytes.extend_from_slice(&self.whole),
            Some(version) => {
                let version: i64 = version.cast_exact::<PyInt>().ok()?.extract().ok()?;
                bytes.extend_from_slice(&self.before_version);
                bytes.extend_from_slice(version.to_string().as_bytes());
                bytes.push(b':');
            }
        }
        bytes.extend_from_slice(key.as_bytes());
        is_unremarkable(&bytes).then_some(bytes)
    }
}

/// Whether Django surely has nothing to warn of in this key: not too long, no control characters, no spaces.
fn is_unremarkable(key: &[u8]) -> bool {
    // No early exit, so that the loop becomes vector instructions.
    #[allow(clippy::needless_bitwise_bool)]
    let remarkable = key
        .iter()
        .fold(false, |any, &byte| any | (byte <= b' ') | (byte == 0x7f));
    key.len() <= MAX_UNWARNED_LEN && !remarkable
}

/// The stored key for what a caller passed.
pub(crate) fn make(
    backend: &Bound<'_, PyAny>,
    making: &KeyMaking,
    key: &Bound<'_, PyAny>,
    version: Option<&Bound<'_, PyAny>>,
) -> PyResult<KeyBytes> {
    if let KeyMaking::Django(prefix) = making
        && let Some(bytes) = prefix.make(key, version)
    {
        return Ok(bytes);
    }
    make_in_python(backend, making, key, version)
}

#[cold]
fn make_in_python(
    backend: &Bound<'_, PyAny>,
    making: &KeyMaking,
    key: &Bound<'_, PyAny>,
    version: Option<&Bound<'_, PyAny>>,
) -> PyResult<KeyBytes> {
    let py = backend.py();
    if matches!(making, KeyMaking::Whole) {
        let made = backend.call_method1(intern!(py, "make_and_validate_key"), (key, version))?;
        return encode(as_str(&made)?);
    }
    let made = backend.call_method1(intern!(py, "make_key"), (key, version))?;
    let text = as_str(&made)?;
    backend.call_method1(intern!(py, "validate_key"), (&made,))?;
    encode(text)
}

fn as_str<'a, 'py>(made: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyString>> {
    made.cast::<PyString>().map_err(|_| {
        let kind = made.get_type();
        PyTypeError::new_err(format!(
            "the key function must return a str, but it returned {made:?} ({kind})"
        ))
    })
}

fn encode(text: &Bound<'_, PyString>) -> PyResult<KeyBytes> {
    if let Ok(utf8) = text.to_str() {
        return Ok(KeyBytes::from_slice(utf8.as_bytes()));
    }
    let encoded = text.call_method1(intern!(text.py(), "encode"), ("utf-8", "surrogatepass"))?;
    Ok(KeyBytes::from_slice(encoded.cast::<PyBytes>()?.as_bytes()))
}

/// A stored key as text, for messages.
pub(crate) fn decode<'py>(py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    PyBytes::new(py, key).call_method1(intern!(py, "decode"), ("utf-8", "surrogatepass"))
}
