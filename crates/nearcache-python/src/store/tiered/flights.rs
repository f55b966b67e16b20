//! Single flight for the entries of a server: joining the flight of a key, as a plan.

use std::sync::atomic::Ordering::Relaxed;

use nearcache_remote::Request;
use pyo3::prelude::*;

use super::plan::{Plan, Step};
use super::reads::Read;
use super::requests::{Reader, on_key, single};
use super::stale_value::StaleValue;
use super::tiered_store::TieredStore;
use crate::context::CallContext;
use crate::memory::concat;
#[cfg(shared)]
use crate::store::flights::MachineFlightId;
use crate::store::flights::{Joined, Lead};

/// What a key has that was missed: its value, if that was stored since, or its old value.
#[derive(Default)]
struct Reread {
    value: Option<Py<PyAny>>,
    old: Option<Py<PyAny>>,
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
        Ok(plan.map(move |py, found| match found {
            Reread {
                value: Some(value), ..
            } => {
                lead.finish(value.bind(py), protocol)?;
                Ok(Joined::Hit(value))
            }
            Reread { value: None, old } => {
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
    ) -> PyResult<Plan<Reread>> {
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
                        Some(old) if value.is_none() => self.old_value(py, &key, &old, stale)?,
                        _ => None,
                    };
                    Ok(Reread { value, old })
                }
                Err(error) => self.on_failure(py, &error, || Ok(Reread::default())),
            }
        }))
    }

    /// Reads the old value of a key.
    fn plan_stale(&'static self, key: &[u8], stale: f64) -> PyResult<Plan<Option<Py<PyAny>>>> {
        let mut request = Request::default();
        self.ask_stale(key, &mut request)?;
        let key = concat([key])?;
        Ok(Plan::new(request, move |py, outcome| {
            match outcome.and_then(|replies| StaleValue::read(&mut Reader::new(replies))) {
                Ok(old) => old.map_or(Ok(None), |old| self.old_value(py, &key, &old, stale)),
                Err(error) => self.on_failure(py, &error, || Ok(None)),
            }
        }))
    }

    /// Starts a flight even if the key has a value or a flight.
    pub(super) fn overtake_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
    ) -> PyResult<Lead> {
        let mut lead = self.flights.overtake(context, key)?;
        lead.remote.replaces = true;
        self.flights.process.counts.flights.fetch_add(1, Relaxed);
        Ok(lead)
    }

    /// Starts a flight in place of the one that a waiter has waited for, unless that has ended.
    #[cfg(shared)]
    pub(super) fn overtake_held_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        held: MachineFlightId,
    ) -> PyResult<Joined> {
        let joined = self.flights.overtake_held(context, key, held)?;
        if matches!(joined, Joined::Leader(..)) {
            self.flights.process.counts.flights.fetch_add(1, Relaxed);
        }
        Ok(joined)
    }
}
