//! How Python values are stored, so that a value that is read never aliases the stored one.
//!
//! In this process, by exact type, the cheapest first:
//!
//! 1. [`atoms`], and tuples and frozensets of them, cannot change: a reference to the caller's object is stored.
//! 2. *Trees* of plain containers over atoms are copied when they are stored ([`mod@copy_in`]) and again when they are read
//!    ([`mod@copy_out`]). Atoms are shared.
//! 3. Everything else is pickled when it is stored, so that an error is raised then, and unpickled when it is read.
//!
//! For other processes, values are stored as [`bytes`].
//!
//! All of this runs with no lock held: the engine hands out a [`Stored`], which is one reference.

mod atoms;
#[cfg(shared)]
pub(crate) mod bytes;
mod containers;
mod copy_in;
mod copy_out;
mod counted_names;
pub(crate) mod pickle;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::objects;
use copy_in::{CopiedIn, copy_in};
use copy_out::copy_out;

/// A value as the engine keeps it in this process.
#[derive(Clone)]
pub(crate) enum Stored {
    /// An immutable object, shared with callers.
    Shared(Py<PyAny>),
    /// A copy of a tree of containers, which is never handed out itself.
    Tree(Py<PyAny>),
    /// A pickle.
    Pickled(Py<PyBytes>),
}

/// A value that is ready to be stored, and an estimate of the memory that it takes, in bytes.
pub(crate) struct Encoded {
    pub(crate) stored: Stored,
    pub(crate) size: u64,
}

impl Encoded {
    /// Encodes a value. O(1) for immutable objects, O(size) for others.
    ///
    /// Fails with what pickling raises, if the value has to be pickled.
    pub(crate) fn new(value: &Bound<'_, PyAny>, pickle_protocol: Option<i32>) -> PyResult<Self> {
        if let Some(encoded) = Self::without_pickle(value)? {
            return Ok(encoded);
        }
        let pickled = pickle::dumps(value, pickle_protocol)?;
        // Copied, because pickle's own object is a large block that was cut short. Such blocks fragment the heap: it grows
        // to twice the size in use.
        let pickled = objects::bytes(value.py(), pickled.as_bytes())?;
        let size = atoms::bytes_size(pickled.len()?);
        Ok(Self {
            stored: Stored::Pickled(pickled.unbind()),
            size,
        })
    }

    /// Encodes a value that need not be pickled.
    #[inline]
    fn without_pickle(value: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if let Some(size) = atoms::atom_size(value)? {
            return Ok(Some(Self {
                stored: Stored::Shared(value.clone().unbind()),
                size,
            }));
        }
        Ok(copy_in(value)?.map(|CopiedIn { value: copy, size }| {
            let kind = if copy.is(value) {
                Stored::Shared
            } else {
                Stored::Tree
            };
            Self {
                stored: kind(copy.unbind()),
                size,
            }
        }))
    }
}

impl Encoded {
    /// Encodes a value whose pickle is known.
    #[cfg(unix)]
    pub(crate) fn with_pickle(value: &Bound<'_, PyAny>, pickled: &[u8]) -> PyResult<Self> {
        if let Some(encoded) = Self::without_pickle(value)? {
            return Ok(encoded);
        }
        Ok(Self {
            stored: Stored::Pickled(objects::bytes(value.py(), pickled)?.unbind()),
            size: atoms::bytes_size(pickled.len()),
        })
    }
}

impl Stored {
    /// Returns another reference to the same value.
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Shared(value) => Self::Shared(value.clone_ref(py)),
            Self::Tree(tree) => Self::Tree(tree.clone_ref(py)),
            Self::Pickled(bytes) => Self::Pickled(bytes.clone_ref(py)),
        }
    }

    /// Returns the value for a caller. O(1) for immutable objects, O(size) for others.
    ///
    /// Fails with what unpickling raises.
    pub(crate) fn decode(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Shared(value) => Ok(value),
            Self::Tree(tree) => copy_out(tree.bind(py)).map(Bound::unbind),
            Self::Pickled(bytes) => pickle::loads(bytes.bind(py).as_any()).map(Bound::unbind),
        }
    }
}
