//! Clocks: the system's, or a Python function that `OPTIONS["CLOCK"]` names.

use std::time::Duration;

use nearcache::{Clock, SystemClock, Timestamp};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::{error, error_about};
use crate::numbers::real;

pub(crate) const MICROS_PER_SECOND: f64 = 1e6;

/// The clock of a backend instance.
pub(crate) enum BackendClock {
    /// The system's wall clock.
    System,
    /// The Python function `owner.name`, looked up at every reading, so that it can be replaced: freezegun replaces
    /// `time.time`.
    Python { owner: Py<PyAny>, name: Py<PyString> },
}

impl BackendClock {
    /// Returns the clock of one operation. A Python clock is read here, because later a lock may be held.
    ///
    /// Fails with `TypeError` or `ValueError` if a Python clock does not return a number of seconds.
    pub(crate) fn now(&self, py: Python<'_>) -> PyResult<Now> {
        match self {
            Self::System => Ok(Now::System),
            Self::Python { owner, name } => {
                let returned = owner.bind(py).getattr(name.bind(py))?.call0()?;
                let seconds = real(&returned)?.ok_or_else(|| {
                    let rule = "must return a number of Unix seconds, but it returned";
                    error_about::<PyTypeError>(format_args!("the CLOCK \"{name}\" {rule}"), &returned)
                })?;
                if seconds.is_nan() {
                    return Err(error::<PyValueError>(
                        py,
                        format_args!("the CLOCK \"{name}\" returned NaN"),
                    ));
                }
                Ok(Now::Read(timestamp(seconds)))
            }
        }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::System => Self::System,
            Self::Python { owner, name } => Self::Python {
                owner: owner.clone_ref(py),
                name: name.clone_ref(py),
            },
        }
    }
}

/// The clock of one operation: the system's, which is read when needed, or the time that a Python clock returned.
#[derive(Clone, Copy)]
pub(crate) enum Now {
    System,
    Read(Timestamp),
}

impl Clock for Now {
    fn now(&self) -> Timestamp {
        match self {
            Self::System => SystemClock.now(),
            Self::Read(now) => *now,
        }
    }

    fn has_passed(&self, expires_at: Timestamp) -> bool {
        match self {
            Self::System => SystemClock.has_passed(expires_at),
            Self::Read(now) => now.has_passed(expires_at),
        }
    }

    fn expiry(&self, ttl: Duration) -> Timestamp {
        match self {
            Self::System => SystemClock.expiry(ttl),
            Self::Read(now) => now.expiry(ttl),
        }
    }

    fn time_left(&self, expires_at: Timestamp) -> Duration {
        match self {
            Self::System => SystemClock.time_left(expires_at),
            Self::Read(now) => now.time_left(expires_at),
        }
    }
}

/// Converts Unix seconds, saturated to the range of timestamps.
#[allow(clippy::cast_possible_truncation)] // `as` saturates
pub(crate) fn timestamp(unix_seconds: f64) -> Timestamp {
    Timestamp::from_unix_micros((unix_seconds * MICROS_PER_SECOND) as i64)
}
