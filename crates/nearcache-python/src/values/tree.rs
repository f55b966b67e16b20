//! Trees of plain collections over immutable leaves: `dict`, `list`, `set`, `tuple`, `frozenset`, each of exactly that type.
//!
//! What is kept is a private copy that no Python code ever sees, so it never changes, and it can be copied out by many
//! threads at once. A tuple or frozenset that holds nothing mutable, however deep, is a leaf, and shared. A mutable
//! collection that appears twice in a value, or contains itself, makes it no tree: it goes to pickle, which keeps the
//! identity inside the value.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyIterator, PyList, PySet, PyString, PyTuple};

use super::counted_names;
use super::immutable::{atom_size, str_size};
use crate::memory::{no_memory, vec};
use crate::objects::{list_copy, set_copy, tuple};

/// How deep collections may be nested; deeper ones are left to pickle, which knows how to refuse.
const MAX_DEPTH: usize = 64;

// Bytes, as in `immutable`.
const DICT_HEADER: u64 = 112;
const LIST_HEADER: u64 = 64;
const SET_HEADER: u64 = 240;
const TUPLE_HEADER: u64 = 64;
const POINTER: u64 = 8;
/// A set's or dict's table entry, at the mean load.
const TABLE_ENTRY: u64 = 28;
/// Of atoms of this size and more it is remembered that they were counted, since one may stand in many places.
const LARGE: u64 = 128;
/// A tuple longer than this is looked through once, however often it appears.
const LONG: usize = 8;

/// What [`take_in`] makes of a value.
pub(super) struct Taken<'py> {
    /// The value itself, if nothing in it can change; else a private copy.
    pub(super) value: Bound<'py, PyAny>,
    /// The bytes of memory it takes.
    pub(super) size: u64,
}

/// Makes a tree ready to be kept; `None` if the value is not one. O(size).
pub(super) fn take_in<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Taken<'py>>> {
    let mut taking = Taking::default();
    let taken = taking.node(value)?;
    Ok(taken.map(|value| Taken {
        value,
        size: taking.size,
    }))
}

/// What is known of an object met before in the same value.
#[derive(Clone, Copy, PartialEq)]
enum Met {
    /// Nothing in it can change; it is counted, and the copy keeps it alive.
    Leaf,
    /// It is mutable, or holds something that is, or is being looked at.
    Mutable,
}

/// A walk through a value that is being taken in.
#[derive(Default)]
struct Taking {
    met: HashMap<usize, Met, RandomState>,
    depth: usize,
    size: u64,
}

