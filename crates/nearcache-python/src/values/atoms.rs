//! Atoms: single objects that cannot change and are stored by reference, and the memory that they take.
//!
//! They are exactly of type `None`, `bool`, `int`, `float`, `complex`, `str`, `bytes`, `date`, `datetime`, `time`,
//! `timedelta`, `timezone`, `Decimal`, `UUID` or Django's `SafeString`. An instance of a subclass may have a `__dict__`, so
//! it is not an atom.
//!
//! Sizes are those of `CPython` on 64 bits, with the allocator's rounding to 16 bytes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDate, PyDateTime, PyDelta, PyFloat, PyInt, PyString, PyTime, PyType,
    PyTzInfo,
};

use super::sizes::{bytes_size, str_size};
use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{interned, text};

/// For objects that exist once in a process, such as `None`.
const SINGLETON: u64 = 0;
const NUMBER: u64 = 32;
const DATETIME: u64 = 48;
const DECIMAL: u64 = 112;
const UUID: u64 = 112;

/// Returns the memory that an atom takes, in bytes; `None` if the object is not an atom.
pub(super) fn atom_size(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    Ok(if let Ok(text) = value.cast_exact::<PyString>() {
        Some(str_size(text))
    } else if value.is_none() || value.is_exact_instance_of::<PyBool>() {
        Some(SINGLETON)
    } else if value.is_exact_instance_of::<PyInt>() {
        Some(int_size(value)?)
    } else if value.is_exact_instance_of::<PyFloat>() || value.is_exact_instance_of::<PyComplex>() {
        Some(NUMBER)
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        Some(bytes_size(bytes.as_bytes().len()))
    } else if is_collection(value) {
        None
    } else {
        library_size(value)?
    })
}

/// Returns whether an object is exactly of a builtin collection's type. For speed: it spares the tests for rarer atoms.
fn is_collection(value: &Bound<'_, PyAny>) -> bool {
    let collections = [
        &raw mut ffi::PyDict_Type,
        &raw mut ffi::PyList_Type,
        &raw mut ffi::PySet_Type,
        &raw mut ffi::PyTuple_Type,
        &raw mut ffi::PyFrozenSet_Type,
    ];
    collections.contains(&value.get_type_ptr())
}

/// Returns the memory that an `int` takes. Small ones exist once; others take 4 bytes for each 30 bits.
fn int_size(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    Ok(match value.extract::<i64>() {
        Ok(-5..=256) => SINGLETON,
        Ok(_) => NUMBER,
        Err(_) => {
            let bits = value.call_method0(interned!(value.py(), "bit_length")?)?;
            NUMBER + bits.extract::<u64>()? / 30 * 4
        }
    })
}

/// Returns the memory that an atom of the standard library or Django takes; `None` if the object is not one.
fn library_size(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if value.is_exact_instance_of::<PyDateTime>() || value.is_exact_instance_of::<PyTime>() {
        let zone = value.getattr(interned!(value.py(), "tzinfo")?)?;
        return Ok((zone.is_none() || is_plain_zone(&zone)).then_some(DATETIME));
    }
    if value.is_exact_instance_of::<PyDate>() || value.is_exact_instance_of::<PyDelta>() {
        return Ok(Some(DATETIME));
    }
    let Some(types) = Types::get(value.py()) else {
        return Ok(None);
    };
    let kind = value.get_type();
    let is = |known: &Py<PyType>| kind.is(known.bind(value.py()));
    Ok(if is(&types.decimal) {
        Some(DECIMAL)
    } else if is(&types.uuid) {
        Some(UUID)
    } else if is(&types.safe_string) {
        value.cast::<PyString>().ok().map(str_size)
    } else if is(&types.timezone) {
        Some(DATETIME)
    } else {
        None
    })
}

/// Returns whether a time zone cannot change. Others (of pytz, or a project's own) are pickled.
fn is_plain_zone(zone: &Bound<'_, PyAny>) -> bool {
    let Some(types) = Types::get(zone.py()) else {
        return false;
    };
    let kind = zone.get_type();
    zone.is_instance_of::<PyTzInfo>()
        && [&types.timezone, &types.zone_info]
            .iter()
            .any(|known| kind.is(known.bind(zone.py())))
}

/// Returns whether an object is exactly a `SafeString` of Django.
#[cfg(shared)]
pub(super) fn is_safe_string(value: &Bound<'_, PyAny>) -> bool {
    Types::get(value.py()).is_some_and(|types| value.get_type().is(types.safe_string.bind(value.py())))
}

/// Returns a text as a `SafeString`.
#[cfg(shared)]
pub(super) fn safe_string(py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let types =
        Types::get(py).ok_or_else(|| pyo3::exceptions::PyImportError::new_err("there is no SafeString"))?;
    types.safe_string.call1(py, (text,))
}

/// Types that are imported.
struct Types {
    decimal: Py<PyType>,
    uuid: Py<PyType>,
    timezone: Py<PyType>,
    zone_info: Py<PyType>,
    safe_string: Py<PyType>,
}

impl Types {
    /// Returns the types; `None` if one cannot be imported. Then objects of these types are pickled.
    fn get(py: Python<'_>) -> Option<&Self> {
        static TYPES: NonblockingOnce<Types> = NonblockingOnce::new();
        TYPES.get_or_make(|| Self::import(py)).ok()
    }

    fn import(py: Python<'_>) -> PyResult<Self> {
        let of = |module: &str, name: &str| -> PyResult<Py<PyType>> {
            let found = py.import(text(py, module)?)?.getattr(text(py, name)?)?;
            Ok(found.cast_into::<PyType>()?.unbind())
        };
        Ok(Self {
            decimal: of("decimal", "Decimal")?,
            uuid: of("uuid", "UUID")?,
            timezone: of("datetime", "timezone")?,
            zone_info: of("zoneinfo", "ZoneInfo")?,
            safe_string: of("django.utils.safestring", "SafeString")?,
        })
    }
}
