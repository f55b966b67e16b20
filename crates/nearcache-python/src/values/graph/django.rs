//! Django's models and querysets, whose functions for pickling are known.
//!
//! `Model.__setstate__` and `QuerySet.__setstate__` compare the version of Django in the state with the running one, and
//! update `__dict__`. In one process the versions are the same, so the update is all that is left. The classes are known of
//! the versions of Django that the tests run with; with a newer one the functions are called.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::classes;
use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{dict, imported_module, interned, text};
use crate::values::counted_names;

/// The newest version of Django of which the functions are known.
const NEWEST: (u32, u32) = (6, 1);

/// Objects of `django.db.models`.
struct Models {
    model_unpickle: Py<PyAny>,
    set_model_state: Py<PyAny>,
    set_queryset_state: Py<PyAny>,
    reduce_model: Py<PyAny>,
    get_model_state: Py<PyAny>,
    model_state: Py<PyAny>,
    leaves_out_peers: bool,
    get_model: Py<PyAny>,
    version: Py<PyAny>,
}

/// Returns whether a call returns a new object of this class of models, made by `__new__`.
pub(super) fn makes_model(
    class: &Bound<'_, PyType>,
    callable: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
) -> PyResult<bool> {
    let py = class.py();
    let Some(models) = Models::get(py)? else {
        return Ok(false);
    };
    if !callable.is(models.model_unpickle.bind(py)) || arguments.len() != 1 {
        return Ok(false);
    }
    let Ok(id) = arguments.get_item(0)?.cast_into_exact::<PyTuple>() else {
        return Ok(false);
    };
    // A model that is not registered fails when it is read, as it does when it is unpickled.
    Ok(models
        .get_model
        .bind(py)
        .call1(id)
        .is_ok_and(|model| model.is(class)))
}

/// Returns whether a `__setstate__` updates `__dict__` with this state, and does nothing else.
pub(super) fn only_updates_attributes(
    function: &Bound<'_, PyAny>,
    state: &Bound<'_, PyDict>,
) -> PyResult<bool> {
    let py = function.py();
    let Some(models) = Models::get(py)? else {
        return Ok(false);
    };
    let is = |known: &Py<PyAny>| function.is(known.bind(py));
    if is(&models.set_model_state) {
        if state.contains(interned!(py, "_memoryview_attrs")?)? {
            return Ok(false);
        }
    } else if !is(&models.set_queryset_state) {
        return Ok(false);
    }
    let version = state.get_item(interned!(py, "_django_version")?)?;
    version.map_or(Ok(false), |version| version.eq(models.version.bind(py)))
}

/// Returns whether a class has the functions of Django's models for pickling.
pub(super) fn has_models_functions(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    let Some(models) = Models::get(py)? else {
        return Ok(false);
    };
    let has = |name, known: &Py<PyAny>| -> PyResult<bool> {
        Ok(classes::defined(class, name)?.is_some_and(|found| found.is(known.bind(py))))
    };
    Ok(has(interned!(py, "__reduce__")?, &models.reduce_model)?
        && has(interned!(py, "__getstate__")?, &models.get_model_state)?)
}

/// Returns a copy of the attributes of a `ModelState`, as Django pickles it; `None` if it is something else.
pub(super) fn attributes_of_model_state<'py>(
    state: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = state.py();
    let Some(models) = Models::get(py)? else {
        return Ok(None);
    };
    if !state.get_type().is(models.model_state.bind(py)) {
        return Ok(None);
    }
    let copy = classes::copy_attributes(&classes::attributes(state)?)?;
    let peers = interned!(py, "peers")?;
    // Django 6.1 leaves out these weak references.
    if models.leaves_out_peers && copy.contains(peers)? {
        copy.del_item(peers)?;
    }
    // The attribute is made when it is first read, and Django reads it.
    let fields_cache = interned!(py, "fields_cache")?;
    if !copy.contains(fields_cache)? {
        copy.set_item(fields_cache, dict(py)?)?;
    }
    Ok(Some(copy))
}

/// Adds the version of Django to a model's state.
pub(super) fn add_version(state: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = state.py();
    match Models::get(py)? {
        Some(models) => state.set_item(interned!(py, "_django_version")?, models.version.bind(py)),
        None => Ok(()),
    }
}

impl Models {
    /// Returns the objects; `None` if `django.db.models` is not imported, or is newer than [`NEWEST`].
    fn get(py: Python<'_>) -> PyResult<Option<&Self>> {
        static MODELS: NonblockingOnce<Option<Models>> = NonblockingOnce::new();
        if let Some(models) = MODELS.get() {
            return Ok(models.as_ref());
        }
        if imported_module(text(py, "django.db.models")?.as_any())?.is_none() {
            return Ok(None);
        }
        MODELS.get_or_make(|| Self::import(py)).map(Option::as_ref)
    }

    fn import(py: Python<'_>) -> PyResult<Option<Self>> {
        let of = |module: &str, name: &str| py.import(text(py, module)?)?.getattr(text(py, name)?);
        let version: (u32, u32) = of("django", "VERSION")?
            .cast_into::<PyTuple>()?
            .get_slice(0, 2)
            .extract()?;
        if version > NEWEST {
            return Ok(None);
        }
        let model = of("django.db.models", "Model")?;
        let queryset = of("django.db.models", "QuerySet")?;
        let model_state = of("django.db.models.base", "ModelState")?.cast_into::<PyType>()?;
        // Every instance of a model refers to these two.
        for constant in [of("django", "__version__")?, of("django.db", "DEFAULT_DB_ALIAS")?] {
            if let Ok(text) = constant.cast::<PyString>() {
                counted_names::insert(text);
            }
        }
        let function =
            |class: &Bound<'_, PyAny>, name| Ok::<_, PyErr>(class.getattr(text(py, name)?)?.unbind());
        Ok(Some(Self {
            model_unpickle: of("django.db.models.base", "model_unpickle")?.unbind(),
            set_model_state: function(&model, "__setstate__")?,
            set_queryset_state: function(&queryset, "__setstate__")?,
            reduce_model: function(&model, "__reduce__")?,
            get_model_state: function(&model, "__getstate__")?,
            leaves_out_peers: classes::own(&model_state, interned!(py, "__getstate__")?)?.is_some(),
            model_state: model_state.into_any().unbind(),
            get_model: of("django.apps", "apps")?
                .getattr(text(py, "get_model")?)?
                .unbind(),
            version: of("django", "__version__")?.unbind(),
        }))
    }
}
