//! From bytes and their kind to a Python object.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use nearcache::OutOfMemory;
use nearcache::shared::Sink;
use pyo3::exceptions::{PyException, PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::super::{atoms, pickle};
use super::kinds::{
    ASCII, BYTES, FALSE, FLOAT, INT, LARGE_INT, LATIN_1, LOCK, NONE, NUMBER_LEN, PICKLE, SAFE, TREE, TRUE,
    UTF_8, is_pickle, is_text,
};
use super::large_int;
use super::lock::decode_lock;
use super::tree::{self, BuildError};
use crate::errors::error;
use crate::memory::{self, no_memory};
use crate::objects;
use crate::strings::Unwritten;

/// Receives a value's bytes and builds the Python object.
pub(crate) struct Decoder<'py> {
    py: Python<'py>,
    /// Whether a pickle is loaded.
    unpickles: bool,
    kind: u8,
    len: usize,
    /// Whether the whole value has been received.
    is_filled: bool,
    /// The bytes of a number. Initialised with zeros.
    number: [MaybeUninit<u8>; NUMBER_LEN],
    target: Target<'py>,
}

/// Where the bytes of a value are received.
enum Target<'py> {
    /// In [`Decoder::number`].
    Number,
    /// In a `str` of one byte per character.
    Text(Unwritten<'py>),
    /// In a `bytes`.
    Bytes(Unwritten<'py>),
    /// In memory from which an object is built afterwards.
    Scratch(Vec<u8>),
}

/// Why there is no object.
pub(crate) enum Undecodable {
    /// The bytes mean nothing to this process; with the exception that was raised over them, if any.
    Invalid(Option<PyErr>),
    /// Python was interrupted, or there is no memory for the object.
    Raised(PyErr),
}

impl<'py> Decoder<'py> {
    pub(crate) const fn new(py: Python<'py>, unpickles: bool) -> Self {
        Self {
            py,
            unpickles,
            kind: NONE,
            len: 0,
            is_filled: false,
            number: [MaybeUninit::new(0); NUMBER_LEN],
            target: Target::Number,
        }
    }

    pub(crate) const fn py(&self) -> Python<'py> {
        self.py
    }

    /// Returns a decoder that has received these bytes.
    pub(crate) fn with_bytes(py: Python<'py>, unpickles: bool, kind: u8, bytes: &[u8]) -> PyResult<Self> {
        let mut decoder = Self::new(py, unpickles);
        let buffer = decoder.buffer(kind, bytes.len()).map_err(no_memory)?;
        assert_eq!(
            buffer.len(),
            bytes.len(),
            "a buffer has the length that was asked for"
        );
        for (target, byte) in buffer.iter_mut().zip(bytes) {
            target.write(*byte);
        }
        // SAFETY: the loop wrote the whole buffer, since the lengths are equal.
        unsafe { decoder.filled(bytes.len()) };
        Ok(decoder)
    }

    /// Builds the object.
    ///
    /// Fails if the bytes mean nothing to this process, if no value has been received, or if there is no memory.
    pub(crate) fn object(self) -> Result<Py<PyAny>, Undecodable> {
        let py = self.py;
        let is_safe = self.kind & SAFE != 0;
        if !self.is_filled || is_safe && !is_text(self.kind & !SAFE) {
            return Err(Undecodable::Invalid(None));
        }
        if is_pickle(self.kind) && !self.unpickles {
            return Err(pickle_refused(py));
        }
        let object = self.plain_object()?;
        if is_safe {
            return atoms::safe_string(py, &object).map_err(Undecodable::from_exception(py));
        }
        Ok(object.unbind())
    }

    /// Builds the object without regard to `SAFE`. Only for a decoder that is filled.
    #[inline]
    fn plain_object(self) -> Result<Bound<'py, PyAny>, Undecodable> {
        let py = self.py;
        Ok(match (self.kind & !SAFE, self.target, self.len) {
            (INT, Target::Number, NUMBER_LEN) => {
                let number = i64::from_ne_bytes(initialised(self.number));
                objects::int(py, number).map_err(Undecodable::Raised)?.into_any()
            }
            (kind @ (ASCII | LATIN_1), Target::Text(text), _) => {
                // SAFETY: `is_filled`: the caller of `filled` promised that the last buffer, which is this text's, is
                // written.
                let (text, is_ascii) = unsafe { text.written() };
                // Python relies on both: an ASCII str has no other characters, and a Latin-1 str has at least one.
                if is_ascii != (kind == ASCII) {
                    return Err(Undecodable::Invalid(None));
                }
                text
            }
            (kind, target, len) => return rare_object(py, kind, target, self.number, len),
        })
    }

    #[inline]
    fn new_target(py: Python<'py>, kind: u8, len: usize) -> PyResult<Target<'py>> {
        Ok(match kind & !SAFE {
            ASCII => Target::Text(Unwritten::ascii(py, len)?),
            LATIN_1 => Target::Text(Unwritten::latin_1(py, len)?),
            BYTES | PICKLE => Target::Bytes(Unwritten::bytes(py, len)?),
            _ => Target::Scratch(memory::vec(len)?),
        })
    }
}

