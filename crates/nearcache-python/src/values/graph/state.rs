//! Recording an object's state, and deciding whether it can be assigned to the attributes without asking the object.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::answer::Answer;
use super::django;
use super::node::State;
use super::recorder::Recorder;
use super::stop::Stop;
use crate::classes;
use crate::objects::{interned, items};
use crate::values::sizes::attributes_size;

/// Returns whether a new object of the value's class gets this state by an assignment to its `__dict__`.
pub(super) fn has_plain_state(value: &Bound<'_, PyAny>, state: &Bound<'_, PyDict>) -> PyResult<bool> {
    let class = value.get_type();
    if !classes::is_plainly_allocated(&class)
        || !classes::has_plain_attributes(value)?
        || !has_names_only(state)
    {
        return Ok(false);
    }
    Ok(
        match classes::defined(&class, interned!(value.py(), "__setstate__")?)? {
            None => true,
            Some(function) => django::only_updates_attributes(&function, state)?,
        },
    )
}

impl<'py> Recorder<'py> {
    /// Records the dict of an instance's attributes.
    pub(super) fn attributes(&mut self, attributes: &Bound<'py, PyDict>) -> Result<(), Stop> {
        if self.seen(attributes).is_some() {
            return self.object(attributes.as_any());
        }
        let copy = classes::copy_attributes(attributes)?;
        let position = self.open_before_parts(attributes)?;
        self.count_attributes(&copy)?;
        let changes = self.changed_values(items(&copy), &copy)?;
        self.close_dict(position, copy, changes);
        Ok(())
    }

    /// Adds the size of a dict of attributes, without its values.
    pub(super) fn count_attributes(&mut self, attributes: &Bound<'py, PyDict>) -> PyResult<()> {
        self.size += attributes_size(classes::size_of_dict(attributes)?);
        for (name, _) in items(attributes) {
            self.count_key(&name)?;
        }
        Ok(())
    }

    /// Records the state of an object that exists.
    pub(super) fn state(&mut self, value: &Bound<'py, PyAny>, answer: &Answer<'py>) -> Result<State, Stop> {
        let Some(state) = &answer.state else {
            return Ok(State::None);
        };
        if let Some(setter) = &answer.setter {
            self.object(setter)?;
            self.object(state)?;
            return Ok(State::Setter);
        }
        self.object(state)?;
        let class = value.get_type();
        let has_none = classes::finds_attributes_plainly(&class)
            && classes::defined(&class, interned!(value.py(), "__setstate__")?)?.is_none();
        Ok(if has_none { State::Attributes } else { State::Build })
    }
}

/// Returns whether all keys are exactly `str`.
fn has_names_only(state: &Bound<'_, PyDict>) -> bool {
    items(state).all(|(key, _)| key.is_exact_instance_of::<PyString>())
}
