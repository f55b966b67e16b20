//! Timeouts and clocks: from Django's seconds to the engine's time.

use nearcache::{Clock, SystemClock, Timestamp};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::arguments::Argument;
use crate::imported::Imported;
use crate::settings::{Settings, Timeouts};

const MICROS_PER_SECOND: f64 = 1e6;

/// Where a backend instance reads the time.
pub(crate) enum BackendClock {
    /// The system's wall clock.
    System,
    /// A callable found anew for every reading, as `owner.name`, so that it may be replaced meanwhile (which is how
    /// freezegun freezes `time.time`).
    Python { owner: Py<PyAny>, name: String },
}

/// The time of one operation: read when it is wanted, or read already.
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
}

impl BackendClock {
    /// The time for one operation. A clock of Python's is read here and now, since no lock is held yet.
    pub(crate) fn now(&self, py: Python<'_>) -> PyResult<Now> {
        match self {
            Self::System => Ok(Now::System),
            Self::Python { owner, name } => {
                let told = owner.bind(py).getattr(name.as_str())?.call0()?;
                let seconds = told.extract::<f64>().map_err(|_| {
                    let kind = told.get_type();
                    PyTypeError::new_err(format!(
                        "the CLOCK {name:?} must return a number of Unix seconds, but it returned {told:?} ({kind})"
                    ))
                })?;
                if seconds.is_nan() {
                    return Err(PyValueError::new_err(format!("the CLOCK {name:?} returned NaN")));
                }
                Ok(Now::Read(timestamp(seconds)))
            }
        }
    }
}

/// Unix seconds as a time; times beyond what can be told become the last (or first) that can.
#[allow(clippy::cast_possible_truncation)] // `as` saturates
fn timestamp(unix_seconds: f64) -> Timestamp {
    Timestamp::from_unix_micros((unix_seconds * MICROS_PER_SECOND) as i64)
}

/// When an entry written now with this `timeout` argument dies, and the time it was reckoned from.
pub(crate) fn expiry(
    backend: &Bound<'_, PyAny>,
    settings: &Settings,
    clock: &BackendClock,
    timeout: Argument<'_, '_>,
) -> PyResult<(Timestamp, Now)> {
    let py = backend.py();
    let now = clock.now(py)?;
    let seconds = match (&settings.timeouts, timeout.unless(default_timeout(py)?)) {
        (Timeouts::Python, _) => return Ok((python_expiry(backend, timeout)?, now)),
        (Timeouts::Default(None), None) => return Ok((Timestamp::NEVER, now)),
        (Timeouts::Default(Some(seconds)), None) => *seconds,
        (Timeouts::Default(_), Some(timeout)) if timeout.is_none() => return Ok((Timestamp::NEVER, now)),
        (Timeouts::Default(_), Some(timeout)) => seconds(&timeout)?,
    };
    let now = now.now();
    Ok((after(now, seconds), Now::Read(now)))
}

/// A number of seconds after a time; zero and less is over at once.
#[allow(clippy::cast_possible_truncation)] // `as` saturates
fn after(now: Timestamp, seconds: f64) -> Timestamp {
    let micros = (seconds * MICROS_PER_SECOND) as i64;
    Timestamp::from_unix_micros(now.as_unix_micros().saturating_add(micros))
}

/// A number of seconds, as a timeout argument or attribute has it.
pub(crate) fn seconds(timeout: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds: f64 = match timeout.extract() {
        Ok(seconds) => seconds,
        // An int too large for a float: as good as for ever, or long over.
        Err(_) if timeout.is_instance_of::<pyo3::types::PyInt>() => {
            if timeout.gt(0)? {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            }
        }
        Err(_) => {
            let kind = timeout.get_type();
            return Err(PyTypeError::new_err(format!(
                "timeout must be a number of seconds or None, not {timeout:?} ({kind})"
            )));
        }
    };
    if seconds.is_nan() {
        return Err(PyValueError::new_err(
            "timeout must be a number of seconds or None, not NaN",
        ));
    }
    Ok(seconds)
}

/// Asks a subclass that overrides `get_backend_timeout`: it returns Unix seconds, or None.
fn python_expiry(backend: &Bound<'_, PyAny>, timeout: Argument<'_, '_>) -> PyResult<Timestamp> {
    let method = intern!(backend.py(), "get_backend_timeout");
    let expires = match timeout.given() {
        Some(timeout) => backend.call_method1(method, (timeout,))?,
        None => backend.call_method0(method)?,
    };
    if expires.is_none() {
        Ok(Timestamp::NEVER)
    } else {
        seconds(&expires).map(timestamp)
    }
}

/// Django's marker for "no timeout argument".
pub(crate) fn default_timeout(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static DEFAULT_TIMEOUT: Imported<Py<PyAny>> = Imported::new();
    DEFAULT_TIMEOUT.attribute(py, "django.core.cache.backends.base", "DEFAULT_TIMEOUT")
}
