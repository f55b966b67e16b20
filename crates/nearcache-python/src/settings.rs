//! What a backend instance says of its keys, times and limits, read from its attributes once and again after every
//! change, so that a `get` need not ask Python.
//!
//! The attributes are Django's (`key_prefix`, `version`, `key_func`, `default_timeout`, `_max_entries`,
//! `_cull_frequency`) and stay the truth; `Backend.__setattr__` tells when one was assigned.

use std::num::NonZeroU32;

use nearcache::local::{Batch, Capacity};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString};

use crate::backend::Backend;
use crate::expiry::seconds;
use crate::fallible::{error, error_about, interned, text};
use crate::imported::Imported;
use crate::keys::Prefix;
use crate::whole_number::whole_number;

/// Attributes that change the settings when assigned or deleted.
const WATCHED: [&str; 15] = [
    "key_prefix",
    "version",
    "key_func",
    "make_key",
    "validate_key",
    "make_and_validate_key",
    "default_timeout",
    "get_backend_timeout",
    "pickle_protocol",
    "_max_entries",
    "_max_memory",
    "_cull_frequency",
    "get",
    "set",
    "delete",
];

/// How keys are made.
pub(crate) enum KeyMaking {
    /// As Django does by default, which can be done here.
    Django(Prefix),
    /// By the instance's `make_key` and `validate_key`.
    Parts,
    /// By the instance's own `make_and_validate_key`.
    Whole,
}

/// The method that makes keys, and whether it is the instance's own.
#[derive(Clone, Copy)]
pub(crate) struct KeyMaker {
    pub(crate) name: &'static str,
    pub(crate) own: bool,
}

/// How a `timeout` argument becomes an expiry.
pub(crate) enum Timeouts {
    /// As Django does, with this default in seconds (None: for ever).
    Default(Option<f64>),
    /// By the instance's own `get_backend_timeout`.
    Python,
}

/// Everything an operation needs to know of its backend instance.
pub(crate) struct Settings {
    pub(crate) keys: KeyMaking,
    pub(crate) key_maker: KeyMaker,
    pub(crate) timeouts: Timeouts,
    pub(crate) capacity: Capacity,
    /// None is pickle's own default.
    pub(crate) pickle_protocol: Option<i32>,
    /// Methods that a subclass or an assignment to the instance replaced; the `_many` ones then go through them.
    pub(crate) own_get: bool,
    pub(crate) own_set: bool,
    pub(crate) own_delete: bool,
}

/// Whether assigning this attribute may change the settings.
pub(crate) fn is_watched(name: &str) -> bool {
    WATCHED.contains(&name)
}

impl Settings {
    /// Reads an instance's attributes.
    pub(crate) fn read(backend: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = backend.py();
        let ours = py.get_type::<Backend>();
        let django = base_cache(py)?;
        let instance = Instance {
            backend,
            kind: backend.get_type().into_any(),
        };
        Ok(Self {
            keys: instance.key_making(django)?,
            key_maker: instance.key_maker(django)?,
            timeouts: instance.timeouts(django)?,
            capacity: instance.capacity()?,
            pickle_protocol: backend.getattr(interned!(py, "pickle_protocol")?)?.extract()?,
            own_get: instance.overrides("get", &ours)?,
            own_set: instance.overrides("set", &ours)?,
            own_delete: instance.overrides("delete", &ours)?,
        })
    }
}

/// An instance under examination.
struct Instance<'a, 'py> {
    backend: &'a Bound<'py, PyAny>,
    kind: Bound<'py, PyAny>,
}

