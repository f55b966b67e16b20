//! Single flight: the steps of `get_or_set` that the store does.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::errors::error;
use crate::memory::owned;
use crate::numbers::number;
use crate::objects::interned;
use crate::open_cache::Operation;
#[cfg(unix)]
use crate::store::Locked;
use crate::store::{Computed, EarlyRead, Flight, FlightEvent, FlightWait, Joined, Outcome, Stopped};

/// What Python learns, as the first item of a tuple. `nearcache.django.single_flight` has the same numbers.
#[derive(Clone, Copy)]
enum Kind {
    Hit = 0,
    Stale = 1,
    Lead = 2,
    Wait = 3,
    Again = 4,
}

/// A tuple of the kind, the value, flight or wait, and, if a leader has an old value, that and whether it has expired.
pub(crate) type Step = (u8, Option<Py<PyAny>>, Option<(Py<PyAny>, bool)>);

/// What the read of `get_or_set` finds.
pub(crate) enum GetOrStep<'py> {
    Value(Bound<'py, PyAny>),
    /// There is no value, or the caller is to compute the next one.
    Step(Option<Step>),
}

impl<'py> Operation<'_, 'py> {
    /// Reads the value for `get_or_set`. `early` is its argument.
    #[allow(clippy::inline_always)] // a hit costs what `get` costs
    #[inline(always)]
    pub(crate) fn get_or_step(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        early: Option<Any<'_, 'py>>,
    ) -> PyResult<GetOrStep<'py>> {
        let settings = &self.context.settings;
        let beta = match early {
            None => settings.early,
            Some(early) => number(early, "early must be a number, 0 or more")?,
        };
        if beta > 0.0 || settings.overrides_get {
            return self.get_or_step_slowly(key, version, beta);
        }
        let found = self.get(key, version, false)?;
        let py = self.context.py();
        Ok(found.map_or(GetOrStep::Step(None), |value| {
            GetOrStep::Value(value.into_bound(py))
        }))
    }

    /// Reads the value by an overridden `get`, or for an early computation.
    #[inline(never)]
    fn get_or_step_slowly(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        beta: f64,
    ) -> PyResult<GetOrStep<'py>> {
        let (py, backend) = (self.context.py(), self.context.backend);
        if self.context.settings.overrides_get {
            let missing = backend.getattr(interned!(py, "_missing_key")?)?;
            let method = interned!(py, "get")?;
            let found = match version {
                Some(version) => backend.call_method1(method, (key, &missing, version))?,
                None => backend.call_method1(method, (key, &missing))?,
            };
            let is_missing = found.is(&missing);
            return Ok(if is_missing {
                GetOrStep::Step(None)
            } else {
                GetOrStep::Value(found)
            });
        }
        self.get_early(key, version, beta)
    }

    /// Reads a value, and decides whether it is to be computed again already.
    fn get_early(&self, key: Any<'_, 'py>, version: Version<'_, 'py>, beta: f64) -> PyResult<GetOrStep<'py>> {
        self.context.keys().with_key(key, version, |key| {
            Ok(match self.entries().get_early(&self.context, key, beta)? {
                EarlyRead::Value(value) => GetOrStep::Value(value.into_bound(self.context.py())),
                found => GetOrStep::Step(self.early_step(key, found)?),
            })
        })
    }

    /// Returns what an early read has found, for Python.
    pub(crate) fn early_step(&self, key: &[u8], found: EarlyRead) -> PyResult<Option<Step>> {
        Ok(match found {
            EarlyRead::Missing => None,
            EarlyRead::Value(value) => Some((Kind::Hit as u8, Some(value), None)),
            EarlyRead::Due(value, lead) => {
                let (kind, flight, _) = self.step(key, Joined::Leader(lead, None))?;
                Some((kind, flight, Some((value, false))))
            }
        })
    }

    /// Does the same for Python. Returns `None` if there is no value.
    pub(crate) fn get_early_step(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        beta: f64,
    ) -> PyResult<Option<Step>> {
        Ok(match self.get_early(key, version, beta)? {
            GetOrStep::Value(value) => Some((Kind::Hit as u8, Some(value.unbind()), None)),
            GetOrStep::Step(step) => step,
        })
    }

    /// Joins the flight of a key that was just missed. `within` is the flight that the caller computes for.
    pub(crate) fn join(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        stale: f64,
        within: Option<&Flight>,
    ) -> PyResult<Step> {
        self.context.keys().with_key(key, version, |key| {
            let join = || self.entries().join(&self.context, key, stale);
            let joined = match within {
                Some(flight) => flight.id().within(join)?,
                None => join()?,
            };
            self.step(key, joined)
        })
    }

    /// Starts a flight even if the key has a value or a flight.
    pub(crate) fn overtake(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Step> {
        self.context.keys().with_key(key, version, |key| {
            let lead = self.entries().overtake(&self.context, key)?;
            self.step(key, Joined::Leader(lead, None))
        })
    }

    /// Stores what a leader has computed; returns whether it was stored.
    pub(crate) fn complete(&self, flight: &Flight, computed: &Computed<'_, 'py>) -> PyResult<bool> {
        self.entries().complete(&self.context, flight, computed)
    }

    /// Hands a value to the waiters without storing it.
    pub(crate) fn finish(&self, flight: &Flight, value: Any<'_, 'py>) -> PyResult<()> {
        let lead = flight.take(self.context.py())?;
        lead.finish(value, self.context.settings.pickle_protocol)
    }

    /// Returns the outcome of a wait for Python, or raises the leader's exception.
    pub(crate) fn outcome(&self, wait: &FlightWait, outcome: Option<Outcome>) -> PyResult<Option<Step>> {
        match outcome {
            None => Ok(None),
            Some(Outcome::Joined(joined)) => self.step(&wait.key, joined).map(Some),
            Some(Outcome::Raised(raised)) => Err(raised),
        }
    }

    /// Ends a wait: returns what the waiter has waited for, or lets it compute if that is not there yet.
    pub(crate) fn lead(&self, wait: &FlightWait, overtakes: bool) -> PyResult<Step> {
        let joined = match wait.stop(self.context.py(), overtakes)? {
            Stopped::Found(Outcome::Joined(joined)) => joined,
            Stopped::Found(Outcome::Raised(raised)) => return Err(raised),
            #[cfg(shared)]
            Stopped::Claim(held) => self
                .entries()
                .overtake_held(&self.context, &wait.key, held.flight)?,
        };
        self.step(&wait.key, joined)
    }

    /// Counts an event. Fails with `ValueError` for an unknown one.
    pub(crate) fn count(&self, what: &str) -> PyResult<()> {
        let event = match what {
            "stale_hits" => FlightEvent::StaleHit,
            "refreshes" => FlightEvent::Refresh,
            "failed_refreshes" => FlightEvent::FailedRefresh,
            _ => {
                let py = self.context.py();
                return Err(error::<PyValueError>(
                    py,
                    format_args!("there is no count {what:?}"),
                ));
            }
        };
        self.entries().count_flight(event);
        Ok(())
    }

    fn step(&self, key: &[u8], joined: Joined) -> PyResult<Step> {
        flight_step(self.context.py(), key, joined)
    }
}

