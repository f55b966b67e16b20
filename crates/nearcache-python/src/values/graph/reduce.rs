//! Recording objects that are asked how they are pickled.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyString, PyTuple, PyType};

use super::answer::{Answer, new_object};
use super::node::{Make, Node, RUN_LEN, Reduced, State};
use super::recorder::{Recorder, Seen};
use super::state::has_plain_state;
use super::stop::Stop;
use super::{django, enums, pickle_buffer};
use crate::memory::no_memory;
use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{interned, text};
use crate::values::pickle;

impl<'py> Recorder<'py> {
    /// Records an object by asking `copyreg.dispatch_table` or the object itself.
    pub(super) fn reducible(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        if pickle_buffer::is_pickle_buffer(value)? {
            return self.pickle_buffer(value);
        }
        let class = value.get_type();
        if self.unasked(value, &class)? {
            return Ok(());
        }
        let answer = if let Some(function) = dispatch_table(value.py())?.get_item(&class)? {
            function.call1((value,))?
        } else if class.is_subclass_of::<PyType>()? {
            return self.by_reference(value, None);
        } else {
            value.call_method1(interned!(value.py(), "__reduce_ex__")?, (pickle::PROTOCOL,))?
        };
        if answer.is_instance_of::<PyString>() {
            return self.by_reference(value, Some(&answer));
        }
        let Ok(answer) = answer.cast_into::<PyTuple>() else {
            return Err(Stop::Unsupported);
        };
        self.reduced(value, &Answer::new(&answer)?)
    }

    /// Records an object of which it is known how it is made.
    fn reduced(&mut self, value: &Bound<'py, PyAny>, answer: &Answer<'py>) -> Result<(), Stop> {
        if enums::is_member(value, &answer.callable, &answer.arguments)? {
            self.remember(value, Seen::Shared)?;
            return self.shared(value);
        }
        if let Some(attributes) = plain_attributes(value, answer)? {
            let class = value.get_type();
            if answer.callable.is(new_object(value.py())?) {
                self.require_importable(&class)?;
            }
            self.asked(&class)?;
            self.open_instance(value, &class)?;
            return self.attributes(attributes);
        }
        let position = self.open()?;
        let make = self.make(value, answer)?;
        let superseded = self.finish_after_parts(value, position)?;
        let mut reduced = Reduced {
            make,
            superseded,
            list_items: false,
            dict_items: false,
            state: State::None,
        };
        if !superseded {
            if let Some(items) = &answer.list_items {
                reduced.list_items = self.runs(items, Self::object)?;
            }
            if let Some(items) = &answer.dict_items {
                reduced.dict_items = self.runs(items, Self::key_and_value)?;
            }
            reduced.state = self.state(value, answer)?;
        }
        self.close(position, Node::Reduced(reduced));
        Ok(())
    }

    /// Records the call that makes an object.
    fn make(&mut self, value: &Bound<'py, PyAny>, answer: &Answer<'py>) -> Result<Make, Stop> {
        let make = answer.make()?;
        if make == Make::Call {
            self.object(&answer.callable)?;
            self.object(answer.arguments.as_any())?;
            return Ok(make);
        }
        let class = answer.arguments.get_item(0).map_err(|_| Stop::Unsupported)?;
        let own_class = value.getattr(interned!(value.py(), "__class__")?)?;
        if !class.is(&own_class) || !class.is_instance_of::<PyType>() {
            return Err(Stop::Unsupported);
        }
        self.object(&class)?;
        if make == Make::New {
            let arguments = answer.arguments.get_slice(1, answer.arguments.len());
            self.object(arguments.as_any())?;
        } else {
            let (Ok(arguments), Ok(keywords)) = (answer.arguments.get_item(1), answer.arguments.get_item(2))
            else {
                return Err(Stop::Unsupported);
            };
            if !arguments.is_instance_of::<PyTuple>() || !keywords.is_instance_of::<PyDict>() {
                return Err(Stop::Unsupported);
            }
            self.object(&arguments)?;
            self.object(&keywords)?;
        }
        Ok(make)
    }

    /// Checks that a class can be imported. One of Django's models need not be: Django finds it in its registry.
    fn require_importable(&mut self, class: &Bound<'py, PyType>) -> Result<(), Stop> {
        let before = self.nodes.len();
        self.object(class.as_any())?;
        if self.nodes.len() != before + 1 {
            return Err(Stop::Unsupported);
        }
        self.nodes.pop();
        Ok(())
    }

    /// Records that an object is a plain instance of a class. Its attributes follow.
    pub(super) fn open_instance(
        &mut self,
        value: &Bound<'py, PyAny>,
        class: &Bound<'py, PyType>,
    ) -> Result<(), Stop> {
        let position = self.open_before_parts(value)?;
        self.close(position, Node::Instance(class.clone().unbind()));
        Ok(())
    }

    /// Records items in runs; returns whether there are any.
    fn runs(
        &mut self,
        items: &Bound<'py, PyIterator>,
        record: impl Fn(&mut Self, &Bound<'py, PyAny>) -> Result<(), Stop>,
    ) -> Result<bool, Stop> {
        let mut items = items.clone();
        let mut has_items = false;
        loop {
            let position = self.open()?;
            let mut len = 0;
            while len < RUN_LEN
                && let Some(item) = items.next()
            {
                record(self, &item?)?;
                len += 1;
            }
            has_items |= len > 0;
            if !has_items {
                self.nodes.pop();
                return Ok(false);
            }
            self.close(position, Node::Run(u32::try_from(len).map_err(no_memory)?));
            if len < RUN_LEN {
                return Ok(true);
            }
        }
    }

    fn key_and_value(&mut self, item: &Bound<'py, PyAny>) -> Result<(), Stop> {
        let Ok(item) = item.cast::<PyTuple>() else {
            return Err(Stop::Unsupported);
        };
        if item.len() != 2 {
            return Err(Stop::Unsupported);
        }
        self.object(&item.get_item(0)?)?;
        self.object(&item.get_item(1)?)
    }
}

/// Returns the state of a plain instance: one that is made by `object.__new__` without arguments, has no items, and whose
/// state is assigned to its attributes.
fn plain_attributes<'a, 'py>(
    value: &Bound<'py, PyAny>,
    answer: &'a Answer<'py>,
) -> PyResult<Option<&'a Bound<'py, PyDict>>> {
    if answer.list_items.is_some() || answer.dict_items.is_some() || answer.setter.is_some() {
        return Ok(None);
    }
    let Some(Ok(state)) = answer.state.as_ref().map(|state| state.cast_exact::<PyDict>()) else {
        return Ok(None);
    };
    let class = value.get_type();
    let is_new = answer.callable.is(new_object(value.py())?)
        && answer.arguments.len() == 1
        && answer.arguments.get_borrowed_item(0)?.is(&class);
    if !is_new && !django::makes_model(&class, &answer.callable, &answer.arguments)? {
        return Ok(None);
    }
    Ok(has_plain_state(value, state)?.then_some(state))
}

/// Returns `copyreg.dispatch_table`.
fn dispatch_table(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    static TABLE: NonblockingOnce<Py<PyDict>> = NonblockingOnce::new();
    let import = || {
        let table = py
            .import(text(py, "copyreg")?)?
            .getattr(text(py, "dispatch_table")?)?;
        Ok(table.cast_into()?.unbind())
    };
    TABLE.get_or_make(import).map(|table| table.bind(py))
}
