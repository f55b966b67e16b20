//! `caches[alias]`: the connection of an alias, read from where asgiref keeps it, or asked of Django.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::python::{context_value, dict_item, instance_dict, is_exactly, thread_ident};
use super::thread_cache::ThreadCache;
use crate::objects::interned;

/// The types of handlers whose connections can be read.
pub(super) struct HandlerTypes {
    /// Django's type and its fast subclass.
    known: [Py<PyType>; 2],
    /// The Python function that returns a `Local`'s context variable, and the type of the variable's value.
    find_place: Py<PyAny>,
    /// Where the `Local` seen last has its values. Tests that change settings make a new `Local`.
    location: ArcSwapOption<ValuesLocation>,
}

/// Where a `Local` of asgiref has its values.
struct ValuesLocation {
    local: Py<PyAny>,
    /// The context variable, and the type of its value; `None` if this `Local` is of an unknown make.
    variable_and_class: Option<(Py<PyAny>, Py<PyAny>)>,
}

impl HandlerTypes {
    pub(super) fn new(
        django: &Bound<'_, PyType>,
        fast: &Bound<'_, PyType>,
        find_place: &Bound<'_, PyAny>,
    ) -> Self {
        Self {
            known: [django.clone().unbind(), fast.clone().unbind()],
            find_place: find_place.clone().unbind(),
            location: ArcSwapOption::empty(),
        }
    }

    pub(super) fn fast_type(&self) -> &Py<PyType> {
        let [_, fast] = &self.known;
        fast
    }

    pub(super) fn contain(&self, handler: &Bound<'_, PyAny>) -> bool {
        self.known.iter().any(|class| is_exactly(handler, class))
    }

    /// Returns the `Local` in which a handler keeps its connections; `None` if the handler is of an unknown type.
    pub(super) fn local_of<'py>(&self, handler: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        if !self.contain(handler) {
            return None;
        }
        dict_item(
            &instance_dict(handler)?,
            interned!(handler.py(), "_connections").ok()?,
        )
    }

    /// Returns what Django's handler returns for an alias. Fails as it does.
    pub(super) fn connection<'py>(
        &self,
        handler: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(local) = self.local_of(handler)
            && let Some(found) = self.look_up(&local, alias)?
        {
            return Ok(found);
        }
        let [django, _] = &self.known;
        let method = django
            .bind(handler.py())
            .getattr(interned!(handler.py(), "__getitem__")?)?;
        method.call1((handler, alias))
    }

    /// Returns the connection if it exists and is where it is expected.
    fn look_up<'py>(
        &self,
        local: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = local.py();
        let kept = ThreadCache::with(py, |cache| cache.connection(local, alias));
        if kept.is_some() {
            return Ok(kept);
        }
        let mut location = self.location.load();
        if !location
            .as_ref()
            .is_some_and(|location| local.is(&location.local))
        {
            self.location.store(Some(Arc::new(self.locate(local)?)));
            location = self.location.load();
        }
        // Another thread may have stored the location of another `Local` meanwhile.
        match location.as_ref().filter(|location| local.is(&location.local)) {
            Some(location) => location.connection(py, alias),
            None => Ok(None),
        }
    }

    #[cold]
    fn locate(&self, local: &Bound<'_, PyAny>) -> PyResult<ValuesLocation> {
        let found = self.find_place.bind(local.py()).call1((local,))?;
        Ok(ValuesLocation {
            local: local.clone().unbind(),
            variable_and_class: found.extract()?,
        })
    }
}

impl ValuesLocation {
    /// Reads the connection from the context variable, whose value is a dict, or an object that has one for its thread.
    fn connection<'py>(
        &self,
        py: Python<'py>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((variable, class)) = &self.variable_and_class else {
            return Ok(None);
        };
        let Some(stored) = context_value(variable.bind(py)) else {
            return Ok(None);
        };
        if class.is(PyDict::type_object(py)) {
            let values = stored.cast_exact::<PyDict>();
            return values.map_or(Ok(None), |values| values.get_item(alias));
        }
        let Some(values) = values_of_this_thread(&stored, class.bind(py))? else {
            return Ok(None);
        };
        let found = values.get_item(alias)?;
        if let Some(found) = &found {
            ThreadCache::new(self.local.bind(py), variable.bind(py), &stored, alias, found).store(py);
        }
        Ok(found)
    }
}

/// Returns the values in an object of this class, if they belong to this thread.
fn values_of_this_thread<'py>(
    stored: &Bound<'py, PyAny>,
    class: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = stored.py();
    if !stored.get_type().is(class) {
        return Ok(None);
    }
    let owner: std::ffi::c_ulong = stored.getattr(interned!(py, "thread_id")?)?.extract()?;
    if owner != thread_ident(py) {
        return Ok(None);
    }
    let data = stored.getattr(interned!(py, "data")?)?;
    Ok(data.cast_into_exact::<PyDict>().ok())
}
