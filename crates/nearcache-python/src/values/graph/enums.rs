//! Members of enumerations. Each exists once, and unpickling one returns it.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{interned, text};
use crate::values::atoms::atom_size;

/// Returns whether calling `callable` with `arguments` returns this very member of an enumeration, without calling
/// anything of the program's.
pub(super) fn is_member(
    value: &Bound<'_, PyAny>,
    callable: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
) -> PyResult<bool> {
    let py = value.py();
    let Ok(class) = callable.cast::<PyType>() else {
        return Ok(false);
    };
    if arguments.len() != 1 || !value.get_type().is(class) || !class.get_type().is_subclass(enum_type(py)?)? {
        return Ok(false);
    }
    let member_value = arguments.get_item(0)?;
    // The lookup of an atom runs no code of the program.
    if atom_size(&member_value)?.is_none() {
        return Ok(false);
    }
    let Some(members) = class.getattr_opt(interned!(py, "_value2member_map_")?)? else {
        return Ok(false);
    };
    let Ok(members) = members.cast_exact::<PyDict>() else {
        return Ok(false);
    };
    Ok(members
        .get_item(member_value)?
        .is_some_and(|member| member.is(value)))
}

/// Returns the class of the classes of enumerations.
fn enum_type(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static ENUM_TYPE: NonblockingOnce<Py<PyAny>> = NonblockingOnce::new();
    let import = || {
        Ok(py
            .import(text(py, "enum")?)?
            .getattr(text(py, "EnumMeta")?)?
            .unbind())
    };
    ENUM_TYPE.get_or_make(import).map(|class| class.bind(py))
}
