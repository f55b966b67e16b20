//! The settings of a backend instance: how it makes keys and expiry times, and its limits.
//!
//! They are read from the instance's attributes when it is opened and after every assignment to one of them, so that a
//! `get` does not have to ask Python. The attributes are Django's (`key_prefix`, `version`, `key_func`, `default_timeout`,
//! `_max_entries`, `_cull_frequency`) and remain authoritative.

use std::num::NonZeroU32;

use nearcache::local::{Batch, Capacity};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arguments::Any;
use crate::errors::error;
use crate::expiry::TimeoutRule;
use crate::instance::Instance;
use crate::keys::KeySettings;
use crate::objects::interned;
#[cfg(shared)]
use crate::values::bytes::Pickling;

/// Attributes whose assignment or deletion may change the settings.
const WATCHED: [&str; 19] = [
    "key_prefix",
    "version",
    "key_func",
    "make_key",
    "validate_key",
    "make_and_validate_key",
    "default_timeout",
    "get_backend_timeout",
    "pickle_protocol",
    "_pickles",
    "_object_cache",
    "_max_entries",
    "_max_memory",
    "_cull_frequency",
    "_jitter",
    "_early",
    "get",
    "set",
    "delete",
];

/// The settings that only a `SharedCache` has.
#[cfg(shared)]
pub(crate) struct SharedSettings {
    /// Whether values may be pickles.
    pub(crate) pickles: bool,
    /// How many bytes this process keeps as objects.
    pub(crate) object_capacity: u64,
}

#[cfg(shared)]
impl SharedSettings {
    fn read(instance: &Instance<'_, '_>) -> PyResult<Self> {
        let capacity = instance.limit(interned!(instance.py(), "_object_cache")?)?;
        Ok(Self {
            pickles: instance.attribute("_pickles")?.is_truthy()?,
            object_capacity: capacity.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        })
    }
}

/// The settings of a backend instance at one time.
pub(crate) struct Settings {
    pub(crate) keys: KeySettings,
    pub(crate) timeouts: TimeoutRule,
    pub(crate) capacity: Capacity,
    /// The fraction by which timeouts may be shortened.
    pub(crate) jitter: f64,
    /// `XFetch`'s parameter for `get_or_set`; 0 for no early computation.
    pub(crate) early: f64,
    /// `None` is pickle's own default.
    pub(crate) pickle_protocol: Option<i32>,
    #[cfg(shared)]
    pub(crate) shared: SharedSettings,
    /// Whether a subclass or an assignment to the instance replaced the method. `get_many` then calls the instance's `get`.
    pub(crate) overrides_get: bool,
    pub(crate) overrides_set: bool,
    pub(crate) overrides_delete: bool,
}

#[cfg(shared)]
impl Settings {
    /// Returns whether a `SharedCache` pickles values, and with which protocol.
    pub(crate) const fn pickling(&self) -> Pickling {
        if self.shared.pickles {
            Pickling::Protocol(self.pickle_protocol)
        } else {
            Pickling::Refused
        }
    }
}

/// Returns whether an assignment to this attribute may change the settings.
pub(crate) fn is_watched(name: &str) -> bool {
    WATCHED.contains(&name)
}

impl Settings {
    /// Reads the settings from a backend's attributes. `base` is the class whose methods are not overridden ones.
    ///
    /// Fails with `TypeError` if an attribute has a value that is not accepted, and with what a property of a subclass
    /// raises.
    pub(crate) fn read<'py>(backend: Any<'_, 'py>, base: &Bound<'py, PyAny>) -> PyResult<Self> {
        let instance = Instance::new(backend);
        Ok(Self {
            keys: KeySettings::read(&instance)?,
            timeouts: TimeoutRule::read(&instance)?,
            capacity: read_capacity(&instance)?,
            jitter: instance.attribute("_jitter")?.extract()?,
            early: instance.attribute("_early")?.extract()?,
            pickle_protocol: instance.attribute("pickle_protocol")?.extract()?,
            #[cfg(shared)]
            shared: SharedSettings::read(&instance)?,
            overrides_get: instance.overrides("get", base)?,
            overrides_set: instance.overrides("set", base)?,
            overrides_delete: instance.overrides("delete", base)?,
        })
    }
}

fn read_capacity(instance: &Instance<'_, '_>) -> PyResult<Capacity> {
    let py = instance.py();
    let max_entries = instance.limit(interned!(py, "_max_entries")?)?;
    let batch = match instance.limit(interned!(py, "_cull_frequency")?)? {
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
    let max_memory = instance.limit(interned!(py, "_max_memory")?)?;
    // Options are checked before, assignments to a live instance are not: a number below 0 means 0.
    let bound = |limit: Option<i64>| limit.map_or(u64::MAX, |most| u64::try_from(most).unwrap_or(0));
    Ok(Capacity {
        max_entries: bound(max_entries),
        max_weight: bound(max_memory),
        batch,
    })
}
