//! Copying a tree into the cache: plain containers (`dict`, `list`, `set`, `tuple`, `frozenset`, each of exactly that type)
//! over atoms.
//!
//! The copy is private: no reference to it is handed out. (`gc.get_objects()` finds it all the same, so nothing here relies
//! on that for memory safety.) A tuple or frozenset that contains nothing mutable, however deep, is shared like an atom. If
//! a mutable container occurs twice in a value, or contains itself, the value is not a tree: it is pickled, which keeps
//! identity inside the value.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyIterator, PyList, PySet, PyString, PyTuple};

use super::atoms::{atom_size, str_size};
use super::containers::is_collection;
use super::counted_names;
use crate::memory::{no_memory, vec};
use crate::objects::{list_copy, set_copy, tuple};

/// How deep containers may be nested. Deeper values are pickled, which raises `RecursionError` if it must.
const MAX_DEPTH: usize = 64;

// Bytes, as in `atoms`.
const DICT_HEADER: u64 = 112;
const LIST_HEADER: u64 = 64;
const SET_HEADER: u64 = 240;
const TUPLE_HEADER: u64 = 64;
const POINTER: u64 = 8;
/// A set's or dict's table entry, at the mean load.
const TABLE_ENTRY: u64 = 28;
/// The size from which an atom is counted once in a value, because it may occur many times.
const LARGE: u64 = 128;

/// The result of [`copy_in`].
pub(super) struct CopiedIn<'py> {
    /// The value itself if nothing in it can change, else a private copy.
    pub(super) value: Bound<'py, PyAny>,
    /// An estimate of the memory it takes, in bytes.
    pub(super) size: u64,
}

/// Copies a tree into the cache; returns `None` if the value is not a tree. O(size).
pub(super) fn copy_in<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<CopiedIn<'py>>> {
    let mut walk = CopyIn::default();
    let copy = walk.node(value)?;
    Ok(copy.map(|value| CopiedIn {
        value,
        size: walk.size,
    }))
}

/// What is known about an object that occurred before in the same value.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    /// Nothing in it can change. Its size is counted, and the copy keeps it alive.
    Immutable,
    /// It is mutable, or contains something that is, or is being examined.
    Mutable,
}

/// The state of copying one value.
#[derive(Default)]
struct CopyIn {
    /// By address.
    seen: HashMap<usize, Seen, RandomState>,
    depth: usize,
    size: u64,
}

impl CopyIn {
    /// Returns what to store of a part: itself if nothing in it can change, else a copy; `None` if it does not fit into a
    /// tree.
    fn node<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let address = value.as_ptr() as usize;
        if let Some(size) = atom_size(value)? {
            if size < LARGE || self.mark(address, Seen::Immutable)?.is_none() {
                self.size += size;
            }
            return Ok(Some(value.clone()));
        }
        match self.seen.get(&address) {
            Some(Seen::Immutable) => return Ok(Some(value.clone())),
            Some(Seen::Mutable) => return Ok(None),
            None if self.depth == MAX_DEPTH || !is_collection(value) => return Ok(None),
            None => self.mark(address, Seen::Mutable)?,
        };
        self.depth += 1;
        let copy = self.collection(value)?;
        self.depth -= 1;
        if copy.as_ref().is_some_and(|copy| copy.is(value)) {
            self.mark(address, Seen::Immutable)?;
        }
        Ok(copy)
    }

    /// Records what an object is; returns what was known about it before.
    fn mark(&mut self, address: usize, seen: Seen) -> PyResult<Option<Seen>> {
        self.seen.try_reserve(1).map_err(no_memory)?;
        Ok(self.seen.insert(address, seen))
    }

    /// Adds a part in which nothing may change, such as a dict's key; returns false if something can.
    fn immutable(&mut self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.node(value)?.is_some_and(|kept| kept.is(value)))
    }

    /// Copies a container as a whole first, atomically, and then replaces its inner containers by copies of them.
    fn collection<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict.copy()?)
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.list(list_copy(list)?)
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.tuple(tuple)
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            let copy = set_copy(set)?;
            self.members(copy.len(), copy.try_iter()?)
                .map(|fit| fit.then(|| copy.into_any()))
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.members(set.len(), set.try_iter()?)
                .map(|fit| fit.then(|| value.clone()))
        } else {
            Ok(None)
        }
    }

    fn dict<'py>(&mut self, copy: Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.size += DICT_HEADER + TABLE_ENTRY * copy.len() as u64;
        // The assignment is to an existing key, so it does not disturb the iteration.
        for (key, inner) in &copy {
            if !self.key(&key)? {
                return Ok(None);
            }
            let Some(kept) = self.node(&inner)? else {
                return Ok(None);
            };
            if !kept.is(&inner) {
                copy.set_item(key, kept)?;
            }
        }
        Ok(Some(copy.into_any()))
    }

    /// Adds a dict's key; returns false if something in it can change.
    fn key(&mut self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(name) = key.cast_exact::<PyString>() else {
            return self.immutable(key);
        };
        let size = str_size(name);
        if size >= LARGE {
            return self.immutable(key);
        }
        if !counted_names::contains_or_insert(name) {
            self.size += size;
        }
        Ok(true)
    }

    fn list<'py>(&mut self, copy: Bound<'py, PyList>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.size += LIST_HEADER + POINTER * copy.len() as u64;
        for (index, inner) in copy.iter().enumerate() {
            let Some(kept) = self.node(&inner)? else {
                return Ok(None);
            };
            if !kept.is(&inner) {
                copy.set_item(index, kept)?;
            }
        }
        Ok(Some(copy.into_any()))
    }

    fn tuple<'py>(&mut self, tuple: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.size += TUPLE_HEADER + POINTER * tuple.len() as u64;
        let mut changed = false;
        let mut items = vec(tuple.len())?;
        for inner in tuple {
            let Some(kept) = self.node(&inner)? else {
                return Ok(None);
            };
            changed |= !kept.is(&inner);
            items.push(kept);
        }
        rebuilt(tuple, items, changed).map(Some)
    }

    /// Adds the members of a set; returns false if something in one can change.
    fn members(&mut self, len: usize, members: Bound<'_, PyIterator>) -> PyResult<bool> {
        self.size += SET_HEADER + TABLE_ENTRY * len as u64;
        for member in members {
            if !self.immutable(&member?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns a tuple of these items: the old one if they have not changed.
pub(super) fn rebuilt<'py>(
    old: &Bound<'py, PyTuple>,
    items: Vec<Bound<'py, PyAny>>,
    changed: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if changed {
        Ok(tuple(old.py(), items)?.into_any())
    } else {
        Ok(old.clone().into_any())
    }
}