/// Returns what a caller of ``get_or_set`` has found, for Python.
pub(crate) fn flight_step(py: Python<'_>, key: &[u8], joined: Joined) -> PyResult<Step> {
    let object = |made: PyResult<Py<PyAny>>| made.map(Some);
    Ok(match joined {
        Joined::Hit(value) => (Kind::Hit as u8, Some(value), None),
        Joined::Stale(value) => (Kind::Stale as u8, Some(value), None),
        Joined::Leader(lead, old) => {
            let flight = Py::new(py, Flight::new(lead, owned(key)?));
            let flight = object(flight.map(Py::into_any))?;
            (Kind::Lead as u8, flight, old.map(|old| (old, true)))
        }
        Joined::Waiter(wait) => {
            let wait = Py::new(py, FlightWait::new(wait, owned(key)?));
            (Kind::Wait as u8, object(wait.map(Py::into_any))?, None)
        }
        Joined::Again => (Kind::Again as u8, None, None),
    })
}

/// Returns what the request for a lock has found, for Python. A leader keeps its flight.
#[cfg(unix)]
pub(crate) fn locked_step(locked: Locked) -> Step {
    match locked {
        Locked::Own => (Kind::Lead as u8, None, None),
        Locked::Other => (Kind::Wait as u8, None, None),
        Locked::Value(value) => (Kind::Hit as u8, Some(value), None),
    }
}
