//! Asking the server which machine computes (`distributed=True`).

use std::time::Duration;

use nearcache_remote::{Request, Route};
use pyo3::prelude::*;

use super::flight_lock::FlightLock;
use super::names::Beside;
use super::plan::{Plan, Step};
use super::reads::Read;
use super::requests::{Reader, on_key};
use super::tiered_store::TieredStore;
use crate::context::CallContext;
use crate::memory::concat;
use crate::store::flights::{Flight, HeldLock, Lead};

/// What the request for a lock on the server found.
pub(crate) enum Locked {
    /// This machine computes.
    Own,
    /// Another machine does.
    Other,
    /// There is a value. The waiters of this process have it.
    Value(Py<PyAny>),
}

impl TieredStore {
    /// Returns the plan of asking the server whether this machine computes, for a flight that this process leads.
    ///
    /// `overtakes` takes the lock from the machine that has it, whose value is not stored then.
    pub(crate) fn plan_lock_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Bound<'_, Flight>,
        token: &str,
        timeout: Duration,
        overtakes: bool,
    ) -> PyResult<Step<Locked>> {
        let (py, key) = (context.py(), &flight.get().key);
        let (leads, replaces) = flight
            .get()
            .with_lead(py, |lead| (self.flights.leads(key, lead), lead.remote.replaces))?;
        if !leads {
            return Ok(Step::Done(Locked::Own));
        }
        // Before the request, so that it is released if nobody waits for the reply.
        let lock = FlightLock::new(self, self.name(key, Beside::Lock)?, token, timeout);
        let request = lock.request(overtakes);
        let flight = flight.clone().unbind();
        if replaces || overtakes {
            let plan = Plan::new(request, move |py, outcome| {
                let given = outcome.and_then(|replies| Reader::new(replies).is_done());
                match given {
                    Ok(given) => keep(py, flight.get(), lock, given),
                    Err(error) => self.on_failure(py, &error, || lead_alone(py, flight.get())),
                }
            });
            return Ok(plan.into());
        }
        self.plan_lock_or_value(context, flight, lock, request)
            .map(Step::from)
    }

    /// Asks for the lock first, and then for the value. So the new holder of the lock sees what its last holder has stored.
    fn plan_lock_or_value(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: Py<Flight>,
        mut lock: FlightLock,
        mut request: Request,
    ) -> PyResult<Plan<Locked>> {
        let key = concat([&flight.get().key])?;
        request.add(on_key("GET", &key), Route::key(&key), true);
        let fill = self.begin_fill(&key, &mut request);
        let (capacity, protocol) = (context.settings.capacity, context.settings.pickle_protocol);
        Ok(Plan::new(request, move |py, outcome| {
            let found = outcome.and_then(|replies| {
                let mut reader = Reader::new(replies);
                Ok((reader.is_done()?, Read::next(&mut reader, fill.is_some())?))
            });
            match found {
                Ok((given, read)) => match self.value_of(py, &key, read, fill, &capacity)? {
                    None => keep(py, flight.get(), lock, given),
                    Some(value) => {
                        if !given {
                            lock.end();
                        }
                        flight.get().take(py)?.finish(value.bind(py), protocol)?;
                        Ok(Locked::Value(value))
                    }
                },
                Err(error) => self.on_failure(py, &error, || lead_alone(py, flight.get())),
            }
        }))
    }
}

/// Lets the leader compute for this process alone, because the server cannot be reached.
fn lead_alone(py: Python<'_>, flight: &Flight) -> PyResult<Locked> {
    flight.with_lead(py, Lead::lead_alone)?;
    Ok(Locked::Own)
}

/// Keeps a lock while its flight lasts, if the server has given it.
fn keep(py: Python<'_>, flight: &Flight, mut lock: FlightLock, is_given: bool) -> PyResult<Locked> {
    if !is_given {
        lock.end();
        return Ok(Locked::Other);
    }
    lock.keep();
    flight.with_lead(py, |lead| lead.remote.lock = Some(Box::new(lock)))?;
    Ok(Locked::Own)
}
