//! Expiry times: what a `timeout`, a length of time or a point in time means for an entry.

use std::time::Duration;

use nearcache::{Clock, Timestamp};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyDelta};

use crate::arguments::{Any, Argument};
use crate::clock::{MICROS_PER_SECOND, Now, timestamp};
use crate::django::{base_cache, default_timeout};
use crate::errors::{error, repr};
use crate::instance::Instance;
use crate::memory::{format, no_memory};
use crate::numbers::number;
use crate::objects::interned;

/// How a backend instance turns a `timeout` argument into an expiry time.
pub(crate) enum TimeoutRule {
    /// As Django does, with this default in seconds; `None` is no expiry.
    Default(Option<f64>),
    /// By the instance's own `get_backend_timeout`.
    Overridden,
}

impl TimeoutRule {
    /// Reads the rule from a backend's attributes.
    pub(crate) fn read(instance: &Instance<'_, '_>) -> PyResult<Self> {
        let overridden = instance.overrides("get_backend_timeout", base_cache(instance.py())?)?
            || instance.has_class_attribute("default_timeout")?;
        if overridden {
            return Ok(Self::Overridden);
        }
        let Some(default) = instance.optional_attribute("default_timeout")? else {
            return Ok(Self::Overridden);
        };
        Ok(Self::Default(if default.is_none() {
            None
        } else {
            Some(timeout_seconds(&default)?)
        }))
    }

    /// Returns how long an entry lives that is written now with this `timeout` argument.
    #[cfg(unix)]
    pub(crate) fn lifetime(
        &self,
        backend: Any<'_, '_>,
        timeout: Argument<'_, '_>,
        now: Now,
    ) -> PyResult<Lifetime> {
        let seconds = match (self, timeout.unless(default_timeout(backend.py())?)) {
            (Self::Overridden, _) => {
                let expires_at = call_get_backend_timeout(backend, timeout)?;
                return Ok(if expires_at == Timestamp::NEVER {
                    Lifetime::Forever
                } else {
                    Lifetime::of(now.time_left(expires_at).as_secs_f64())
                });
            }
            (Self::Default(None), None) => return Ok(Lifetime::Forever),
            (Self::Default(Some(seconds)), None) => *seconds,
            (Self::Default(_), Some(timeout)) if timeout.is_none() => return Ok(Lifetime::Forever),
            (Self::Default(_), Some(timeout)) => timeout_seconds(&timeout)?,
        };
        Ok(Lifetime::of(seconds))
    }

    /// Returns when an entry expires that is written now with this `timeout` argument.
    pub(crate) fn expires_at(
        &self,
        backend: Any<'_, '_>,
        timeout: Argument<'_, '_>,
        now: Now,
    ) -> PyResult<Timestamp> {
        let seconds = match (self, timeout.unless(default_timeout(backend.py())?)) {
            (Self::Overridden, _) => return call_get_backend_timeout(backend, timeout),
            (Self::Default(None), None) => return Ok(Timestamp::NEVER),
            (Self::Default(Some(seconds)), None) => *seconds,
            (Self::Default(_), Some(timeout)) if timeout.is_none() => return Ok(Timestamp::NEVER),
            (Self::Default(_), Some(timeout)) => timeout_seconds(&timeout)?,
        };
        Ok(after(now, seconds))
    }
}

/// How long an entry lives.
#[cfg(unix)]
#[derive(Clone, Copy)]
pub(crate) enum Lifetime {
    Forever,
    /// It is over at once.
    Expired,
    Millis(u64),
}

#[cfg(unix)]
impl Lifetime {
    /// Returns the lifetime of a number of seconds, rounded up to milliseconds.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range
    fn of(seconds: f64) -> Self {
        /// 100,000 years. Servers refuse much longer times.
        const MOST: f64 = 3.2e15;
        let millis = (seconds * 1e3).ceil();
        if millis <= 0.0 {
            Self::Expired
        } else if millis > MOST {
            Self::Forever
        } else {
            Self::Millis(millis as u64)
        }
    }
}

