//! Classes whose objects need not be asked how they are pickled, because the answer is known from an earlier object.
//!
//! The first object of a class in a value is asked. If it is a plain instance, and neither its class nor its bases define
//! any function of pickle's protocol, then further ones would answer alike: with the same call and their `__dict__`. Django's
//! models define such functions, but these are known. To ask an object takes 1 to 5 µs, to record it less than 1.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMemoryView, PyString, PyType};

use super::django;
use super::recorder::{Known, Recorder};
use super::stop::Stop;
use crate::classes;
use crate::memory::no_memory;
use crate::objects::{interned, interned_text, items};
use crate::strings::one_byte_characters;

impl<'py> Recorder<'py> {
    /// Records an object without asking it; returns whether that is possible.
    pub(super) fn unasked(
        &mut self,
        value: &Bound<'py, PyAny>,
        class: &Bound<'py, PyType>,
    ) -> Result<bool, Stop> {
        let Some(known) = self.known_class(class)? else {
            return Ok(false);
        };
        if known == Known::Asked {
            return Ok(false);
        }
        let attributes = classes::attributes(value)?;
        if attributes.is_empty() || has_special_names(&attributes) {
            return Ok(false);
        }
        if known == Known::Model {
            return self.model(value, class, &attributes);
        }
        self.open_instance(value, class)?;
        self.attributes(&attributes)?;
        Ok(true)
    }

    /// Records a model's instance as its `__getstate__` would return it; returns whether that is possible.
    fn model(
        &mut self,
        value: &Bound<'py, PyAny>,
        class: &Bound<'py, PyType>,
        attributes: &Bound<'py, PyDict>,
    ) -> Result<bool, Stop> {
        let name = interned!(value.py(), "_state")?;
        let Some(state) = attributes.get_item(name)? else {
            return Ok(false);
        };
        let Some(state_attributes) = django::attributes_of_model_state(&state)? else {
            return Ok(false);
        };
        // Django copies it for each instance, so it is not the same as another one.
        if self.seen(&state).is_some() || has_special_names(&state_attributes) {
            return Ok(false);
        }
        if items(attributes).any(|(_, value)| value.is_instance_of::<PyMemoryView>()) {
            return Ok(false);
        }
        let copy = classes::copy_attributes(attributes)?;
        django::add_version(&copy)?;
        copy.set_item(name, value.py().None())?;
        self.open_instance(value, class)?;
        let position = self.open()?;
        self.count_attributes(&copy)?;
        self.shared(name.as_any())?;
        self.model_state(&state, state_attributes)?;
        let changes = 1 + self.changed_values(items(&copy), &copy)?;
        self.close_dict(position, copy, changes);
        Ok(true)
    }

    fn model_state(&mut self, state: &Bound<'py, PyAny>, attributes: Bound<'py, PyDict>) -> Result<(), Stop> {
        let fields_cache = attributes.get_item(interned!(state.py(), "fields_cache")?)?;
        self.open_instance(state, &state.get_type())?;
        let position = self.open()?;
        self.count_attributes(&attributes)?;
        let changes = self.changed_values(items(&attributes), &attributes)?;
        self.close_dict(position, attributes, changes);
        // What is recorded are copies that Django would have made.
        self.forget(state);
        if let Some(fields_cache) = fields_cache {
            self.forget(&fields_cache);
        }
        Ok(())
    }

    /// Notes that an object of a class has been asked, and is a plain instance.
    pub(super) fn asked(&mut self, class: &Bound<'py, PyType>) -> PyResult<()> {
        self.classes.try_reserve(1).map_err(no_memory)?;
        self.classes.entry(class.as_ptr() as usize).or_insert(Known::Once);
        Ok(())
    }

    /// Returns what is known about a class, and examines it at its second object.
    fn known_class(&mut self, class: &Bound<'py, PyType>) -> PyResult<Option<Known>> {
        let Some(known) = self.classes.get_mut(&(class.as_ptr() as usize)) else {
            return Ok(None);
        };
        if *known == Known::Once {
            *known = examine(class)?;
        }
        Ok(Some(*known))
    }
}

/// Finds out whether objects of a class have to be asked.
fn examine(class: &Bound<'_, PyType>) -> PyResult<Known> {
    let py = class.py();
    let object = py.get_type::<PyAny>();
    let is_plain = |name: &str| -> PyResult<bool> {
        let name = interned_text(py, name)?;
        let own = classes::defined(class, name.bind(py))?;
        let plain = classes::defined(&object, name.bind(py))?;
        Ok(match (own, plain) {
            (Some(own), Some(plain)) => own.is(&plain),
            (None, None) => true,
            _ => false,
        })
    };
    for name in [
        "__reduce_ex__",
        "__getnewargs_ex__",
        "__getnewargs__",
        "__class__",
    ] {
        if !is_plain(name)? {
            return Ok(Known::Asked);
        }
    }
    if django::has_models_functions(class)? {
        return Ok(Known::Model);
    }
    let is_plain = is_plain("__reduce__")? && is_plain("__getstate__")? && !has_slots(class)?;
    Ok(if is_plain { Known::Plain } else { Known::Asked })
}

/// Returns whether a class, or one of its bases, has `__slots__`. `copyreg` noted their names in the class when its first
/// object was asked.
fn has_slots(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let names = classes::own(class, interned!(class.py(), "__slotnames__")?)?;
    let is_empty = |names: Bound<'_, PyAny>| names.cast_exact::<PyList>().is_ok_and(PyListMethods::is_empty);
    Ok(!names.is_some_and(is_empty))
}

/// Returns whether an attribute may be one of pickle's functions, or its name is no `str`.
fn has_special_names(attributes: &Bound<'_, PyDict>) -> bool {
    items(attributes).any(|(name, _)| {
        let name = name.cast_exact::<PyString>();
        name.map_or(true, |name| {
            one_byte_characters(name).is_none_or(|name| name.starts_with(b"__"))
        })
    })
}
