//! How Python values are kept as bytes, with a kind that says what they are.
//!
//! `None`, `bool`, `int`, `float`, `bytes` and `str` of exactly these types, and Django's `SafeString`, are kept as they are
//! and rebuilt without pickle. ASCII, Latin-1 and `bytes` are copied once, from the map into the object that the caller
//! gets. Everything else is a pickle.
//!
//! What is read may be anything: another program's, or damaged. It is checked for what Python relies on.
#![allow(unsafe_code)] // Objects are filled after they are made.

use std::mem::MaybeUninit;
use std::slice;

use nearcache::OutOfMemory;
use nearcache::shared::{ProcessId, Sink};
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString};

use super::{immutable, pickle};
use crate::memory::{self, no_memory};
use crate::objects::{self, Count, interned};

/// The bytes of a `bytes` object. 0, so that a Rust program's untagged values are `bytes` here.
const BYTES: u8 = 0;
const NONE: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
/// An `i64` in native order: what the engine counts in place.
pub(crate) const INT: u8 = 4;
/// An `int` that does not fit one, in two's complement, little-endian.
const LARGE_INT: u8 = 5;
/// An `f64` in native order.
const FLOAT: u8 = 6;
const ASCII: u8 = 7;
/// Text with a character of U+0080 to U+00FF, and none above.
const LATIN_1: u8 = 8;
const UTF_8: u8 = 9;
const PICKLE: u8 = 10;
/// A lock: who holds it, 8 bytes, and the token, UTF-8.
const LOCK: u8 = 11;
/// Added to a text's kind: it is a `SafeString`.
const SAFE: u8 = 0x40;

const NUMBER_LEN: usize = 8;

/// A value as bytes.
pub(crate) struct Raw<'a, 'py> {
    pub(crate) kind: u8,
    bytes: Bytes<'a, 'py>,
}

