//! Timeouts and clocks: from Django's seconds to the engine's time.

use std::time::Duration;

use nearcache::{Clock, SystemClock, Timestamp};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyComplex, PyDateTime, PyDelta, PyString};

use crate::arguments::Argument;
use crate::call::Call;
use crate::fallible::{self, Ratio, error, error_about, format, interned, no_memory, repr};
use crate::imported::Imported;
use crate::panics::guarded;
use crate::settings::{Settings, Timeouts};

const MICROS_PER_SECOND: f64 = 1e6;

/// Where a backend instance reads the time.
pub(crate) enum BackendClock {
    /// The system's wall clock.
    System,
    /// A callable found anew for every reading, as `owner.name`, so that it may be replaced meanwhile (which is how
    /// freezegun freezes `time.time`).
    Python { owner: Py<PyAny>, name: Py<PyString> },
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

    fn has_passed(&self, expires: Timestamp) -> bool {
        match self {
            Self::System => SystemClock.has_passed(expires),
            Self::Read(now) => now.has_passed(expires),
        }
    }

    fn expiry(&self, ttl: Duration) -> Timestamp {
        match self {
            Self::System => SystemClock.expiry(ttl),
            Self::Read(now) => now.expiry(ttl),
        }
    }

    fn time_left(&self, expires: Timestamp) -> Duration {
        match self {
            Self::System => SystemClock.time_left(expires),
            Self::Read(now) => now.time_left(expires),
        }
    }
}

impl BackendClock {
    /// The time for one operation. A clock of Python's is read here and now, since no lock is held yet.
    pub(crate) fn now(&self, py: Python<'_>) -> PyResult<Now> {
        match self {
            Self::System => Ok(Now::System),
            Self::Python { owner, name } => {
                let told = owner.bind(py).getattr(name.bind(py))?.call0()?;
                let seconds = real(&told)?.ok_or_else(|| {
                    let rule = "must return a number of Unix seconds, but it returned";
                    error_about::<PyTypeError>(format_args!("the CLOCK \"{name}\" {rule}"), &told)
                })?;
                if seconds.is_nan() {
                    let message = format_args!("the CLOCK \"{name}\" returned NaN");
                    return Err(error::<PyValueError>(py, message));
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
    Ok((after(now, seconds), now))
}

/// A number of seconds after now; zero and less is over at once.
pub(crate) fn after(now: Now, seconds: f64) -> Timestamp {
    match Duration::try_from_secs_f64(seconds) {
        Ok(ttl) if !ttl.is_zero() => now.expiry(ttl),
        Ok(_) => now.now(),
        Err(_) if seconds < 0.0 => later(now.now(), seconds),
        // Longer than can be told.
        Err(_) => Timestamp::NEVER,
    }
}

/// A number of seconds after a time.
#[allow(clippy::cast_possible_truncation)] // `as` saturates
pub(crate) fn later(time: Timestamp, seconds: f64) -> Timestamp {
    let micros = (seconds * MICROS_PER_SECOND) as i64;
    Timestamp::from_unix_micros(time.as_unix_micros().saturating_add(micros))
}

/// A number of seconds, as a timeout argument or attribute has it.
pub(crate) fn seconds(timeout: &Bound<'_, PyAny>) -> PyResult<f64> {
    number(timeout, "timeout must be a number of seconds or None")
}

/// A number that is not NaN; `rule` says in an error what it has to be.
fn number(given: &Bound<'_, PyAny>, rule: &str) -> PyResult<f64> {
    let number =
        real(given)?.ok_or_else(|| error_about::<PyTypeError>(format_args!("{rule}, not"), given))?;
    if number.is_nan() {
        return Err(error::<PyValueError>(given.py(), format_args!("{rule}, not NaN")));
    }
    Ok(number)
}

/// Returns a real number as a float, by the rules for timeouts; None for everything else.
#[pyfunction]
pub(crate) fn real_number(given: &Bound<'_, PyAny>) -> PyResult<Option<Ratio>> {
    guarded(given.py(), || Ok(real(given)?.map(Ratio)))
}

/// What Python takes for a real number: an object that has `__float__` or `__index__`, or that can be added to a float, as
/// Django adds timeouts to `time.time()`; a lazy object can only be added. `None` for everything else.
pub(crate) fn real(given: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    let py = given.py();
    let is_no_number = |raised: &PyErr| raised.is_instance_of::<PyTypeError>(py);
    if given.is_instance_of::<PyComplex>() {
        return Ok(None);
    }
    match given.extract::<f64>() {
        Ok(number) => return Ok(Some(number)),
        // An int too large for a float: as good as for ever, or long over.
        Err(raised) if raised.is_instance_of::<PyOverflowError>(py) => {
            return Ok(Some(if given.gt(0)? {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            }));
        }
        Err(raised) if is_no_number(&raised) => {}
        Err(raised) => return Err(raised),
    }
    let added = fallible::float(py, 0.0)?.add(given);
    match added.and_then(|sum| sum.extract()) {
        Ok(number) => Ok(Some(number)),
        Err(raised) if is_no_number(&raised) => Ok(None),
        Err(raised) => Err(raised),
    }
}

/// What a plain number stands for where a time may also be an object.
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

/// A length of time from now: a number, a `timedelta`, or Django's marker for the default.
pub(crate) fn expiry_in(
    call: &Call<'_, '_>,
    timeout: &Bound<'_, PyAny>,
    unit: Unit,
) -> PyResult<(Timestamp, Now)> {
    if timeout.is(default_timeout(call.py())?) {
        return call.expiry(Argument::OMITTED);
    }
    let seconds = if timeout.is_instance_of::<PyDelta>() {
        timeout
            .call_method0(interned!(call.py(), "total_seconds")?)?
            .extract()?
    } else {
        let unit_name = unit.name();
        let rule = format(format_args!(
            "timeout must be a number of {unit_name} or a timedelta (persist() is for no expiry)"
        ))?;
        number(timeout, &rule)? / unit.per_second()
    };
    let now = call.now()?;
    Ok((after(now, seconds), now))
}

/// A point in time: a number since the Unix epoch, or a `datetime`, local time if it is naive.
pub(crate) fn expiry_at(
    call: &Call<'_, '_>,
    when: &Bound<'_, PyAny>,
    unit: Unit,
) -> PyResult<(Timestamp, Now)> {
    Ok((timestamp(unix_seconds(when, unit)?), call.now()?))
}

fn unix_seconds(when: &Bound<'_, PyAny>, unit: Unit) -> PyResult<f64> {
    if !when.is_instance_of::<PyDateTime>() {
        let unit_name = unit.name();
        let rule = format(format_args!(
            "when must be a number of Unix {unit_name} or a datetime"
        ))?;
        return Ok(number(when, &rule)? / unit.per_second());
    }
    let py = when.py();
    let told = when.call_method0(interned!(py, "timestamp")?);
    let seconds = told.map_err(|cause| {
        let shown = repr(when).and_then(|when| Ok((when, cause.value(py).str()?)));
        let raised = match &shown {
            Ok((when, why)) => {
                let why = why.to_string_lossy();
                let message = format_args!("when is {when}, which has no Unix time: {why}");
                error::<PyValueError>(py, message)
            }
            Err(_) => no_memory(()),
        };
        raised.set_cause(py, Some(cause));
        raised
    })?;
    seconds.extract()
}

/// Asks a subclass that overrides `get_backend_timeout`: it returns Unix seconds, or None.
fn python_expiry(backend: &Bound<'_, PyAny>, timeout: Argument<'_, '_>) -> PyResult<Timestamp> {
    let method = interned!(backend.py(), "get_backend_timeout")?;
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
