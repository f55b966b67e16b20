//! Trees of plain containers: `dict`, `list`, `set`, and tuples that hold one, over immutable leaves.
//!
//! What is kept is a private copy that no Python code ever sees, so it never changes, and it can be copied out by many
//! threads at once. A container that appears twice in a value, or contains itself, makes it no tree: it goes to pickle,
//! which keeps the identity inside the value.

use std::collections::HashSet;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};

use super::immutable::{self, TABLE_ENTRY};

/// How deep containers may be nested; deeper ones are left to pickle, which knows how to refuse.
const MAX_DEPTH: usize = 64;

const DICT_HEADER: u64 = 128;
const LIST_HEADER: u64 = 64;
const SET_HEADER: u64 = 240;
const TUPLE_HEADER: u64 = 64;
const POINTER: u64 = 8;

/// A private copy of a tree, and the bytes of memory it takes; `None` if the value is not one. O(size).
pub(super) fn take_in<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, PyAny>, u64)>> {
    let mut taking = Taking::default();
    let copy = taking.node(value)?;
    Ok(copy.map(|copy| (copy, taking.size)))
}

/// A walk through a value that is being copied in.
#[derive(Default)]
struct Taking {
    /// Containers met so far, by address: alive all the while, since the value is.
    seen: HashSet<usize, foldhash::fast::RandomState>,
    depth: usize,
    size: u64,
}

impl Taking {
    /// The copy of a leaf or container; `None` if it is neither.
    fn node<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(size) = immutable::size(value) {
            self.size += size;
            return Ok(Some(value.clone()));
        }
        if self.depth == MAX_DEPTH || !is_container(value) || !self.seen.insert(value.as_ptr() as usize) {
            return Ok(None);
        }
        self.depth += 1;
        let copy = self.container(value);
        self.depth -= 1;
        copy
    }

    /// The copy of a container. It is copied whole first, in one step that no other code can come between, and then its
    /// inner containers are replaced by copies of them.
    fn container<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict.copy()?)
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.list(list.get_slice(0, list.len()))
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            Ok(self.set(&copy_set(set)?))
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.tuple(tuple)
        } else {
            Ok(None)
        }
    }

    fn dict<'py>(&mut self, copy: Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.size += DICT_HEADER + TABLE_ENTRY * copy.len() as u64;
        // Assigning to a key that is there does not disturb the iteration.
        for (key, inner) in &copy {
            let Some(key_size) = immutable::size(&key) else {
                return Ok(None);
            };
            self.size += key_size;
            let Some(kept) = self.node(&inner)? else {
                return Ok(None);
            };
            if !kept.is(&inner) {
                copy.set_item(key, kept)?;
            }
        }
        Ok(Some(copy.into_any()))
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

    /// Members of a set can be hashed, so they are leaves or nothing for us.
    fn set<'py>(&mut self, copy: &Bound<'py, PySet>) -> Option<Bound<'py, PyAny>> {
        self.size += SET_HEADER + TABLE_ENTRY * copy.len() as u64;
        for member in copy {
            self.size += immutable::size(&member)?;
        }
        Some(copy.clone().into_any())
    }

    fn tuple<'py>(&mut self, tuple: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.size += TUPLE_HEADER + POINTER * tuple.len() as u64;
        let mut kept = Vec::with_capacity(tuple.len());
        for inner in tuple {
            let Some(copy) = self.node(&inner)? else {
                return Ok(None);
            };
            kept.push(copy);
        }
        Ok(Some(PyTuple::new(tuple.py(), kept)?.into_any()))
    }
}

/// A copy of a private tree for a caller, sharing the leaves. O(size).
pub(super) fn hand_out<'py>(tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(dict) = tree.cast_exact::<PyDict>() {
        let copy = dict.copy()?;
        for_each_container_in(dict, |key, inner| copy.set_item(key, hand_out(&inner)?))?;
        Ok(copy.into_any())
    } else if let Ok(list) = tree.cast_exact::<PyList>() {
        let copy = list.get_slice(0, list.len());
        for (index, inner) in list.iter().enumerate() {
            if is_container(&inner) {
                copy.set_item(index, hand_out(&inner)?)?;
            }
        }
        Ok(copy.into_any())
    } else if let Ok(set) = tree.cast_exact::<PySet>() {
        copy_set(set).map(Bound::into_any)
    } else if let Ok(tuple) = tree.cast_exact::<PyTuple>() {
        hand_out_tuple(tuple)
    } else {
        Ok(tree.clone())
    }
}

/// A tuple with a container in it is made anew; any other is a leaf, and shared.
fn hand_out_tuple<'py>(tuple: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let mut changed = false;
    let mut items = Vec::with_capacity(tuple.len());
    for inner in tuple {
        let copy = if is_container(&inner) {
            hand_out(&inner)?
        } else {
            inner.clone()
        };
        changed |= !copy.is(&inner);
        items.push(copy);
    }
    if changed {
        Ok(PyTuple::new(tuple.py(), items)?.into_any())
    } else {
        Ok(tuple.clone().into_any())
    }
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

/// A set of the same members: in one step, and with their hashes, so without calling back into Python.
#[allow(unsafe_code)]
fn copy_set<'py>(set: &Bound<'py, PySet>) -> PyResult<Bound<'py, PySet>> {
    // SAFETY: `PySet_New` takes any iterable and returns a new reference to a set, or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(set.py(), ffi::PySet_New(set.as_ptr()))
            .map(|copy| copy.cast_into_unchecked())
    }
}
