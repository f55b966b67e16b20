//! How Python values are kept so that what comes out never aliases what is inside.
//!
//! By exact type, cheapest first:
//!
//! 1. [`immutable`] objects, and tuples and frozensets of them, are kept by reference;
//! 2. [`tree`]s of plain collections over those are copied in, and copied out again, sharing the leaves;
//! 3. everything else is pickled when stored, so that what cannot be pickled fails then, and unpickled when read.
//!
//! That is for values that stay in this process; [`raw`] has those that are kept as bytes, for other processes.
//!
//! All of this runs with no lock held: the engine hands out a [`Stored`], which is one reference.

mod counted_names;
mod immutable;
#[cfg(shared)]
pub(crate) mod raw;
mod tree;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{bytes, interned, text};
use tree::Taken;

/// A value as the engine keeps it.
#[derive(Clone)]
pub(crate) enum Stored {
    /// Immutable: the caller's own object.
    Shared(Py<PyAny>),
    /// A private copy of a tree of containers.
    Tree(Py<PyAny>),
    /// A pickle.
    Pickled(Py<PyBytes>),
}

/// A value made ready to be kept, and the bytes of memory it is reckoned to take.
pub(crate) struct Encoded {
    pub(crate) stored: Stored,
    pub(crate) size: u64,
}

impl Encoded {
    /// Makes a value ready. O(1) for immutables, O(size) for all else.
    ///
    /// Fails with whatever pickle fails with, when it comes to that.
    pub(crate) fn new(value: &Bound<'_, PyAny>, pickle_protocol: Option<i32>) -> PyResult<Self> {
        if let Some(size) = immutable::atom_size(value)? {
            return Ok(Self {
                stored: Stored::Shared(value.clone().unbind()),
                size,
            });
        }
        if let Some(Taken { value: taken, size }) = tree::take_in(value)? {
            let kind = if taken.is(value) {
                Stored::Shared
            } else {
                Stored::Tree
            };
            return Ok(Self {
                stored: kind(taken.unbind()),
                size,
            });
        }
        let py = value.py();
        let pickled = pickle(py, interned!(py, "dumps")?)?.call1((value, pickle_protocol))?;
        // Copied, since pickle's own is a large block cut short: between those that stay no other large one fits, and the heap
        // grows to twice what is used.
        let pickled = bytes(py, pickled.cast_into::<PyBytes>()?.as_bytes())?;
        let size = immutable::bytes_size(pickled.len()?);
        Ok(Self {
            stored: Stored::Pickled(pickled.unbind()),
            size,
        })
    }
}

impl Stored {
    /// Another reference to the same value.
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Shared(value) => Self::Shared(value.clone_ref(py)),
            Self::Tree(tree) => Self::Tree(tree.clone_ref(py)),
            Self::Pickled(bytes) => Self::Pickled(bytes.clone_ref(py)),
        }
    }

    /// The value for a caller: O(1) for immutables, O(size) for all else.
    ///
    /// Fails with whatever unpickling fails with.
    pub(crate) fn decode(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Shared(value) => Ok(value),
            Self::Tree(tree) => tree::hand_out(tree.bind(py)).map(Bound::unbind),
            Self::Pickled(bytes) => pickle(py, interned!(py, "loads")?)?
                .call1((bytes,))
                .map(Bound::unbind),
        }
    }
}

/// A function of `pickle`, looked up every time, so that a test may patch it.
fn pickle<'py>(py: Python<'py>, function: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    static PICKLE: NonblockingOnce<Py<PyModule>> = NonblockingOnce::new();
    let module = PICKLE.get_or_make(|| py.import(text(py, "pickle")?).map(Bound::unbind))?;
    module.bind(py).getattr(function)
}
