//! The types of the standard library and Django that trees contain and that have to be imported.

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyType};

use crate::nonblocking_once::NonblockingOnce;
use crate::objects::text;

pub(super) struct Types {
    pub(super) decimal: Py<PyType>,
    pub(super) uuid: Py<PyType>,
    /// The members of `SafeUUID`: unknown, safe and unsafe.
    pub(super) safeties: [Py<PyAny>; 3],
    pub(super) timezone: Py<PyType>,
    pub(super) utc: Py<PyAny>,
    pub(super) zone_info: Py<PyType>,
    pub(super) safe_string: Py<PyType>,
    /// `object.__new__` and `int.from_bytes`.
    pub(super) new_object: Py<PyAny>,
    pub(super) int_from_bytes: Py<PyAny>,
}

impl Types {
    /// Returns the types. Fails with what importing them raises.
    pub(super) fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static TYPES: NonblockingOnce<Types> = NonblockingOnce::new();
        TYPES.get_or_make(|| Self::import(py))
    }

    fn import(py: Python<'_>) -> PyResult<Self> {
        let find = |module: &str, name: &str| py.import(text(py, module)?)?.getattr(text(py, name)?);
        let class = |module, name| -> PyResult<Py<PyType>> {
            Ok(find(module, name)?.cast_into::<PyType>()?.unbind())
        };
        let safety = find("uuid", "SafeUUID")?;
        let safety = |value: Option<i8>| -> PyResult<Py<PyAny>> { Ok(safety.call1((value,))?.unbind()) };
        let timezone = class("datetime", "timezone")?;
        Ok(Self {
            decimal: class("decimal", "Decimal")?,
            uuid: class("uuid", "UUID")?,
            safeties: [safety(None)?, safety(Some(0))?, safety(Some(-1))?],
            utc: timezone.getattr(py, text(py, "utc")?)?,
            timezone,
            zone_info: class("zoneinfo", "ZoneInfo")?,
            safe_string: class("django.utils.safestring", "SafeString")?,
            new_object: py.get_type::<PyAny>().getattr(text(py, "__new__")?)?.unbind(),
            int_from_bytes: py.get_type::<PyInt>().getattr(text(py, "from_bytes")?)?.unbind(),
        })
    }
}
