//! The methods by which `nearcache.django.TieredCache` waits for its server in an event loop.
//!
//! Each does what it can without the server, and returns the result or a `Pending` for `Completions`. It returns
//! `NotImplemented` if a subclass overrides the method, which then has to be called in a thread.

use std::time::Duration;

use nearcache::{Condition, Timestamp};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyNotImplemented, PyTuple};

use crate::arguments::{Any, Argument, Version};
use crate::backend::{Backend, condition};
use crate::expiry::{Unit, after, point_in_time};
use crate::memory::owned;
use crate::objects::list;
use crate::open_cache::Operation;
use crate::operations::{FlightStep, TimeToLive, flight_step, locked_step};
use crate::settings::Settings;
use crate::store::{Computed, Extension, Flight, Locked, Pending, SetOutcome, Step, Store, TieredStore};

/// The cache methods that only a backend with a remote tier has.
#[pyclass(frozen, subclass, extends = Backend, module = "nearcache._core")]
pub(crate) struct TieredBackend;

type Methods<'a, 'py> = &'a Bound<'py, TieredBackend>;

/// For a method that the other methods do not call: a subclass that overrides it overrides its twin, too.
const NEVER: fn(&Settings) -> bool = |_| false;

/// Runs the body of a method, which returns its first step.
fn start<'py, T: 'static>(
    slf: Methods<'_, 'py>,
    is_overridden: fn(&Settings) -> bool,
    plan: impl FnOnce(&Operation<'_, 'py>, &'static TieredStore) -> PyResult<Step<T>>,
    to_python: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    Backend::run(slf.as_super(), |operation| {
        let store = match operation.store {
            Store::Tiered(store) if !is_overridden(&operation.context.settings) => store,
            _ => return Ok(PyNotImplemented::get(slf.py()).to_owned().into_any().unbind()),
        };
        match plan(&operation, store)?.map(slf.py(), to_python)? {
            Step::Done(result) => Ok(result),
            Step::Remote(plan) => Ok(Py::new(slf.py(), Pending::new(store, plan))?.into_any()),
        }
    })
}

#[allow(clippy::unnecessary_wraps)] // as the other results' conversions
fn truth(py: Python<'_>, value: bool) -> PyResult<Py<PyAny>> {
    Ok(PyBool::new(py, value).to_owned().into_any().unbind())
}

fn none(py: Python<'_>) -> Py<PyAny> {
    py.None()
}

#[pymethods]
impl TieredBackend {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Backend::closed()).add_subclass(Self)
    }

    #[pyo3(signature = (key, default, version, fresh))]
    fn _start_get<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        default: Py<PyAny>,
        version: Version<'_, 'py>,
        fresh: bool,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            |settings| settings.overrides_get,
            |operation, store| {
                operation.with_key(key, version, |key| store.plan_get(&operation.context, key, fresh))
            },
            move |_, found| Ok(found.unwrap_or(default)),
        )
    }

    /// The result is None without a condition, as of ``set``.
    #[pyo3(signature = (key, value, timeout, version, nx, xx))]
    fn _start_set<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
        nx: Argument<'_, 'py>,
        xx: Argument<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        let condition = condition(slf.py(), nx, xx)?;
        start(
            slf,
            |settings| settings.overrides_set,
            |operation, store| {
                let given = condition.unwrap_or(Condition::Always);
                operation.with_key(key, version, |key| {
                    store.plan_set(&operation.context, key, value, timeout, given)
                })
            },
            move |py, outcome| match condition {
                None => Ok(none(py)),
                Some(_) => truth(py, outcome == SetOutcome::Stored),
            },
        )
    }

    #[pyo3(signature = (key, timeout, version))]
    fn _start_touch<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    let (expires_at, now) = operation.context.expires_at(timeout)?;
                    store.plan_expire_at(slf.py(), key, expires_at, now)
                })
            },
            truth,
        )
    }

    #[pyo3(signature = (key, version))]
    fn _start_has_key<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| operation.with_key(key, version, |key| Ok(store.plan_contains(key))),
            truth,
        )
    }

    #[pyo3(signature = (key, version))]
    fn _start_delete<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            |settings| settings.overrides_delete,
            |operation, store| operation.with_key(key, version, |key| store.plan_delete(slf.py(), key)),
            truth,
        )
    }

    #[pyo3(signature = (key, delta, version))]
    fn _start_incr<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        delta: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| operation.plan_incr(store, key, delta, version),
            |_, sum| Ok(sum),
        )
    }

    #[pyo3(signature = (keys, version))]
    fn _start_get_many<'py>(
        slf: Methods<'_, 'py>,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            |settings| settings.overrides_get,
            |operation, store| operation.plan_get_many(store, keys, version),
            |_, found| Ok(found.into_any()),
        )
    }

    #[pyo3(signature = (data, timeout, version))]
    fn _start_set_many<'py>(
        slf: Methods<'_, 'py>,
        data: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            |settings| settings.overrides_set,
            |operation, store| operation.plan_set_many(store, data, timeout, version),
            |py, ()| Ok(none(py)),
        )
    }

    #[pyo3(signature = (keys, version))]
    fn _start_delete_many<'py>(
        slf: Methods<'_, 'py>,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            |settings| settings.overrides_delete,
            |operation, store| store.plan_delete_many(slf.py(), operation.stored_keys(keys, version)?),
            |py, _| Ok(none(py)),
        )
    }

    /// The result is that of ``ttl``, or of ``pttl`` with `in_millis`.
    #[pyo3(signature = (key, version, in_millis))]
    fn _start_ttl<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        in_millis: bool,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    let now = operation.context.now()?;
                    let step = store.plan_expires_at(key, now);
                    step.map(slf.py(), move |_, found| Ok(TimeToLive::of(found, now)))
                })
            },
            move |py, left| match if in_millis { left.millis() } else { left.seconds() } {
                None => Ok(none(py)),
                Some(left) => Ok(left.into_pyobject(py)?.into_any().unbind()),
            },
        )
    }

    #[pyo3(signature = (key, timeout, version, in_millis))]
    fn _start_expire<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        timeout: Any<'_, 'py>,
        version: Version<'_, 'py>,
        in_millis: bool,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    let (expires_at, now) = operation.expiry_after(timeout, unit(in_millis))?;
                    store.plan_expire_at(slf.py(), key, expires_at, now)
                })
            },
            truth,
        )
    }

    #[pyo3(signature = (key, when, version, in_millis))]
    fn _start_expire_at<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        when: Any<'_, 'py>,
        version: Version<'_, 'py>,
        in_millis: bool,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    let expires_at = point_in_time(when, unit(in_millis))?;
                    store.plan_expire_at(slf.py(), key, expires_at, operation.context.now()?)
                })
            },
            truth,
        )
    }

    #[pyo3(signature = (key, version))]
    fn _start_persist<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| operation.with_key(key, version, |key| store.plan_persist(slf.py(), key)),
            truth,
        )
    }

    #[pyo3(signature = (key, token, timeout, version))]
    fn _start_acquire<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        token: &str,
        timeout: Option<f64>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    let now = operation.context.now()?;
                    let expires_at = timeout.map_or(Timestamp::NEVER, |seconds| after(now, seconds));
                    store.plan_acquire(slf.py(), key, token, expires_at, now)
                })
            },
            truth,
        )
    }

    #[pyo3(signature = (key, token, version))]
    fn _start_release<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| store.plan_release(slf.py(), key, token))
            },
            truth,
        )
    }

    #[pyo3(signature = (key, token, version))]
    fn _start_holds<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| operation.with_key(key, version, |key| store.plan_holds(slf.py(), key, token)),
            truth,
        )
    }

    #[pyo3(signature = (key, token, seconds, on_top, version))]
    fn _start_extend<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        token: &str,
        seconds: f64,
        on_top: bool,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        let extension = if on_top {
            Extension::FromEnd(seconds)
        } else {
            Extension::FromNow(seconds)
        };
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    store.plan_extend(slf.py(), key, token, extension)
                })
            },
            truth,
        )
    }

    /// The result is None if there is no value, else a tuple with it, for ``_early_step``.
    #[pyo3(signature = (key, version))]
    fn _start_get_with_cost<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            |settings| settings.overrides_get,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    store.plan_get_with_cost(&operation.context, key)
                })
            },
            |py, found| Ok(found.map(|value| (value,)).into_pyobject(py)?.into_any().unbind()),
        )
    }

    /// Decides about an early computation, as ``_get_early`` does, for a value that was read; returns a step.
    #[pyo3(signature = (key, version, value, beta))]
    fn _early_step<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        value: Py<PyAny>,
        beta: f64,
    ) -> PyResult<Option<FlightStep>> {
        Backend::run(slf.as_super(), |operation| match operation.store {
            Store::Tiered(store) => operation.with_key(key, version, |key| {
                let found = store.early(&operation.context, key, value, beta)?;
                operation.early_step(key, found)
            }),
            _ => Ok(None),
        })
    }

    /// The result is that of ``_join``.
    #[pyo3(signature = (key, version, stale, within))]
    fn _start_join<'py>(
        slf: Methods<'_, 'py>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        stale: f64,
        within: Option<&Bound<'py, Flight>>,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                operation.with_key(key, version, |key| {
                    let join = || store.plan_join(&operation.context, key, stale);
                    let step = match within {
                        Some(flight) => flight.get().id().within(join)?,
                        None => join()?,
                    };
                    let key = owned(key)?;
                    step.map(slf.py(), move |py, joined| flight_step(py, &key, joined))
                })
            },
            |py, step| Ok(step.into_pyobject(py)?.into_any().unbind()),
        )
    }

    /// Asks the server whether this machine computes, for a flight that this process leads; returns a step.
    #[pyo3(signature = (flight, token, seconds, overtakes))]
    fn _start_lock_flight<'py>(
        slf: Methods<'_, 'py>,
        flight: &Bound<'py, Flight>,
        token: &str,
        seconds: f64,
        overtakes: bool,
    ) -> PyResult<Py<PyAny>> {
        start(
            slf,
            NEVER,
            |operation, store| {
                store.plan_lock_flight(&operation.context, flight, token, timeout(seconds), overtakes)
            },
            |py, locked| Ok(locked_step(locked).into_pyobject(py)?.into_any().unbind()),
        )
    }

    /// Does so, and waits in this thread.
    #[pyo3(signature = (flight, token, seconds, overtakes))]
    fn _lock_flight<'py>(
        slf: Methods<'_, 'py>,
        flight: &Bound<'py, Flight>,
        token: &str,
        seconds: f64,
        overtakes: bool,
    ) -> PyResult<FlightStep> {
        Backend::run(slf.as_super(), |operation| {
            let Store::Tiered(store) = operation.store else {
                return Ok(locked_step(Locked::Own));
            };
            let context = &operation.context;
            let step = store.plan_lock_flight(context, flight, token, timeout(seconds), overtakes)?;
            Ok(locked_step(store.run(slf.py(), step)?))
        })
    }

    /// Stores what a leader has computed; the result is whether it was stored, for ``_end_flight``.
    #[pyo3(signature = (flight, value, timeout, jitter, stale, cost, early))]
    #[allow(clippy::too_many_arguments)] // as those of `_complete`
    fn _start_complete<'py>(
        slf: Methods<'_, 'py>,
        flight: &Bound<'py, Flight>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        jitter: f64,
        stale: f64,
        cost: f64,
        early: f64,
    ) -> PyResult<Py<PyAny>> {
        let computed = Computed {
            value,
            timeout,
            jitter,
            stale,
            cost,
            early,
        };
        start(
            slf,
            NEVER,
            |operation, store| store.plan_complete(&operation.context, flight.get(), &computed),
            truth,
        )
    }

    /// Ends a flight whose value is stored, or not; returns whether it is.
    #[pyo3(signature = (flight, value, is_stored))]
    fn _end_flight<'py>(
        slf: Methods<'_, 'py>,
        flight: &Bound<'py, Flight>,
        value: Any<'_, 'py>,
        is_stored: bool,
    ) -> PyResult<bool> {
        Backend::run(slf.as_super(), |operation| match operation.store {
            Store::Tiered(store) => store.end_flight(&operation.context, flight.get(), value, is_stored),
            _ => Ok(is_stored),
        })
    }

    #[pyo3(signature = (section))]
    fn _info<'py>(slf: Methods<'_, 'py>, section: &str) -> PyResult<Bound<'py, PyList>> {
        Backend::run(slf.as_super(), |operation| match operation.store {
            Store::Tiered(store) => store.info(slf.py(), section),
            _ => list(slf.py()),
        })
    }
}

/// Returns a duration of a number of seconds.
fn timeout(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

const fn unit(in_millis: bool) -> Unit {
    if in_millis { Unit::Millis } else { Unit::Seconds }
}