enum Bytes<'a, 'py> {
    Number([u8; NUMBER_LEN]),
    Borrowed(&'a [u8]),
    Object(Bound<'py, PyBytes>),
}

impl<'a, 'py> Raw<'a, 'py> {
    /// Makes a value ready to be stored. Texts and `bytes` are not copied.
    ///
    /// Fails with whatever pickle fails with, when it comes to that.
    pub(crate) fn new(value: &'a Bound<'py, PyAny>, pickle_protocol: Option<i32>) -> PyResult<Self> {
        let py = value.py();
        let borrowed = |kind, bytes| {
            Ok(Self {
                kind,
                bytes: Bytes::Borrowed(bytes),
            })
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
            return Self::int(number);
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            return Ok(Self {
                kind: FLOAT,
                bytes: Bytes::Number(number.value().to_ne_bytes()),
            });
        } else if immutable::is_safe_string(value)
            && let Some((kind, bytes)) = value.cast::<PyString>().ok().and_then(text_bytes)
        {
            return borrowed(kind | SAFE, bytes);
        }
        let pickled = pickle(py, interned!(py, "dumps")?)?.call1((value, pickle_protocol))?;
        Ok(Self {
            kind: PICKLE,
            bytes: Bytes::Object(pickled.cast_into()?),
        })
    }

    fn int(number: &Bound<'py, PyInt>) -> PyResult<Self> {
        let py = number.py();
        if let Ok(small) = number.extract::<i64>() {
            return Ok(Self {
                kind: INT,
                bytes: Bytes::Number(small.to_ne_bytes()),
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
            bytes: Bytes::Object(bytes.cast_into()?),
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Number(bytes) => bytes,
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Object(object) => object.as_bytes(),
        }
    }
}

/// Whether what is made of a value of this kind is an object that nobody can change, so that it may be handed out again.
#[inline]
pub(crate) const fn is_immutable(kind: u8) -> bool {
    matches!(kind & !SAFE, ASCII | LATIN_1 | UTF_8) || matches!(kind, BYTES | LARGE_INT)
}

/// The value of a lock: who holds it and with which token.
pub(crate) fn lock_bytes(holder: ProcessId, token: &str) -> Result<(u8, Vec<u8>), OutOfMemory> {
    let holder = holder.to_u64().to_ne_bytes();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(holder.len() + token.len())?;
    bytes.extend_from_slice(&holder);
    bytes.extend_from_slice(token.as_bytes());
    Ok((LOCK, bytes))
}

/// Who holds a lock, and with which token; `None` if it is no lock.
pub(crate) fn lock_of(kind: u8, bytes: &[u8]) -> Option<(ProcessId, &[u8])> {
    let (holder, token) = bytes.split_first_chunk().filter(|_| kind == LOCK)?;
    Some((ProcessId::from_u64(u64::from_ne_bytes(*holder)), token))
}

/// A text's bytes as they are kept; `None` for one with lone surrogates.
fn text_bytes<'a>(text: &'a Bound<'_, PyString>) -> Option<(u8, &'a [u8])> {
    let len = text.len().ok()?; // in characters; and makes the object ready, before Python 3.12
    // SAFETY: a str, alive and ready.
    if unsafe { ffi::PyUnicode_KIND(text.as_ptr()) } != ffi::PyUnicode_1BYTE_KIND {
        return text.to_str().ok().map(|text| (UTF_8, text.as_bytes()));
    }
    // SAFETY: as above. It has one byte for each character, and they never change.
    let bytes = unsafe { slice::from_raw_parts(ffi::PyUnicode_DATA(text.as_ptr()).cast(), len) };
    // The str knows whether it is ASCII, but from Python 3.14 on only by a macro of C's.
    Some((if is_ascii(bytes) { ASCII } else { LATIN_1 }, bytes))
}

/// Takes in a value that is read from a map, and makes it a Python object.
pub(crate) struct Reading<'py> {
    py: Python<'py>,
    kind: u8,
    len: usize,
    /// The bytes themselves, if the room is for a number.
    number: [MaybeUninit<u8>; NUMBER_LEN],
    room: Room<'py>,
}

/// Where the bytes go.
enum Room<'py> {
    Number,
    /// Into a `str`, a byte a character.
    Text(Bound<'py, PyAny>),
    Bytes(Bound<'py, PyAny>),
    Scratch(Vec<u8>),
}

/// Why there is no value.
pub(crate) enum Unread {
    /// The bytes mean nothing to this process; what was raised over them, if anything was.
    Unreadable(Option<PyErr>),
    /// Python was interrupted, or there is no memory for the value.
    Failed(PyErr),
}

impl<'py> Reading<'py> {
    pub(crate) const fn new(py: Python<'py>) -> Self {
        Self {
            py,
            kind: NONE,
            len: 0,
            number: [MaybeUninit::new(0); NUMBER_LEN],
            room: Room::Number,
        }
    }

    pub(crate) const fn py(&self) -> Python<'py> {
        self.py
    }

    /// With a value that was read elsewhere.
    pub(crate) fn of(py: Python<'py>, kind: u8, bytes: &[u8]) -> PyResult<Self> {
        let mut reading = Self::new(py);
        let room = reading.buffer(kind, bytes.len()).map_err(no_memory)?;
        for (room, byte) in room.iter_mut().zip(bytes) {
            room.write(*byte);
        }
        // SAFETY: just filled.
        unsafe { reading.filled(bytes.len()) };
        Ok(reading)
    }

    /// The object, after its value was read.
    pub(crate) fn value(self) -> Result<Py<PyAny>, Unread> {
        let py = self.py;
        let is_safe = self.kind & SAFE != 0;
        if is_safe && !matches!(self.kind & !SAFE, ASCII | LATIN_1 | UTF_8) {
            return Err(Unread::Unreadable(None));
        }
        let value = self.plain_value()?;
        if is_safe {
            return immutable::safe_string(py, &value).map_err(Unread::from_python(py));
        }
        Ok(value.unbind())
    }

    #[inline]
    fn plain_value(self) -> Result<Bound<'py, PyAny>, Unread> {
        let py = self.py;
        let unreadable = Err(Unread::Unreadable(None));
        Ok(match (self.kind & !SAFE, self.room, self.len) {
            (INT, Room::Number, NUMBER_LEN) => {
                let number = i64::from_ne_bytes(number(self.number));
                objects::int(py, number).map_err(Unread::Failed)?.into_any()
            }
            (kind @ (ASCII | LATIN_1), Room::Text(text), len) => {
                if is_ascii(characters(&text, len)) != (kind == ASCII) {
                    return unreadable;
                }
                text
            }
            (kind, room, len) => return other_value(py, kind, room, self.number, len),
        })
    }

    /// Room in an object, or in bytes that one is made of; numbers are kept without.
    #[inline]
    fn make_room(py: Python<'py>, kind: u8, len: usize) -> PyResult<Room<'py>> {
        let size = ffi::Py_ssize_t::try_from(len)?;
        let text = |last| {
            // SAFETY: a new str, or null with an error set.
            unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(size, last)) }
        };
        Ok(match kind & !SAFE {
            ASCII => Room::Text(text(0x7f)?),
            LATIN_1 => Room::Text(text(0xff)?),
            BYTES | PICKLE => {
                // SAFETY: a new `bytes` that is to be filled, or null with an error set.
                let made = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
                // SAFETY: as above.
                Room::Bytes(unsafe { Bound::from_owned_ptr_or_err(py, made)? })
            }
            _ => Room::Scratch(memory::vec(len)?),
        })
    }
}

