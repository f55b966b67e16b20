//! How Python values are stored, so that a value that is read never aliases the stored one.
//!
//! In this process, the cheapest first:
//!
//! 1. [`atoms`], and tuples and frozensets of them, cannot change: a reference to the caller's object is stored.
//! 2. A `dict`, `list`, `set` or `bytearray` of them is copied when it is stored and again when it is read ([`Flat`]).
//! 3. Everything else is taken apart when it is stored and rebuilt when it is read ([`graph`]).
//! 4. What is nested too deeply, or uses another pickle protocol, is pickled.
//!
//! For other processes, values are stored as [`bytes`].
//!
//! All of this runs with no lock held: the engine hands out a [`Stored`], which is one reference.

mod atoms;
#[cfg(shared)]
pub(crate) mod bytes;
mod counted_names;
mod graph;
pub(crate) mod pickle;
mod sizes;
mod timing;

#[cfg(unix)]
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::objects;
use graph::{Flat, Graph, Recorded, Stop};
pub(crate) use timing::Timing;

/// Makes the Python class of graphs, while an error can still be raised by an import.
pub(crate) fn initialize(py: Python<'_>) {
    py.get_type::<Graph>();
}

/// A value as the engine keeps it in this process.
#[derive(Clone)]
pub(crate) enum Stored {
    /// An immutable object, shared with callers.
    Shared(Timing, Py<PyAny>),
    /// A copy of a container of such objects, which is never handed out itself.
    Flat(Timing, Flat),
    /// How the value is rebuilt.
    Graph(Timing, Py<Graph>),
    /// A pickle.
    Pickled(Timing, Py<PyBytes>),
}

const _: () = assert!(size_of::<Stored>() == 16, "the timing takes memory");

/// A value that is ready to be stored, and an estimate of the memory that it takes, in bytes.
pub(crate) struct Encoded {
    pub(crate) stored: Stored,
    pub(crate) size: u64,
}

impl Encoded {
    /// Encodes a value. O(1) for immutable objects, O(size) for others.
    ///
    /// Fails with what pickling raises, if the value cannot be pickled.
    pub(crate) fn new(value: &Bound<'_, PyAny>, pickle_protocol: Option<i32>) -> PyResult<Self> {
        match Self::without_pickle(value, pickle_protocol) {
            Ok(encoded) => Ok(encoded),
            Err(Stop::Raised(raised)) => Err(raised),
            Err(Stop::Unsupported) => {
                let pickled = pickle::dumps(value, pickle_protocol)?;
                // Copied, because pickle's own object is a large block that was cut short. Such blocks fragment the heap:
                // it grows to twice the size in use.
                Self::pickled(value.py(), pickled.as_bytes())
            }
        }
    }

    /// Encodes a value whose pickle is known, and was made by another process.
    ///
    /// Functions of the value's classes that fail are ignored: nothing was to be pickled here.
    #[cfg(unix)]
    pub(crate) fn with_pickle(value: &Bound<'_, PyAny>, pickled: &[u8]) -> PyResult<Self> {
        match Self::without_pickle(value, Some(pickle::PROTOCOL)) {
            Ok(encoded) => Ok(encoded),
            Err(Stop::Raised(raised)) if !raised.is_instance_of::<PyException>(value.py()) => Err(raised),
            Err(_) => Self::pickled(value.py(), pickled),
        }
    }

    fn pickled(py: Python<'_>, pickled: &[u8]) -> PyResult<Self> {
        Ok(Self {
            stored: Stored::Pickled(Timing::NONE, objects::bytes(py, pickled)?.unbind()),
            size: sizes::bytes_size(pickled.len()),
        })
    }

    /// Encodes a value that need not be pickled.
    #[inline]
    fn without_pickle(value: &Bound<'_, PyAny>, pickle_protocol: Option<i32>) -> Result<Self, Stop> {
        let shared = |size| Self {
            stored: Stored::Shared(Timing::NONE, value.clone().unbind()),
            size,
        };
        if let Some(size) = atoms::atom_size(value)? {
            return Ok(shared(size));
        }
        let (recorded, size) = graph::record(value, pickle_protocol == Some(pickle::PROTOCOL))?;
        let stored = match recorded {
            Recorded::Shared => return Ok(shared(size)),
            Recorded::Flat(flat) => Stored::Flat(Timing::NONE, flat),
            Recorded::Graph(graph) => Stored::Graph(Timing::NONE, graph),
        };
        Ok(Self { stored, size })
    }
}

impl Stored {
    /// Returns another reference to the same value.
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Shared(timing, value) => Self::Shared(*timing, value.clone_ref(py)),
            Self::Flat(timing, flat) => Self::Flat(*timing, flat.clone_ref(py)),
            Self::Graph(timing, graph) => Self::Graph(*timing, graph.clone_ref(py)),
            Self::Pickled(timing, bytes) => Self::Pickled(*timing, bytes.clone_ref(py)),
        }
    }

    /// Returns the times that belong to the value.
    #[inline]
    pub(crate) const fn timing(&self) -> Timing {
        let (Self::Shared(timing, _)
        | Self::Flat(timing, _)
        | Self::Graph(timing, _)
        | Self::Pickled(timing, _)) = self;
        *timing
    }

    /// Sets the times that belong to the value.
    pub(crate) const fn set_timing(&mut self, new: Timing) {
        let (Self::Shared(timing, _)
        | Self::Flat(timing, _)
        | Self::Graph(timing, _)
        | Self::Pickled(timing, _)) = self;
        *timing = new;
    }

    /// Returns the value for a caller. O(1) for immutable objects, O(size) for others.
    ///
    /// Fails with what unpickling raises.
    pub(crate) fn decode(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Shared(_, value) => Ok(value),
            Self::Flat(_, flat) => flat.copy(py).map(Bound::unbind),
            Self::Graph(_, graph) => graph.get().build(py).map(Bound::unbind),
            Self::Pickled(_, bytes) => pickle::loads(bytes.bind(py).as_any()).map(Bound::unbind),
        }
    }
}
