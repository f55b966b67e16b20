//! Classes, functions and other objects that pickle stores as a module and a name.

use pyo3::prelude::*;
use pyo3::types::{PyFunction, PyString, PyType};

use super::stop::Stop;
use crate::objects::{imported_module, interned};
use crate::values::pickle;

/// Returns whether pickle stores an object by its name without asking it.
pub(super) fn is_found_by_name(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyType>() || value.is_exact_instance_of::<PyFunction>()
}

/// Checks that importing an object's module and looking up its name finds that object.
///
/// Fails with what pickling the object raises.
pub(super) fn require_importable(
    value: &Bound<'_, PyAny>,
    name: Option<&Bound<'_, PyAny>>,
) -> Result<(), Stop> {
    if is_in_its_module(value, name)? {
        return Ok(());
    }
    // Pickle searches all modules for an object that does not name its module, and it words the error.
    pickle::dumps(value, None)?;
    Ok(())
}

/// Returns whether the object's module is imported and the name is found there.
fn is_in_its_module(value: &Bound<'_, PyAny>, name: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    let py = value.py();
    let name = match name {
        Some(name) => Some(name.clone()),
        None => value.getattr_opt(interned!(py, "__qualname__")?)?,
    };
    let Some(name) = name else {
        return Ok(false);
    };
    let (Ok(name), Some(module)) = (
        name.cast_exact::<PyString>(),
        value.getattr_opt(interned!(py, "__module__")?)?,
    ) else {
        return Ok(false);
    };
    let Some(module) = imported_module(&module)? else {
        return Ok(false);
    };
    if !name.to_str()?.contains('.') {
        return Ok(module.getattr_opt(name)?.is_some_and(|found| found.is(value)));
    }
    let mut found = module;
    for part in name.to_str()?.split('.') {
        let Some(inner) = found.getattr_opt(crate::objects::text(py, part)?)? else {
            return Ok(false);
        };
        found = inner;
    }
    Ok(found.is(value))
}