impl Taking {
    /// What to keep of a part: itself if it is a leaf, else a copy; `None` if it fits no tree.
    fn node<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let address = value.as_ptr() as usize;
        if let Some(size) = atom_size(value)? {
            if size < LARGE || self.meet(address, Met::Leaf)?.is_none() {
                self.size += size;
            }
            return Ok(Some(value.clone()));
        }
        match self.met.get(&address) {
            Some(Met::Leaf) => return Ok(Some(value.clone())),
            Some(Met::Mutable) => return Ok(None),
            None if self.depth == MAX_DEPTH || !is_collection(value) => return Ok(None),
            None => self.meet(address, Met::Mutable)?,
        };
        self.depth += 1;
        let kept = self.collection(value)?;
        self.depth -= 1;
        if kept.as_ref().is_some_and(|kept| kept.is(value)) {
            self.meet(address, Met::Leaf)?;
        }
        Ok(kept)
    }

    /// Remembers what an object is; returns what was known of it before.
    fn meet(&mut self, address: usize, what: Met) -> PyResult<Option<Met>> {
        self.met.try_reserve(1).map_err(no_memory)?;
        Ok(self.met.insert(address, what))
    }

    /// A part that has to be a leaf, such as a dict's key; false if it is not.
    fn leaf(&mut self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.node(value)?.is_some_and(|kept| kept.is(value)))
    }

    /// A mutable collection is copied whole first, in one step that no other code can come between, and then its inner
    /// collections are replaced by copies of them.
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
        // Assigning to a key that is there does not disturb the iteration.
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

    /// Counts a dict's key; returns false if it is no leaf.
    fn key(&mut self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(name) = key.cast_exact::<PyString>() else {
            return self.leaf(key);
        };
        let size = str_size(name);
        if size >= LARGE {
            return self.leaf(key);
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

    /// Members of a set can be hashed, so they are leaves or nothing for us.
    fn members(&mut self, len: usize, members: Bound<'_, PyIterator>) -> PyResult<bool> {
        self.size += SET_HEADER + TABLE_ENTRY * len as u64;
        for member in members {
            if !self.leaf(&member?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A copy of a private tree for a caller, sharing the leaves. O(size).
pub(super) fn hand_out<'py>(tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    HandingOut::default().node(tree)
}

/// A walk through a private tree that is being copied out.
#[derive(Default)]
struct HandingOut {
    /// Tuples found to be leaves. Only those are entered for which looking again would cost something: a tuple may
    /// appear any number of times in others, which appear any number of times ...
    leaves: HashSet<usize, RandomState>,
}

impl HandingOut {
    fn node<'py>(&mut self, tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(dict) = tree.cast_exact::<PyDict>() {
            let copy = dict.copy()?;
            for_each_container_in(dict, |key, inner| copy.set_item(key, self.node(&inner)?))?;
            Ok(copy.into_any())
        } else if let Ok(list) = tree.cast_exact::<PyList>() {
            let copy = list_copy(list)?;
            for (index, inner) in list.iter().enumerate() {
                if is_container(&inner) {
                    copy.set_item(index, self.node(&inner)?)?;
                }
            }
            Ok(copy.into_any())
        } else if let Ok(tuple) = tree.cast_exact::<PyTuple>() {
            self.tuple(tuple)
        } else if let Ok(set) = tree.cast_exact::<PySet>() {
            set_copy(set).map(Bound::into_any)
        } else {
            Ok(tree.clone())
        }
    }

    /// A tuple with something mutable in it is made anew; any other is a leaf.
    fn tuple<'py>(&mut self, tuple: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let address = tuple.as_ptr() as usize;
        let short_and_flat =
            || tuple.len() <= LONG && !tuple.iter_borrowed().any(|inner| is_container(&inner));
        if short_and_flat() || self.leaves.contains(&address) {
            return Ok(tuple.clone().into_any());
        }
        let mut changed = false;
        let mut items = vec(tuple.len())?;
        for inner in tuple {
            let copy = if is_container(&inner) {
                self.node(&inner)?
            } else {
                inner.clone()
            };
            changed |= !copy.is(&inner);
            items.push(copy);
        }
        if !changed {
            self.leaves.try_reserve(1).map_err(no_memory)?;
            self.leaves.insert(address);
        }
        rebuilt(tuple, items, changed)
    }
}

/// A tuple of these items: the old one, if they are the same.
fn rebuilt<'py>(
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

/// Whether an object is of one of the types a tree is made of.
pub(super) fn is_collection(value: &Bound<'_, PyAny>) -> bool {
    is_container(value) || value.is_exact_instance_of::<PyFrozenSet>()
}

/// Whether a part of a tree may have to be copied. By its exact type, in a few comparisons of pointers.
fn is_container(value: &Bound<'_, PyAny>) -> bool {
    is_container_type(value.get_type_ptr())
}

fn is_container_type(kind: *mut ffi::PyTypeObject) -> bool {
    let containers = [
        &raw mut ffi::PyDict_Type,
        &raw mut ffi::PyList_Type,
        &raw mut ffi::PySet_Type,
        &raw mut ffi::PyTuple_Type,
    ];
    containers.contains(&kind)
}

/// Calls `act` with every entry of a private dict whose value is a container.
///
/// `PyDict_Next` and not the safe iterator, which takes two references for each entry, where nearly all are passed over.
#[allow(unsafe_code)]
fn for_each_container_in<'py>(
    dict: &Bound<'py, PyDict>,
    mut act: impl FnMut(Bound<'py, PyAny>, Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let (mut position, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: `dict` is a dict, alive, and private: nothing changes it while it is iterated, so the borrowed key and value
    // stay alive; they are given out as references of their own.
    unsafe {
        while ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value) != 0 {
            if is_container_type(ffi::Py_TYPE(value)) {
                let own = |object| Bound::from_borrowed_ptr(dict.py(), object);
                act(own(key), own(value))?;
            }
        }
    }
    Ok(())
}
