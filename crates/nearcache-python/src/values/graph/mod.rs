//! The value graph: any value that can be pickled, taken apart once when it is stored and rebuilt at every read, with no
//! byte stream between.
//!
//! [`record`] asks the objects in a value how they are pickled (`__reduce_ex__`, protocol 5) and notes
//! the answers as [`Node`]s. [`Graph::build`] carries them out as an unpickler does. A node is what an instruction of a
//! pickle is, but it refers to objects where a pickle contains bytes: immutable objects, classes and functions are shared,
//! and a container of such objects alone is copied as a whole.
//!
//! Invariants:
//!
//! - `build` returns what `pickle.loads(pickle.dumps(value, 5))` would return. It calls the same functions of a program in
//!   the same order, and raises what they raise. What is called at `set` is called once.
//! - Identity within a value survives: an object that occurs twice is built once. So do cycles.
//! - A graph does not change. Any number of threads may build from it at once.
//!
//! What differs from pickle: classes and functions are looked up when a value is stored, and not again when it is read.
//!
//! Source: the pickle protocol (PEP 307, 1993-2003; PEP 3154, 2011; PEP 574, 2018), as in `CPython`'s `Modules/_pickle.c`.

mod answer;
mod builder;
mod by_reference;
mod collections;
mod django;
mod enums;
mod flat;
mod node;
mod pickle_buffer;
mod plain_classes;
mod recorder;
mod reduce;
mod state;
mod stop;

use pyo3::prelude::*;

use crate::memory::{no_memory, push, vec};
use crate::values::sizes::{block, malloc_block};
use builder::Builder;
pub(super) use flat::Flat;
use node::Node;
use recorder::Recorder;
pub(super) use stop::Stop;

/// A value that has been recorded.
pub(crate) enum Recorded {
    /// The value itself, because nothing in it can change.
    Shared,
    Flat(Flat),
    Graph(Py<Graph>),
}

/// Records a value; returns an estimate of the memory that it takes, too, in bytes. O(size).
///
/// `objects` is whether other objects than builtin containers may be recorded. If not, they are unsupported.
pub(crate) fn record(value: &Bound<'_, PyAny>, objects: bool) -> Result<(Recorded, u64), Stop> {
    let py = value.py();
    let mut recorder = Recorder::new(objects);
    recorder.object(value)?;
    let Recorder {
        mut nodes, mut size, ..
    } = recorder;
    if nodes.len() == 1 {
        match nodes.pop() {
            Some(Node::Shared(_)) => return Ok((Recorded::Shared, size)),
            Some(Node::Flat(flat)) => return Ok((Recorded::Flat(flat), size)),
            Some(other) => push(&mut nodes, other)?,
            None => {}
        }
    }
    let graph = Graph::new(nodes)?;
    size += graph.own_size();
    Ok((Recorded::Graph(Py::new(py, graph)?), size))
}

/// The nodes of a value, in prefix order: a node is followed by the nodes of its parts.
///
/// It is a Python class, so that one reference owns it, and so that Python reports if there is no memory for it.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    /// The positions of the nodes whose objects [`Node::Repeat`] refers to, in ascending order.
    marks: Vec<u32>,
}

impl Graph {
    /// The memory of the Python object, in bytes.
    const HEADER: u64 = block(16 + size_of::<Self>() as u64);

    /// Makes a graph of recorded nodes, in which [`Node::Repeat`] contains a position.
    fn new(mut nodes: Vec<Node>) -> PyResult<Self> {
        let mut marks = Vec::new();
        for node in &nodes {
            if let Node::Repeat(position) = node {
                push(&mut marks, *position)?;
            }
        }
        marks.sort_unstable();
        marks.dedup();
        marks.shrink_to_fit();
        for node in &mut nodes {
            if let Node::Repeat(position) = node {
                let rank = marks.binary_search(position).map_err(no_memory)?;
                *position = u32::try_from(rank).map_err(no_memory)?;
            }
        }
        // Copied, because a block that is cut short leaves a remainder that is too small for anything else.
        let mut exact = vec(nodes.len())?;
        exact.append(&mut nodes);
        Ok(Self { nodes: exact, marks })
    }

    /// Returns the memory of the nodes, without what they refer to, in bytes.
    fn own_size(&self) -> u64 {
        let nodes = malloc_block(size_of_val(&*self.nodes) as u64);
        let marks = malloc_block(size_of_val(&*self.marks) as u64);
        Self::HEADER + nodes + marks
    }

    /// Rebuilds the value. O(size). Fails with what the functions of the value's classes raise.
    pub(super) fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Builder::new(py, &self.nodes, &self.marks)?.build()
    }
}
