//! The memory of `str` and `bytes` objects: reading characters without a copy, and filling new objects.
//!
//! Facts of `CPython`, from `Objects/unicodeobject.c` and `Objects/bytesobject.c`, 3.10 to 3.15:
//!
//! - A `str` never changes its width, length or characters once other code can see it. What can change are the cached UTF-8
//!   and hash, and whether it is interned. Before 3.12 a legacy `str` also gets its final form once, by `PyUnicode_READY`.
//!   (`s += t` extends a `str` in place only if no other reference exists, and the caller of these functions has another one.)
//! - The width and the interned mark are bits of one word. Up to 3.13 `PyO3` reads that word from Rust, and the GIL keeps
//!   others from writing it meanwhile. From 3.14 on, the first free-threaded version supported here, `PyUnicode_KIND` and
//!   `PyUnicode_DATA` are functions of the interpreter, which does whatever its own memory model needs.
//! - `PyUnicode_New(0, ...)` and `PyBytes_FromStringAndSize(NULL, 0)` return an object that is shared by all. No byte of it
//!   is ever written, because a slice of length 0 has none. For any other length both return a new object with one
//!   reference; the cached one-character objects are only returned by functions that are given the characters.
//! - Neither type is tracked by the garbage collector, so `gc.get_objects()` does not find an object that is not filled
//!   yet.
#![allow(unsafe_code)]
#![cfg_attr(not(shared), allow(dead_code))] // most of it is for shared caches

use std::mem::MaybeUninit;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

#[cfg(all(Py_GIL_DISABLED, not(Py_3_14)))]
compile_error!(
    "free-threaded Python is supported from 3.14 on: before, PyO3 reads a str's state word without a lock"
);

/// Returns how many bytes the characters of a text take: 1, 2 or 4 each.
pub(crate) fn characters_size(text: &Bound<'_, PyString>) -> u64 {
    let len = text.len().unwrap_or(0) as u64;
    len * u64::from(width(text))
}

/// Returns the characters of a text if each takes one byte, that is, in ASCII or Latin-1.
pub(crate) fn one_byte_characters<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let len = text.len().ok()?;
    if width(text) != ffi::PyUnicode_1BYTE_KIND {
        return None;
    }
    // SAFETY: a ready str of one byte per character has `len` bytes of data, which never change. It lives as long as
    // `text`.
    Some(unsafe { slice::from_raw_parts(ffi::PyUnicode_DATA(text.as_ptr()).cast(), len) })
}

/// Returns how many bytes each character takes. The caller has asked for the length, which makes a legacy `str` ready.
fn width(text: &Bound<'_, PyString>) -> std::ffi::c_uint {
    // SAFETY: `text` is a str and alive. Nothing writes its state word meanwhile: see the module's facts.
    unsafe { ffi::PyUnicode_KIND(text.as_ptr()) }
}

/// A new `str` or `bytes` whose content is not written yet. No other code has a reference to it, unless its length is 0.
pub(crate) struct Unwritten<'py> {
    object: Bound<'py, PyAny>,
    start: *mut MaybeUninit<u8>,
    len: usize,
}

impl<'py> Unwritten<'py> {
    /// Returns a `str` of `len` ASCII characters.
    #[inline]
    pub(crate) fn ascii(py: Python<'py>, len: usize) -> PyResult<Self> {
        Self::text(py, len, 0x7f)
    }

    /// Returns a `str` of `len` characters up to U+00FF. At least one of them must be above U+007F.
    #[inline]
    pub(crate) fn latin_1(py: Python<'py>, len: usize) -> PyResult<Self> {
        Self::text(py, len, 0xff)
    }

    #[inline]
    fn text(py: Python<'py>, len: usize, highest: u32) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(len)?;
        // SAFETY: the function returns a str or null with an exception set. With a highest character below U+0100 the str
        // has one byte for each of its `len` characters, at the address that `PyUnicode_DATA` returns.
        unsafe {
            let object = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(size, highest))?;
            let start = ffi::PyUnicode_DATA(object.as_ptr()).cast();
            Ok(Self { object, start, len })
        }
    }

    /// Returns a `bytes` of `len` bytes.
    #[inline]
    pub(crate) fn bytes(py: Python<'py>, len: usize) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(len)?;
        // SAFETY: the function takes a null pointer for "not written yet", and returns a `bytes` of that length or null
        // with an exception set. `PyBytes_AsString` returns the address of its bytes, and does not fail for a `bytes`.
        unsafe {
            let made = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
            let object = Bound::from_owned_ptr_or_err(py, made)?;
            let start = ffi::PyBytes_AsString(object.as_ptr()).cast();
            Ok(Self { object, start, len })
        }
    }

    /// Returns the memory to write.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the object has `len` bytes at `start` and lives as long as `self`, which is borrowed mutably. Nobody else
        // reads or writes them: the object is new, or `len` is 0 and there are none.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Returns the object, and whether its content is ASCII.
    ///
    /// # Safety
    ///
    /// Every byte of the buffer has been written.
    #[inline]
    pub(crate) unsafe fn written(self) -> (Bound<'py, PyAny>, bool) {
        // SAFETY: the caller promises that all `len` bytes are initialised, and nobody else writes them (see `buffer`).
        let bytes = unsafe { slice::from_raw_parts(self.start.cast::<u8>(), self.len) };
        let is_ascii = is_ascii(bytes);
        (self.object, is_ascii)
    }
}

/// Returns a `str` of these characters, one byte each; `None` if they are ASCII and should not be, or the reverse.
#[inline]
pub(crate) fn one_byte_text<'py>(
    py: Python<'py>,
    characters: &[u8],
    should_be_ascii: bool,
) -> PyResult<Option<Bound<'py, PyString>>> {
    if is_ascii(characters) != should_be_ascii {
        return Ok(None);
    }
    let text = Unwritten::text(py, characters.len(), if should_be_ascii { 0x7f } else { 0xff })?;
    // SAFETY: `Unwritten::text` returns a str with as many characters at `start`, which nobody else reads or writes: see
    // `buffer`. It is not the memory of `characters`, because it is new, or there are none.
    unsafe {
        std::ptr::copy_nonoverlapping(characters.as_ptr(), text.start.cast(), characters.len());
        Ok(Some(text.object.cast_into_unchecked()))
    }
}

/// Returns whether bytes are ASCII, as `<[u8]>::is_ascii` does with four times as many instructions on a kilobyte.
///
/// This one does not stop at the first byte that is not ASCII, since nearly all texts are.
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    if bytes.len() < 64 {
        return bytes.is_ascii();
    }
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut all = [0; 64];
    for block in blocks {
        for (all, byte) in all.iter_mut().zip(block) {
            *all |= byte;
        }
    }
    rest.iter().chain(&all).fold(0, |all, byte| all | byte) < 0x80
}
