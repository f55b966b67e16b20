//! `cache.name` in every case: the proxy's own attribute, or the connection's.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::method::MethodLookup;
use super::python::{instance_dict, own_attribute};
use super::subclasses::FAST_TYPES;
use super::thread_cache::ThreadCache;
use crate::objects::interned;

/// Returns what Django's proxy returns for an attribute. Fails as it does.
#[inline(never)] // Its errors need a large frame, which must not slow the repeated look-up.
pub(super) fn attribute<'py>(
    proxy: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = proxy.py();
    let dict = instance_dict(proxy).ok_or_else(not_initialised)?;
    let is_public = |name: &Bound<'_, PyString>| name.to_str().is_ok_and(|name| !name.starts_with('_'));
    let is_plain = FAST_TYPES.get().is_some_and(|fast| fast.is_plain(proxy, &dict))
        && name.cast_exact().is_ok_and(is_public);
    if !is_plain {
        match own_attribute(proxy, name) {
            Err(error) if error.is_instance_of::<PyAttributeError>(py) => {}
            own => return own,
        }
    }
    let own = |key| dict.get_item(key)?.ok_or_else(not_initialised);
    let (handler, alias) = (
        own(interned!(py, "_connections")?)?,
        own(interned!(py, "_alias")?)?,
    );
    let connection = connection(&handler, &alias)?;
    let name = name.cast::<PyString>()?;
    let lookup = MethodLookup::new(&connection, name);
    if !is_plain {
        return lookup.bound(&connection).ok_or_else(|| PyErr::fetch(py));
    }
    let (bound, descriptor) = lookup.bound_and_descriptor(&connection);
    let bound = bound.ok_or_else(|| PyErr::fetch(py))?;
    if let Some(descriptor) = descriptor {
        ThreadCache::with(py, |cache| {
            cache.keep_method(&connection, name, &descriptor, &bound);
            None::<()>
        });
    }
    Ok(bound)
}

fn not_initialised() -> PyErr {
    PyAttributeError::new_err("the proxy was not initialised")
}

/// Returns what a handler returns for an alias. The handler may be of any type: a program may make a proxy of any.
fn connection<'py>(handler: &Bound<'py, PyAny>, alias: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match FAST_TYPES.get() {
        Some(fast) if fast.handlers.contain(handler) => fast.handlers.connection(handler, alias),
        _ => handler.get_item(alias),
    }
}
