//! Copying a stored tree for a caller. Atoms, and tuples and frozensets of atoms, are shared.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};

use super::containers::{is_container, next_container};
use super::copy_in::rebuilt;
use crate::memory::{no_memory, vec};
use crate::objects::{DictPosition, list_copy, set_copy};

/// The length above which a tuple is examined once in a value, however often it occurs.
const LONG: usize = 8;

/// Copies a tree. O(size).
pub(super) fn copy_out<'py>(tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    CopyOut::default().node(tree)
}

/// The state of copying one tree.
#[derive(Default)]
struct CopyOut {
    /// The addresses of tuples that contain nothing mutable, if examining them again would cost something. A tuple may
    /// occur many times in tuples that themselves occur many times.
    immutable_tuples: HashSet<usize, RandomState>,
}

impl CopyOut {
    fn node<'py>(&mut self, tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(dict) = tree.cast_exact::<PyDict>() {
            let copy = dict.copy()?;
            let mut position = DictPosition::default();
            while let Some((key, inner)) = next_container(dict, &mut position) {
                copy.set_item(key, self.node(&inner)?)?;
            }
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

    /// Rebuilds a tuple that contains something mutable; returns any other tuple itself.
    fn tuple<'py>(&mut self, tuple: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let address = tuple.as_ptr() as usize;
        let short_and_flat =
            || tuple.len() <= LONG && !tuple.iter_borrowed().any(|inner| is_container(&inner));
        if short_and_flat() || self.immutable_tuples.contains(&address) {
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
            self.immutable_tuples.try_reserve(1).map_err(no_memory)?;
            self.immutable_tuples.insert(address);
        }
        rebuilt(tuple, items, changed)
    }
}
