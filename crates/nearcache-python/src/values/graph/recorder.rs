//! Recording a value: the walk over its objects, and what is known about those that occurred before.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pyo3::prelude::*;

use super::by_reference;
use super::node::Node;
use super::stop::Stop;
use crate::memory::{no_memory, push};
use crate::values::atoms::atom_size;
use crate::values::counted_names;

/// How deep objects may be nested. Deeper values are pickled, which raises `RecursionError` if it must.
const MAX_DEPTH: usize = 100;
/// The size from which an immutable object is counted once in a value, because it may occur many times.
pub(super) const LARGE: u64 = 128;

/// For how many objects the table of those that occurred has room at first. Most values have fewer.
const FIRST_ROOM: usize = 14;

/// What is known about an object that occurred before in the same value.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Seen {
    /// It is shared, and its size is counted.
    Shared,
    /// The node at this position builds it.
    At(u32),
}

/// What is known about a class of which an object has been recorded as a plain instance.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Known {
    /// Nothing else. The class has not been examined.
    Once,
    /// Its objects are to be asked.
    Asked,
    /// Its objects have only a `__dict__`.
    Plain,
    /// It is a model, with Django's functions for pickling.
    Model,
}

/// The state of recording one value.
#[derive(Default)]
pub(super) struct Recorder<'py> {
    pub(super) nodes: Vec<Node>,
    /// An estimate of the memory that the nodes' objects take, in bytes.
    pub(super) size: u64,
    objects: bool,
    /// By address. The references keep the addresses from being used again.
    seen: HashMap<usize, (Seen, Bound<'py, PyAny>), RandomState>,
    /// By address. The nodes keep the classes alive.
    pub(super) classes: HashMap<usize, Known, RandomState>,
    depth: usize,
}

impl<'py> Recorder<'py> {
    /// Starts a value. `objects` is whether other objects than builtin collections are supported.
    pub(super) fn new(objects: bool) -> Self {
        Self {
            objects,
            ..Self::default()
        }
    }

    /// Records an object.
    pub(super) fn object(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        if let Some(size) = atom_size(value)? {
            self.count(value, size)?;
            return self.shared(value);
        }
        match self.seen(value) {
            Some(Seen::Shared) => return self.shared(value),
            Some(Seen::At(position)) => return Ok(push(&mut self.nodes, Node::Repeat(position))?),
            None if self.depth == MAX_DEPTH => return Err(Stop::Unsupported),
            None => {}
        }
        self.depth += 1;
        let recorded = self.composite(value);
        self.depth -= 1;
        recorded
    }

    /// Records an object that is not an atom, in the order of the cases in pickle.
    fn composite(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        if let Some(recorded) = self.collection(value) {
            return recorded;
        }
        if !self.objects {
            return Err(Stop::Unsupported);
        }
        if by_reference::is_found_by_name(value) {
            return self.by_reference(value, None);
        }
        self.reducible(value)
    }

    /// Records an object that pickle finds by its module and name, which is `__qualname__` if none is given.
    pub(super) fn by_reference(
        &mut self,
        value: &Bound<'py, PyAny>,
        name: Option<&Bound<'py, PyAny>>,
    ) -> Result<(), Stop> {
        by_reference::require_importable(value, name)?;
        self.remember(value, Seen::Shared)?;
        self.shared(value)
    }

    /// Adds the size of an immutable object. If it is large, only once in a value.
    pub(super) fn count(&mut self, value: &Bound<'py, PyAny>, size: u64) -> PyResult<()> {
        if size >= LARGE {
            if self.seen(value).is_some() {
                return Ok(());
            }
            self.remember(value, Seen::Shared)?;
        } else if counted_names::contains(value) {
            return Ok(());
        }
        self.size += size;
        Ok(())
    }

    pub(super) fn shared(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        Ok(push(&mut self.nodes, Node::Shared(value.clone().unbind()))?)
    }

    pub(super) fn seen(&self, value: &Bound<'py, PyAny>) -> Option<Seen> {
        self.seen.get(&address(value)).map(|(seen, _)| *seen)
    }

    /// Makes room for this many parts, which are as the first one.
    pub(super) fn expect_parts(&mut self, first: &Bound<'py, PyAny>, len: usize) -> PyResult<()> {
        self.nodes.try_reserve(len).map_err(no_memory)?;
        if atom_size(first)?.is_none() {
            self.seen.try_reserve(len).map_err(no_memory)?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, value: &Bound<'py, PyAny>) {
        self.seen.remove(&address(value));
    }

    pub(super) fn remember(&mut self, value: &Bound<'py, PyAny>, seen: Seen) -> PyResult<()> {
        let room = if self.seen.capacity() == 0 { FIRST_ROOM } else { 1 };
        self.seen.try_reserve(room).map_err(no_memory)?;
        self.seen.insert(address(value), (seen, value.clone()));
        Ok(())
    }

    /// Appends a node whose parts follow, to be replaced by [`Recorder::close`]; returns its position.
    pub(super) fn open(&mut self) -> PyResult<u32> {
        let position = u32::try_from(self.nodes.len()).map_err(no_memory)?;
        push(&mut self.nodes, Node::Run(0))?;
        Ok(position)
    }

    /// As [`Recorder::open`], for an object that exists before its parts: a part may refer to it.
    pub(super) fn open_before_parts(&mut self, value: &Bound<'py, PyAny>) -> PyResult<u32> {
        let position = self.open()?;
        self.remember(value, Seen::At(position))?;
        Ok(position)
    }

    /// Sets the node at a position.
    pub(super) fn close(&mut self, position: u32, node: Node) {
        if let Some(open) = self.nodes.get_mut(position as usize) {
            *open = node;
        }
    }

    /// Sets the node at a position and removes the nodes after it.
    pub(super) fn close_without_parts(&mut self, position: u32, node: Node) {
        self.nodes.truncate(position as usize + 1);
        self.close(position, node);
    }

    /// Returns whether all nodes after a position are shared objects.
    pub(super) fn only_shared_after(&self, position: u32) -> bool {
        self.nodes
            .iter()
            .skip(position as usize + 1)
            .all(|node| matches!(node, Node::Shared(_)))
    }

    /// Records an object that exists only after its parts, of which the nodes after `position` are the parts. Returns
    /// whether one of the parts was the object itself. Then that one is used.
    pub(super) fn finish_after_parts(&mut self, value: &Bound<'py, PyAny>, position: u32) -> PyResult<bool> {
        if let Some(Seen::At(earlier)) = self.seen(value) {
            push(&mut self.nodes, Node::Repeat(earlier))?;
            return Ok(true);
        }
        self.remember(value, Seen::At(position))?;
        Ok(false)
    }
}

fn address(value: &Bound<'_, PyAny>) -> usize {
    value.as_ptr() as usize
}
