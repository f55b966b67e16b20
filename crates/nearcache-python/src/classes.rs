//! Classes and their instances, used through the C API as an unpickler uses them.
//!
//! Soundness: a `Bound` proves that the thread is attached and that the object is alive. Each function passes only such
//! objects, of the type that the C function requires, and takes back a new reference or null with an exception set.
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::objects::{dict, intern, interned, items, text};

/// Returns whether new instances of a class are made by `object.__new__`.
pub(crate) fn is_plainly_allocated(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: both are types and alive. The field is set when a type is made, or when its `__new__` is assigned to, which
    // the GIL or the interpreter's own synchronisation makes one word-sized write.
    let (own, plain) = unsafe { ((*class.as_type_ptr()).tp_new, ffi::PyBaseObject_Type.tp_new) };
    own.map(|function| function as usize) == plain.map(|function| function as usize)
}

/// Returns whether a class defines neither `__getattr__` nor `__getattribute__`.
pub(crate) fn finds_attributes_plainly(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: as in `is_plainly_allocated`.
    let (own, plain) = unsafe {
        (
            (*class.as_type_ptr()).tp_getattro,
            ffi::PyBaseObject_Type.tp_getattro,
        )
    };
    own.map(|function| function as usize) == plain.map(|function| function as usize)
}

/// Returns whether `__dict__` of an object is the dict of its attributes, and not a property of the program's.
pub(crate) fn has_plain_attributes(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    if !finds_attributes_plainly(&object.get_type()) {
        return Ok(false);
    }
    let Some(dict) = object.getattr_opt(interned!(py, "__dict__")?)? else {
        return Ok(false);
    };
    Ok(attributes(object).is_ok_and(|own| own.is(&dict)))
}

/// Returns the dict of an object's attributes. Fails with `AttributeError` if the object has none.
pub(crate) fn attributes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: the function takes any object, and returns a new reference or null with an exception set.
    let attributes = unsafe {
        let attributes = ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(object.py(), attributes)?
    };
    Ok(attributes.cast_into()?)
}

/// Returns what a class itself defines under a name, without binding it.
pub(crate) fn own<'py>(
    class: &Bound<'py, PyType>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    namespace(class)
        .map(|namespace| namespace.get_item(name))
        .transpose()
        .map(Option::flatten)
}

/// Returns what a class or one of its bases defines under a name, without binding it.
pub(crate) fn defined<'py>(
    class: &Bound<'py, PyType>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    for base in class.mro() {
        let Ok(base) = base.cast_into::<PyType>() else {
            continue;
        };
        if let Some(found) = namespace(&base)
            .map(|own| own.get_item(name))
            .transpose()?
            .flatten()
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the dict of what a class itself defines.
fn namespace<'py>(class: &Bound<'py, PyType>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: `class` is a type and alive. Its dict lives as long as it does, and is not replaced. From 3.12 on, that of a
    // builtin type is not in the field; the function returns a new reference.
    unsafe {
        #[cfg(Py_3_12)]
        let dict = Bound::from_owned_ptr_or_opt(class.py(), ffi::PyType_GetDict(class.as_type_ptr()))?;
        #[cfg(not(Py_3_12))]
        let dict = Bound::from_borrowed_ptr_or_opt(class.py(), (*class.as_type_ptr()).tp_dict)?;
        dict.cast_into().ok()
    }
}

/// Makes an instance with `object.__new__`, of a class for which [`is_plainly_allocated`] was true.
pub(crate) fn allocate<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    new(class.as_any(), &PyTuple::empty(class.py()), None)
}

/// Calls a class's `__new__`, as the opcodes `NEWOBJ` and `NEWOBJ_EX` do.
pub(crate) fn new<'py>(
    class: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let class = class.cast::<PyType>()?;
    // SAFETY: as in `is_plainly_allocated`.
    let Some(function) = (unsafe { (*class.as_type_ptr()).tp_new }) else {
        return Err(unpickling_error(py, "NEWOBJ class argument has NULL tp_new"));
    };
    let keywords = keywords.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the slot takes a type, a tuple, and a dict or null. It returns a new reference, or null with an exception
    // set.
    unsafe { Bound::from_owned_ptr_or_err(py, function(class.as_type_ptr(), arguments.as_ptr(), keywords)) }
}

/// Makes a dict the attributes of an instance that has none yet.
pub(crate) fn replace_attributes(object: &Bound<'_, PyAny>, attributes: &Bound<'_, PyDict>) -> PyResult<()> {
    // SAFETY: the function takes any object and a dict, and takes its own reference to the dict. It returns 0, or -1 with
    // an exception set.
    let status =
        unsafe { ffi::PyObject_GenericSetDict(object.as_ptr(), attributes.as_ptr(), std::ptr::null_mut()) };
    if status == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(object.py()))
    }
}

/// Assigns a state to an object that has no `__setstate__`, as the opcode `BUILD` does: a dict of attributes, or a tuple of
/// such a dict and one of slots.
pub(crate) fn set_attributes<'py>(object: &Bound<'py, PyAny>, state: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = object.py();
    let (attributes, slots) = match state.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => (pair.get_item(0)?, Some(pair.get_item(1)?)),
        _ => (state.clone(), None),
    };
    if !attributes.is_none() {
        let target = object.getattr(interned!(py, "__dict__")?)?;
        for_each_item(&attributes, "state is not a dictionary", |name, value| {
            target.set_item(intern(name), value)
        })?;
    }
    if let Some(slots) = slots.filter(|slots| !slots.is_none()) {
        for_each_item(&slots, "slot state is not a dictionary", |name, value| {
            set_attribute(object, name, value)
        })?;
    }
    Ok(())
}

/// Calls a function with each item of a dict. Fails with an `UnpicklingError` if it is not a dict.
fn for_each_item<'py>(
    state: &Bound<'py, PyAny>,
    message: &str,
    mut assign: impl FnMut(&Bound<'py, PyAny>, &Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let Ok(state) = state.cast::<PyDict>() else {
        return Err(unpickling_error(state.py(), message));
    };
    for (name, value) in items(state) {
        assign(&name, &value)?;
    }
    Ok(())
}

/// Returns an `UnpicklingError` with a message.
fn unpickling_error(py: Python<'_>, message: &str) -> PyErr {
    let raised = || {
        let class = py
            .import(text(py, "pickle")?)?
            .getattr(text(py, "UnpicklingError")?)?;
        class.call1((text(py, message)?,))
    };
    raised().map_or_else(|error| error, PyErr::from_value)
}

/// Returns the size of a dict without its keys and values, in bytes. Names that instances share are not counted.
pub(crate) fn size_of_dict(dict: &Bound<'_, PyDict>) -> PyResult<u64> {
    dict.call_method0(interned!(dict.py(), "__sizeof__")?)?.extract()
}

fn set_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: the function takes any three objects, and returns 0, or -1 with an exception set.
    let status = unsafe { ffi::PyObject_SetAttr(object.as_ptr(), name.as_ptr(), value.as_ptr()) };
    if status == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(object.py()))
    }
}

/// Returns a copy of a dict of attributes, in which the names are interned, as unpickling does.
pub(crate) fn copy_attributes<'py>(attributes: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    let copy = attributes.copy()?;
    if items(&copy).all(|(name, _)| intern(&name).is(&name)) {
        return Ok(copy);
    }
    let names = dict(attributes.py())?;
    for (name, value) in items(&copy) {
        names.set_item(intern(&name), value)?;
    }
    Ok(names)
}
