//! The names and shapes that are written so far: keys of dicts, and their order.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::memory::{no_memory, push};
use crate::objects::{has_keys, items};

/// How many shapes are found again: by the first key and the number of keys.
const RECENT: usize = 16;
/// Objects are aligned to 16 bytes.
const ALIGNMENT_BITS: usize = 4;

/// The names and shapes of one tree. A reader counts them in the same way.
#[derive(Default)]
pub(super) struct Names<'py> {
    /// The numbers of the names, by address. `keys` keeps the names alive, so an address stays that of one name.
    numbers: HashMap<usize, u32, RandomState>,
    shapes: Vec<Range<usize>>,
    /// The keys of all shapes, one after the other.
    keys: Vec<Bound<'py, PyAny>>,
    /// The numbers of shapes, plus one.
    recent: [u32; RECENT],
}

/// How a name is written.
pub(super) enum Name {
    New,
    Again(u32),
}

impl<'py> Names<'py> {
    /// Returns the number of a recent shape that a dict has.
    pub(super) fn find(&self, dict: &Bound<'py, PyDict>, first: &Bound<'py, PyAny>) -> Option<u32> {
        let number = self.recent[slot(first, dict.len())].checked_sub(1)?;
        has_keys(dict, self.keys(number)).then_some(number)
    }

    /// Adds the shape of a dict whose keys are all texts; returns its number, or `None` if they are not.
    pub(super) fn add(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<Option<u32>> {
        let start = self.keys.len();
        for (key, _) in items(dict) {
            if !key.is_exact_instance_of::<PyString>() {
                self.keys.truncate(start);
                return Ok(None);
            }
            push(&mut self.keys, key)?;
        }
        let number = u32::try_from(self.shapes.len()).map_err(no_memory)?;
        let keys = start..self.keys.len();
        if let Some(first) = self.keys.get(start) {
            self.recent[slot(first, keys.len())] = number + 1;
        }
        push(&mut self.shapes, keys)?;
        Ok(Some(number))
    }

    /// Returns the keys of a shape.
    pub(super) fn keys(&self, shape: u32) -> &[Bound<'py, PyAny>] {
        &self.keys[self.shapes[shape as usize].clone()]
    }

    /// Returns how to write a name, which is then a name of this tree.
    pub(super) fn name(&mut self, name: &Bound<'py, PyAny>) -> PyResult<Name> {
        let next = u32::try_from(self.numbers.len()).map_err(no_memory)?;
        self.numbers.try_reserve(1).map_err(no_memory)?;
        let number = *self.numbers.entry(name.as_ptr() as usize).or_insert(next);
        Ok(if number == next {
            Name::New
        } else {
            Name::Again(number)
        })
    }
}

fn slot(first: &Bound<'_, PyAny>, len: usize) -> usize {
    ((first.as_ptr() as usize >> ALIGNMENT_BITS) + len) % RECENT
}
