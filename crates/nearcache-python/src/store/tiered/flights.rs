//! Single flight for the entries of a server: the steps of `get_or_set`, as plans.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nearcache_remote::near::BootTime;
use nearcache_remote::{Error, Replies, Request, Route, Value};
use pyo3::prelude::*;

use super::costs::Cost;
use super::flight_lock::FlightLock;
use super::names::Beside;
use super::plan::{Plan, Step};
use super::reads::Read;
use super::requests::{Reader, on_key, single, unexpected};
use super::stale_value::{Header, StaleValue};
use super::tiered_store::TieredStore;
use crate::context::CallContext;
use crate::memory::concat;
use crate::store::flights::{EarlyRead, Flight, HeldLock, Joined, Lead, MachineFlightId, is_due};
use crate::store::near_copy::engine_time;

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
    /// Returns the plan of joining the flight of a key that was missed. An old value may be up to `stale` seconds too old.
    pub(crate) fn plan_join(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        stale: f64,
    ) -> PyResult<Step<Joined>> {
        Ok(match self.flights.join(context, key)? {
            // One that waits in a circle computes at once.
            Joined::Leader(lead, _) if self.flights.leads(key, &lead) => {
                self.plan_leader(context, key, lead, stale)?.into()
            }
            Joined::Waiter(wait) => {
                self.flights.process.counts.waits.fetch_add(1, Relaxed);
                if stale <= 0.0 {
                    return Ok(Step::Done(Joined::Waiter(wait)));
                }
                let plan = self.plan_stale(key, stale)?;
                plan.map(move |_, old| Ok(old.map_or(Joined::Waiter(wait), Joined::Stale)))
                    .into()
            }
            joined => Step::Done(joined),
        })
    }

    /// Reads the key again, because its value may have been stored since it was missed, and its old value.
    fn plan_leader(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        lead: Lead,
        stale: f64,
    ) -> PyResult<Plan<Joined>> {
        let plan = self.plan_read_for_flight(context, key, stale)?;
        let protocol = context.settings.pickle_protocol;
        Ok(plan.map(move |py, (value, old)| match value {
            Some(value) => {
                lead.finish(value.bind(py), protocol)?;
                Ok(Joined::Hit(value))
            }
            None => {
                self.flights.process.counts.flights.fetch_add(1, Relaxed);
                Ok(Joined::Leader(lead, old))
            }
        }))
    }

    /// Returns the plan of reading a key's value and its old one, without counting a hit or a miss: the caller's read did.
    fn plan_read_for_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        stale: f64,
    ) -> PyResult<Plan<(Option<Py<PyAny>>, Option<Py<PyAny>>)>> {
        let mut request = single(on_key("GET", key), key, true);
        let fill = self.begin_fill(key, &mut request);
        if stale > 0.0 {
            self.ask_stale(key, &mut request)?;
        }
        let (key, capacity) = (concat([key])?, context.settings.capacity);
        Ok(Plan::new(request, move |py, outcome| {
            let found = outcome.and_then(|replies| {
                let mut reader = Reader::new(replies);
                let read = Read::next(&mut reader, fill.is_some())?;
                let old = (stale > 0.0).then(|| StaleValue::read(&mut reader)).transpose()?;
                Ok((read, old.flatten()))
            });
            match found {
                Ok((read, old)) => {
                    let value = self.value_of(py, &key, read, fill, &capacity)?;
                    let old = match old {
                        Some(old) if value.is_none() => old.decode(py, stale)?,
                        _ => None,
                    };
                    Ok((value, old))
                }
                Err(error) => self.on_failure(py, &error, || Ok((None, None))),
            }
        }))
    }

    /// Reads the old value of a key.
    fn plan_stale(&'static self, key: &[u8], stale: f64) -> PyResult<Plan<Option<Py<PyAny>>>> {
        let mut request = Request::default();
        self.ask_stale(key, &mut request)?;
        Ok(Plan::new(request, move |py, outcome| {
            match outcome.and_then(|replies| StaleValue::read(&mut Reader::new(replies))) {
                Ok(old) => old.map_or(Ok(None), |old| old.decode(py, stale)),
                Err(error) => self.on_failure(py, &error, || Ok(None)),
            }
        }))
    }

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
                    Err(error) => self.on_failure(py, &error, || Ok(Locked::Own)),
                }
            });
            return Ok(plan.into());
        }
        self.plan_lock_or_value(context, flight, lock, request)
            .map(Step::from)
    }

    /// Asks for the lock first, and then for the value: so whoever gets the lock sees what its last holder has stored.
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
                Err(error) => self.on_failure(py, &error, || Ok(Locked::Own)),
            }
        }))
    }

    /// Starts a flight whatever the key has now.
    pub(super) fn overtake_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        flight: Option<MachineFlightId>,
    ) -> PyResult<Lead> {
        let mut lead = self.flights.overtake(context, key, flight)?;
        lead.remote.replaces = flight.is_none();
        self.flights.process.counts.flights.fetch_add(1, Relaxed);
        Ok(lead)
    }

    /// Returns the plan of reading a value together with its cost, for [`early`](Self::early).
    pub(crate) fn plan_get_with_cost(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
    ) -> PyResult<Step<Option<Py<PyAny>>>> {
        if let Some(value) = self.get_near(context.py(), key)? {
            // The process that stored the value, or has read it here, knows its cost. The server is not asked for it.
            return Ok(Step::Done(Some(value)));
        }
        let mut request = single(on_key("GET", key), key, true);
        let fill = self.begin_fill(key, &mut request);
        let mut header = on_key("GETRANGE", &self.name(key, Beside::Stale)?);
        header.arg(0).arg(Header::LEN - 1);
        request.add(header, Route::key(key), true);
        if fill.is_none() {
            request.add(on_key("PTTL", key), Route::key(key), true);
        }
        let sent = BootTime::now();
        let (key, capacity) = (concat([key])?, context.settings.capacity);
        let plan = Plan::new(request, move |py, outcome| {
            let found = outcome.and_then(|replies| read_with_cost(replies, fill.is_some()));
            match found {
                Ok((read, cost_micros)) => {
                    let left = read.ttl.and_then(|millis| u64::try_from(millis).ok());
                    if let Some(left) = left {
                        let end = sent.after(Some(Duration::from_millis(left)));
                        self.costs.note(&key, Cost::new(cost_micros, end));
                    }
                    self.finish_get(py, &key, read, fill, &capacity)
                }
                Err(error) => self.on_failure(py, &error, || self.stale(py, &key)),
            }
        });
        Ok(plan.into())
    }

    /// Decides whether the caller that has read a value computes the next one already.
    pub(crate) fn early(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        value: Py<PyAny>,
        beta: f64,
    ) -> PyResult<EarlyRead> {
        let now = BootTime::now();
        let due = |cost: Cost| is_due(engine_time(now), engine_time(cost.end(now)), cost.micros, beta);
        let Some(cost) = self.costs.get(key).filter(|cost| due(*cost)) else {
            return Ok(EarlyRead::Value(value));
        };
        let Joined::Leader(mut lead, _) = self.flights.join(context, key)? else {
            return Ok(EarlyRead::Value(value));
        };
        // If this process has stored the next value since, this flight is for a later one: it is dropped.
        if !self.flights.leads(key, &lead) || self.costs.get(key) != Some(cost) {
            return Ok(EarlyRead::Value(value));
        }
        lead.remote.replaces = true;
        self.flights.process.counts.flights.fetch_add(1, Relaxed);
        Ok(EarlyRead::Due(value, lead))
    }
}

/// Reads a value and what computing it took.
fn read_with_cost(replies: Replies, is_filling: bool) -> Result<(Read, u32), Error> {
    let mut reader = Reader::new(replies);
    let mut read = Read::next(&mut reader, is_filling)?;
    let header = match reader.value()? {
        Value::BulkString(bytes) => Header::decode(&bytes),
        other => return Err(unexpected(&other, "a string")),
    };
    if !is_filling {
        read.ttl = Some(reader.number()?);
    }
    Ok((read, header.map_or(0, |header| header.cost_micros)))
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
