//! The parts of a tree that may occur in it again.
//!
//! A container that is a part of only one other object has one reference, beside the encoder's own. So it cannot occur
//! twice, and needs no mark: nearly all containers are such. Without the GIL other threads may hold references for a
//! moment, and the encoder holds some more, so all get marks there.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pyo3::prelude::*;

use crate::memory::{no_memory, push};
use crate::objects::reference_count;

/// The references to a part of one object, and the encoder's own.
const OWNED_ONCE: isize = 2;

/// The marks of one tree. A reader counts them in the same way.
#[derive(Default)]
pub(super) struct Marks<'py> {
    /// By address.
    numbers: HashMap<usize, u32, RandomState>,
    /// By number. They stay alive, so an address stays that of one object.
    marked: Vec<Marked<'py>>,
}

struct Marked<'py> {
    _object: Bound<'py, PyAny>,
    is_complete: bool,
}

/// What is to be written for an object.
pub(super) enum Occurrence {
    /// The object, which occurs once.
    Only,
    /// The object with the next mark, which has this number.
    First(u32),
    /// The number of its mark.
    Again(u32),
    /// Nothing: the object contains itself.
    Inside,
}

impl<'py> Marks<'py> {
    /// Returns what to write for a part of a container.
    #[inline]
    pub(super) fn part(&mut self, object: &Bound<'py, PyAny>) -> PyResult<Occurrence> {
        if cfg!(not(Py_GIL_DISABLED)) && reference_count(object) <= OWNED_ONCE {
            return Ok(Occurrence::Only);
        }
        self.shared(object)
    }

    /// Returns what to write for an object that may occur again.
    pub(super) fn shared(&mut self, object: &Bound<'py, PyAny>) -> PyResult<Occurrence> {
        let next = u32::try_from(self.marked.len()).map_err(no_memory)?;
        self.numbers.try_reserve(1).map_err(no_memory)?;
        let number = *self.numbers.entry(object.as_ptr() as usize).or_insert(next);
        Ok(match self.marked.get(number as usize) {
            Some(marked) if marked.is_complete => Occurrence::Again(number),
            Some(_) => Occurrence::Inside,
            None => {
                let marked = Marked {
                    _object: object.clone(),
                    is_complete: false,
                };
                push(&mut self.marked, marked)?;
                Occurrence::First(number)
            }
        })
    }

    /// Lets an object occur again: it is written, or can be referred to before it is.
    pub(super) fn complete(&mut self, mark: u32) {
        self.marked[mark as usize].is_complete = true;
    }
}
