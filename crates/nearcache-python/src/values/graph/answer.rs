//! What an object answers when it is asked how it is pickled.

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString, PyTuple};

use super::node::Make;
use super::stop::Stop;
use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{interned, text};

/// What an object answered when it was asked how it is pickled.
pub(super) struct Answer<'py> {
    pub(super) callable: Bound<'py, PyAny>,
    pub(super) arguments: Bound<'py, PyTuple>,
    pub(super) state: Option<Bound<'py, PyAny>>,
    pub(super) list_items: Option<Bound<'py, PyIterator>>,
    pub(super) dict_items: Option<Bound<'py, PyIterator>>,
    pub(super) setter: Option<Bound<'py, PyAny>>,
}

impl<'py> Answer<'py> {
    /// Reads the tuple that `__reduce_ex__` returned. A wrong one is unsupported: pickle words the error.
    pub(super) fn new(answer: &Bound<'py, PyTuple>) -> Result<Self, Stop> {
        if !(2..=6).contains(&answer.len()) {
            return Err(Stop::Unsupported);
        }
        let part = |at: usize| answer.get_item(at).ok().filter(|part| !part.is_none());
        let iterator = |at: usize| -> Result<Option<Bound<'py, PyIterator>>, Stop> {
            let Some(part) = part(at) else { return Ok(None) };
            part.cast_into().map(Some).map_err(|_| Stop::Unsupported)
        };
        let arguments = answer.get_item(1)?.cast_into().map_err(|_| Stop::Unsupported)?;
        let this = Self {
            callable: answer.get_item(0)?,
            arguments,
            state: part(2),
            list_items: iterator(3)?,
            dict_items: iterator(4)?,
            setter: part(5),
        };
        let is_callable = |object: &Bound<'py, PyAny>| object.is_callable();
        if is_callable(&this.callable) && this.setter.as_ref().is_none_or(is_callable) {
            Ok(this)
        } else {
            Err(Stop::Unsupported)
        }
    }

    /// Returns what the callable stands for. Pickle goes by its name.
    pub(super) fn make(&self) -> PyResult<Make> {
        let py = self.callable.py();
        if self.callable.is(new_object(py)?) {
            return Ok(Make::New);
        }
        let Some(name) = self.callable.getattr_opt(interned!(py, "__name__")?)? else {
            return Ok(Make::Call);
        };
        let Ok(name) = name.cast::<PyString>() else {
            return Ok(Make::Call);
        };
        Ok(match name.to_str()? {
            "__newobj__" => Make::New,
            "__newobj_ex__" => Make::NewWithKeywords,
            _ => Make::Call,
        })
    }
}

/// Returns `copyreg.__newobj__`.
pub(super) fn new_object(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static NEW_OBJECT: NonblockingOnce<Py<PyAny>> = NonblockingOnce::new();
    let import = || {
        Ok(py
            .import(text(py, "copyreg")?)?
            .getattr(text(py, "__newobj__")?)?
            .unbind())
    };
    NEW_OBJECT.get_or_make(import).map(|function| function.bind(py))
}