impl Sink for Reading<'_> {
    #[inline]
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        (self.kind, self.len) = (kind, len);
        if matches!(kind, NONE | FALSE | TRUE | INT | FLOAT) && len <= NUMBER_LEN {
            self.room = Room::Number;
            return Ok(&mut self.number[..len]);
        }
        // It fails for want of memory only.
        self.room = Self::make_room(self.py, kind, len).map_err(|_| OutOfMemory)?;
        let start = match &mut self.room {
            // SAFETY: a str of `len` characters of one byte, not yet seen by anybody else.
            Room::Text(text) => unsafe { ffi::PyUnicode_DATA(text.as_ptr()).cast() },
            // SAFETY: a `bytes` of this length, not yet seen by anybody else.
            Room::Bytes(bytes) => unsafe { ffi::PyBytes_AsString(bytes.as_ptr()).cast() },
            Room::Scratch(bytes) => return Ok(&mut bytes.spare_capacity_mut()[..len]),
            Room::Number => return Ok(&mut []),
        };
        // SAFETY: there are `len` bytes, which are `self`'s alone.
        Ok(unsafe { slice::from_raw_parts_mut(start, len) })
    }

    #[inline]
    unsafe fn filled(&mut self, len: usize) {
        if let Room::Scratch(bytes) = &mut self.room {
            // SAFETY: the caller's promise.
            unsafe { bytes.set_len(len) };
        }
    }
}

/// What is not the most frequent.
fn other_value<'py>(
    py: Python<'py>,
    kind: u8,
    room: Room<'py>,
    bytes: [MaybeUninit<u8>; NUMBER_LEN],
    len: usize,
) -> Result<Bound<'py, PyAny>, Unread> {
    let unreadable = Err(Unread::Unreadable(None));
    Ok(match (kind, room, len) {
        (NONE, Room::Number, 0) => py.None().into_bound(py),
        (FALSE, Room::Number, 0) => PyBool::new(py, false).to_owned().into_any(),
        (TRUE, Room::Number, 0) => PyBool::new(py, true).to_owned().into_any(),
        (FLOAT, Room::Number, NUMBER_LEN) => {
            let number = f64::from_ne_bytes(number(bytes));
            objects::float(py, number).map_err(Unread::Failed)?.into_any()
        }
        (BYTES, Room::Bytes(bytes), _) => bytes,
        (PICKLE, Room::Bytes(bytes), _) => unpickled(&bytes).map_err(Unread::from_python(py))?,
        (UTF_8, Room::Scratch(bytes), _) => text(py, &bytes)?,
        (LOCK, Room::Scratch(bytes), _) => match lock_of(LOCK, &bytes) {
            Some((_, token)) => text(py, token)?,
            None => return unreadable,
        },
        (LARGE_INT, Room::Scratch(bytes), _) => large_int(py, &bytes).map_err(Unread::from_python(py))?,
        _ => return unreadable,
    })
}

/// The bytes of a number that was read.
fn number(bytes: [MaybeUninit<u8>; NUMBER_LEN]) -> [u8; NUMBER_LEN] {
    // SAFETY: zeros from the beginning, and then what was read.
    bytes.map(|byte| unsafe { byte.assume_init() })
}

impl Unread {
    /// What was raised while a value was made is about that value, unless it is about all that goes on.
    fn from_python(py: Python<'_>) -> impl Fn(PyErr) -> Self {
        move |error| {
            if error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py) {
                Self::Unreadable(Some(error))
            } else {
                Self::Failed(error)
            }
        }
    }
}

/// The characters of a `str` that [`Reading`] made.
fn characters<'a>(text: &'a Bound<'_, PyAny>, len: usize) -> &'a [u8] {
    // SAFETY: so many characters of one byte each, which were filled.
    unsafe { slice::from_raw_parts(ffi::PyUnicode_DATA(text.as_ptr()).cast(), len) }
}

/// As `<[u8]>::is_ascii`, a fourth of its instructions on a kilobyte: it looks at the whole, since that is what is expected.
fn is_ascii(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut all = [0; 64];
    for block in blocks {
        for (all, byte) in all.iter_mut().zip(block) {
            *all |= byte;
        }
    }
    rest.iter().chain(&all).fold(0, |all, byte| all | byte) < 0x80
}

fn text<'py>(py: Python<'py>, utf8: &[u8]) -> Result<Bound<'py, PyAny>, Unread> {
    let text = std::str::from_utf8(utf8).map_err(|_| Unread::Unreadable(None))?;
    objects::text(py, text)
        .map(Bound::into_any)
        .map_err(Unread::Failed)
}

fn unpickled<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = bytes.py();
    pickle(py, interned!(py, "loads")?)?.call1((bytes,))
}

fn large_int<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let from_bytes = py.get_type::<PyInt>().getattr(interned!(py, "from_bytes")?)?;
    let arguments = (objects::bytes(py, bytes)?, interned!(py, "little")?);
    from_bytes.call(arguments, Some(&signed(py)?))
}

/// The argument of `int.to_bytes` and `int.from_bytes`.
fn signed(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let signed = objects::dict(py)?;
    signed.set_item(interned!(py, "signed")?, true)?;
    Ok(signed)
}
