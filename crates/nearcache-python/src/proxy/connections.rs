//! What a handler gives for an alias: read from where asgiref keeps it, or asked of Django.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use pyo3::{PyTypeInfo, ffi};

use super::latest::Latest;
use super::{content_of, entry, is_exactly};
use crate::objects::interned;

/// The handlers that are known.
pub(super) struct Handlers {
    /// Django's type and ours.
    known: [Py<PyType>; 2],
    /// Tells the context variable of a `Local`, and the type of what is in it.
    find_place: Py<PyAny>,
    /// Where the latest `Local` has its values. Another one comes with other settings, which tests have.
    place: ArcSwapOption<Place>,
}

struct Place {
    local: Py<PyAny>,
    /// `None` if it is not known how to read this one.
    known: Option<(Py<PyAny>, Py<PyAny>)>,
}

impl Handlers {
    pub(super) fn new(
        django: &Bound<'_, PyType>,
        fast: &Bound<'_, PyType>,
        find_place: &Bound<'_, PyAny>,
    ) -> Self {
        Self {
            known: [django.clone().unbind(), fast.clone().unbind()],
            find_place: find_place.clone().unbind(),
            place: ArcSwapOption::empty(),
        }
    }

    pub(super) fn fast_type(&self) -> &Py<PyType> {
        let [_, fast] = &self.known;
        fast
    }

    pub(super) fn know(&self, handler: &Bound<'_, PyAny>) -> bool {
        self.known.iter().any(|kind| is_exactly(handler, kind))
    }

    /// Where a handler has its connections, if it is of a known type.
    pub(super) fn local_of<'py>(&self, handler: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        if !self.know(handler) {
            return None;
        }
        entry(
            &content_of(handler)?,
            interned!(handler.py(), "_connections").ok()?,
        )
    }

    /// What Django's handler gives for an alias.
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

    /// The connection, if it is there and where it is expected.
    fn look_up<'py>(
        &self,
        local: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = local.py();
        let latest = Latest::look(py, |latest| latest.connection(local, alias));
        if latest.is_some() {
            return Ok(latest);
        }
        let mut place = self.place.load();
        if !place.as_ref().is_some_and(|place| local.is(&place.local)) {
            self.place.store(Some(Arc::new(self.place_of(local)?)));
            place = self.place.load();
        }
        // Another thread may have stored another one's meanwhile.
        match place.as_ref().filter(|place| local.is(&place.local)) {
            Some(place) => place.find(py, alias),
            None => Ok(None),
        }
    }

    #[cold]
    fn place_of(&self, local: &Bound<'_, PyAny>) -> PyResult<Place> {
        let known = self.find_place.bind(local.py()).call1((local,))?;
        Ok(Place {
            local: local.clone().unbind(),
            known: known.extract()?,
        })
    }
}

impl Place {
    /// The connection in what the context variable holds: a dictionary, or an object that has one for this thread.
    fn find<'py>(&self, py: Python<'py>, alias: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((variable, kind)) = &self.known else {
            return Ok(None);
        };
        let Some(stored) = value_of(variable.bind(py)) else {
            return Ok(None);
        };
        if kind.is(PyDict::type_object(py)) {
            let values = stored.cast_exact::<PyDict>();
            return values.map_or(Ok(None), |values| values.get_item(alias));
        }
        let Some(values) = values_of_this_thread(&stored, kind.bind(py))? else {
            return Ok(None);
        };
        let found = values.get_item(alias)?;
        if let Some(found) = &found {
            Latest::new(self.local.bind(py), variable.bind(py), &stored, alias, found).remember(py);
        }
        Ok(found)
    }
}

/// The value of a context variable here, if it has one. Runs no foreign code.
pub(super) fn value_of<'py>(variable: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: `find_place` vouches for a `ContextVar`, and the function checks it, too. It stores a new reference or null.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &raw mut value) < 0 {
            ffi::PyErr_Clear();
        }
        Bound::from_owned_ptr_or_opt(variable.py(), value)
    }
}

/// The values that a `kind` holds for this thread.
fn values_of_this_thread<'py>(
    stored: &Bound<'py, PyAny>,
    kind: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = stored.py();
    if !stored.get_type().is(kind) {
        return Ok(None);
    }
    let thread: std::ffi::c_ulong = stored.getattr(interned!(py, "thread_id")?)?.extract()?;
    // SAFETY: nothing is asked for but the thread's number.
    if thread != unsafe { ffi::PyThread_get_thread_ident() } {
        return Ok(None);
    }
    let data = stored.getattr(interned!(py, "data")?)?;
    Ok(data.cast_into_exact::<PyDict>().ok())
}