#[cfg(unix)]
impl Lifetime {
    /// Returns the lifetime without a fraction of it, which is less than 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )] // in range
    pub(crate) fn shortened(self, fraction: f64) -> Self {
        match self {
            Self::Millis(millis) => Self::Millis(((millis as f64 * (1.0 - fraction)) as u64).max(1)),
            other => other,
        }
    }
}

/// Calls an overridden `get_backend_timeout`, which returns Unix seconds or None.
fn call_get_backend_timeout(backend: Any<'_, '_>, timeout: Argument<'_, '_>) -> PyResult<Timestamp> {
    let method = interned!(backend.py(), "get_backend_timeout")?;
    let returned = match timeout.given() {
        Some(timeout) => backend.call_method1(method, (timeout,))?,
        None => backend.call_method0(method)?,
    };
    if returned.is_none() {
        Ok(Timestamp::NEVER)
    } else {
        timeout_seconds(&returned).map(timestamp)
    }
}

/// Returns the time a number of seconds after now. Zero and less is a time that has passed.
pub(crate) fn after(now: Now, seconds: f64) -> Timestamp {
    match Duration::try_from_secs_f64(seconds) {
        Ok(ttl) if !ttl.is_zero() => now.expiry(ttl),
        Ok(_) => now.now(),
        Err(_) if seconds < 0.0 => later(now.now(), seconds),
        // Beyond the range of `Duration`.
        Err(_) => Timestamp::NEVER,
    }
}

/// Returns the time a number of seconds after another time.
#[allow(clippy::cast_possible_truncation)] // `as` saturates
pub(crate) fn later(time: Timestamp, seconds: f64) -> Timestamp {
    let micros = (seconds * MICROS_PER_SECOND) as i64;
    Timestamp::from_unix_micros(time.as_unix_micros().saturating_add(micros))
}

/// Reads a number of seconds from a timeout argument or attribute.
fn timeout_seconds(timeout: Any<'_, '_>) -> PyResult<f64> {
    number(timeout, "timeout must be a number of seconds or None")
}

/// The unit of a plain number where the argument may also be a `timedelta` or `datetime`.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Seconds,
    Millis,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Millis => "milliseconds",
        }
    }

    const fn per_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Millis => 1e3,
        }
    }
}

/// Reads a length of time in seconds from a number in `unit` or a `timedelta`.
pub(crate) fn duration_seconds(duration: Any<'_, '_>, unit: Unit) -> PyResult<f64> {
    let py = duration.py();
    if duration.is_instance_of::<PyDelta>() {
        return duration.call_method0(interned!(py, "total_seconds")?)?.extract();
    }
    let unit_name = unit.name();
    let rule = format(format_args!(
        "timeout must be a number of {unit_name} or a timedelta (persist() is for no expiry)"
    ))?;
    Ok(number(duration, &rule)? / unit.per_second())
}

/// Reads a point in time from a number of `unit` since the Unix epoch or a `datetime`, which is local time if it is naive.
pub(crate) fn point_in_time(when: Any<'_, '_>, unit: Unit) -> PyResult<Timestamp> {
    if !when.is_instance_of::<PyDateTime>() {
        let unit_name = unit.name();
        let rule = format(format_args!(
            "when must be a number of Unix {unit_name} or a datetime"
        ))?;
        return Ok(timestamp(number(when, &rule)? / unit.per_second()));
    }
    let py = when.py();
    let seconds = when.call_method0(interned!(py, "timestamp")?);
    let seconds = seconds.map_err(|cause| without_unix_time(when, cause))?;
    seconds.extract().map(timestamp)
}

/// Returns the error for a `datetime` whose `timestamp()` raised.
#[cold]
fn without_unix_time(when: Any<'_, '_>, cause: PyErr) -> PyErr {
    let py = when.py();
    let shown = repr(when).and_then(|when| Ok((when, cause.value(py).str()?)));
    let raised = match &shown {
        Ok((when, why)) => {
            let why = why.to_string_lossy();
            error::<PyValueError>(py, format_args!("when is {when}, which has no Unix time: {why}"))
        }
        Err(_) => no_memory(()),
    };
    raised.set_cause(py, Some(cause));
    raised
}