impl Sink for Decoder<'_> {
    #[inline]
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        (self.kind, self.len, self.is_filled) = (kind, len, false);
        if matches!(kind, NONE | FALSE | TRUE | INT | FLOAT) && len <= NUMBER_LEN {
            self.target = Target::Number;
            return Ok(&mut self.number[..len]);
        }
        // Every error here is a lack of memory.
        self.target = Self::new_target(self.py, kind, len).map_err(|_| OutOfMemory)?;
        Ok(match &mut self.target {
            Target::Text(object) | Target::Bytes(object) => object.buffer(),
            Target::Scratch(bytes) => &mut bytes.spare_capacity_mut()[..len],
            Target::Number => &mut [],
        })
    }

    #[inline]
    unsafe fn filled(&mut self, len: usize) {
        if let Target::Scratch(bytes) = &mut self.target {
            // SAFETY: the caller promises that it wrote all `len` bytes of the last buffer, which are the vector's first
            // ones.
            unsafe { bytes.set_len(len) };
        }
        self.is_filled = true;
    }
}

/// Builds the objects of the less frequent kinds. Only for a decoder that is filled.
fn rare_object<'py>(
    py: Python<'py>,
    kind: u8,
    target: Target<'py>,
    bytes: [MaybeUninit<u8>; NUMBER_LEN],
    len: usize,
) -> Result<Bound<'py, PyAny>, Undecodable> {
    let invalid = Err(Undecodable::Invalid(None));
    Ok(match (kind, target, len) {
        (NONE, Target::Number, 0) => py.None().into_bound(py),
        (FALSE, Target::Number, 0) => PyBool::new(py, false).to_owned().into_any(),
        (TRUE, Target::Number, 0) => PyBool::new(py, true).to_owned().into_any(),
        (FLOAT, Target::Number, NUMBER_LEN) => {
            let number = f64::from_ne_bytes(initialised(bytes));
            objects::float(py, number)
                .map_err(Undecodable::Raised)?
                .into_any()
        }
        (BYTES | PICKLE, Target::Bytes(bytes), _) => {
            // SAFETY: as in `plain_object`.
            let (bytes, _) = unsafe { bytes.written() };
            if kind == BYTES {
                return Ok(bytes);
            }
            pickle::loads(&bytes).map_err(Undecodable::from_exception(py))?
        }
        (UTF_8, Target::Scratch(bytes), _) => text(py, &bytes)?,
        (LOCK, Target::Scratch(bytes), _) => match decode_lock(LOCK, &bytes) {
            Some((_, token)) => text(py, token)?,
            None => return invalid,
        },
        (LARGE_INT, Target::Scratch(bytes), _) => {
            large_int::from_bytes(py, &bytes).map_err(Undecodable::from_exception(py))?
        }
        (TREE, Target::Scratch(bytes), _) => match tree::decode(py, &bytes) {
            Ok(object) => object,
            Err(BuildError::Malformed) => return invalid,
            Err(BuildError::Raised(raised)) => return Err(Undecodable::from_exception(py)(raised)),
        },
        _ => return invalid,
    })
}

fn initialised(bytes: [MaybeUninit<u8>; NUMBER_LEN]) -> [u8; NUMBER_LEN] {
    // SAFETY: `Decoder::new` initialises every byte, and a sink's buffer is only ever written with bytes that are
    // initialised.
    bytes.map(|byte| unsafe { byte.assume_init() })
}

impl Undecodable {
    /// Returns a function that sorts exceptions raised while an object is built: those about the value, and those that must
    /// be raised.
    pub(crate) fn from_exception(py: Python<'_>) -> impl Fn(PyErr) -> Self {
        move |error| {
            if error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py) {
                Self::Invalid(Some(error))
            } else {
                Self::Raised(error)
            }
        }
    }
}

fn text<'py>(py: Python<'py>, utf8: &[u8]) -> Result<Bound<'py, PyAny>, Undecodable> {
    let text = std::str::from_utf8(utf8).map_err(|_| Undecodable::Invalid(None))?;
    objects::text(py, text)
        .map(Bound::into_any)
        .map_err(Undecodable::Raised)
}

/// Returns why a pickle is not loaded.
#[cold]
fn pickle_refused(py: Python<'_>) -> Undecodable {
    let message = format_args!("it is a pickle, and OPTIONS[\"PICKLE\"] is False");
    Undecodable::Invalid(Some(error::<PyTypeError>(py, message)))
}