impl<'py> Instance<'_, 'py> {
    /// Whether a method is another than `base`'s: overridden in a subclass or assigned to the instance.
    fn overrides(&self, method: &str, base: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = self.backend.py();
        let method = text(py, method)?;
        let same = self.kind.getattr(&method)?.is(&base.getattr(&method)?);
        let own = self.backend.getattr(interned!(py, "__dict__")?)?;
        let assigned = own.cast::<PyDict>()?.contains(method)?;
        Ok(!same || assigned)
    }

    fn key_maker(&self, django: &Bound<'py, PyAny>) -> PyResult<KeyMaker> {
        if self.overrides("make_and_validate_key", django)? {
            let name = "make_and_validate_key";
            return Ok(KeyMaker { name, own: true });
        }
        let name = "make_key";
        let own = self.overrides(name, django)?;
        Ok(KeyMaker { name, own })
    }

    fn key_making(&self, django: &Bound<'py, PyAny>) -> PyResult<KeyMaking> {
        if self.overrides("make_and_validate_key", django)? {
            return Ok(KeyMaking::Whole);
        }
        let overridden = self.overrides("make_key", django)? || self.overrides("validate_key", django)?;
        // A property of a subclass may say something else every time.
        let mut computed = false;
        for name in ["key_prefix", "version", "key_func"] {
            computed |= self.kind.hasattr(text(self.backend.py(), name)?)?;
        }
        if overridden || computed {
            return Ok(KeyMaking::Parts);
        }
        Ok(self.prefix()?.map_or(KeyMaking::Parts, KeyMaking::Django))
    }

    /// The prefix, if keys are made of it in Django's way. If an attribute is not there, the use of it is to fail.
    fn prefix(&self) -> PyResult<Option<Prefix>> {
        let attribute = |name| self.backend.getattr_opt(text(self.backend.py(), name)?);
        let (Some(function), Some(prefix), Some(version)) = (
            attribute("key_func")?,
            attribute("key_prefix")?,
            attribute("version")?,
        ) else {
            return Ok(None);
        };
        if !function.is(default_key_func(self.backend.py())?) {
            return Ok(None);
        }
        let (Ok(prefix), Ok(version)) = (prefix.cast_exact::<PyString>(), version.cast_exact::<PyInt>())
        else {
            return Ok(None);
        };
        let (Ok(prefix), Ok(version)) = (prefix.to_str(), version.extract()) else {
            return Ok(None);
        };
        Prefix::new(prefix, version).map(Some)
    }

    fn timeouts(&self, django: &Bound<'py, PyAny>) -> PyResult<Timeouts> {
        if self.overrides("get_backend_timeout", django)?
            || self
                .kind
                .hasattr(interned!(self.backend.py(), "default_timeout")?)?
        {
            return Ok(Timeouts::Python);
        }
        let Some(default) = self
            .backend
            .getattr_opt(interned!(self.backend.py(), "default_timeout")?)?
        else {
            return Ok(Timeouts::Python);
        };
        let seconds = if default.is_none() {
            None
        } else {
            Some(seconds(&default)?)
        };
        Ok(Timeouts::Default(seconds))
    }

    /// Reads a limit: a whole number, or None for no limit.
    fn limit(&self, name: &Bound<'py, PyString>) -> PyResult<Option<i64>> {
        let value = self.backend.getattr(name)?;
        if value.is_none() {
            return Ok(None);
        }
        let number = whole_number(&value).ok_or_else(|| {
            let name = name.to_string_lossy();
            error_about::<PyTypeError>(format_args!("{name} must be a whole number or None, not"), &value)
        })?;
        Ok(Some(number))
    }

    fn capacity(&self) -> PyResult<Capacity> {
        let py = self.backend.py();
        let max_entries = self.limit(&text(py, "_max_entries")?)?;
        let batch = match self.limit(&text(py, "_cull_frequency")?)? {
            None => Batch::One,
            Some(frequency) => match u32::try_from(frequency).map(NonZeroU32::new) {
                Ok(Some(frequency)) => Batch::OneIn(frequency),
                Ok(None) => Batch::All,
                Err(_) => {
                    let rule = "_cull_frequency must be a whole number of at least 0, or None, not";
                    return Err(error::<PyTypeError>(py, format_args!("{rule} {frequency}")));
                }
            },
        };
        Ok(Capacity {
            // Assigned on a live instance it may be anything; nothing and less means one, the newest.
            max_entries: max_entries.map_or(u64::MAX, |entries| u64::try_from(entries).unwrap_or(0)),
            max_weight: self
                .limit(&text(py, "_max_memory")?)?
                .map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(0)),
            batch,
        })
    }
}

/// Django's `BaseCache`.
pub(crate) fn base_cache(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static BASE_CACHE: Imported<Py<PyAny>> = Imported::new();
    BASE_CACHE.attribute(py, "django.core.cache.backends.base", "BaseCache")
}

/// Django's `default_key_func`.
pub(crate) fn default_key_func(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static DEFAULT_KEY_FUNC: Imported<Py<PyAny>> = Imported::new();
    DEFAULT_KEY_FUNC.attribute(py, "django.core.cache.backends.base", "default_key_func")
}
