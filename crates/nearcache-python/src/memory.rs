//! Rust memory that is allocated fallibly: a `MemoryError` where the standard library aborts the process.
//!
//! `docs/design/local.md` ("When memory is short") lists the allocations that remain infallible.

use std::collections::TryReserveError;
use std::fmt::{self, Write};

use pyo3::exceptions::PyMemoryError;
use pyo3::{PyErr, PyResult};

/// Returns a `MemoryError`, whatever error it replaces. Python keeps some ready, so raising one takes no memory.
pub(crate) fn no_memory<E>(_: E) -> PyErr {
    PyMemoryError::new_err(())
}

/// Returns an empty vector with room for `len` elements.
pub(crate) fn vec<T>(len: usize) -> PyResult<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(no_memory)?;
    Ok(vec)
}

/// Copies bytes.
pub(crate) fn owned(bytes: &[u8]) -> PyResult<Box<[u8]>> {
    let mut copy = vec(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy.into_boxed_slice())
}

/// Returns the bytes of all parts, one part after the other.
pub(crate) fn concat<const N: usize>(parts: [&[u8]; N]) -> PyResult<Vec<u8>> {
    let mut whole = vec(parts.iter().map(|part| part.len()).sum())?;
    for part in parts {
        whole.extend_from_slice(part);
    }
    Ok(whole)
}

/// Appends an element to a vector.
pub(crate) fn push<T>(vec: &mut Vec<T>, element: T) -> PyResult<()> {
    vec.try_reserve(1).map_err(no_memory)?;
    vec.push(element);
    Ok(())
}

/// A string that reports an error if it cannot grow.
struct FallibleString(String);

impl Write for FallibleString {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.0
            .try_reserve(piece.len())
            .map_err(|_: TryReserveError| fmt::Error)?;
        self.0.push_str(piece);
        Ok(())
    }
}

/// Formats a message, as `format!` does.
pub(crate) fn format(message: fmt::Arguments<'_>) -> PyResult<String> {
    let mut text = FallibleString(String::new());
    text.write_fmt(message).map_err(no_memory)?;
    Ok(text.0)
}

/// Checks that 64 KB can be allocated, and releases them again.
///
/// For use before an operation whose small allocations, inside the standard library, abort the process on failure: they are
/// likely to fit into what this releases.
pub(crate) fn ensure_headroom() -> PyResult<()> {
    const BYTES: usize = 64 << 10;
    vec::<u8>(BYTES).map(drop)
}
