//! Reading a value with a chance to be elected to compute the next one before it expires.

use std::sync::atomic::Ordering::Relaxed;

use nearcache_remote::near::BootTime;
use nearcache_remote::{Error, Replies, Route, Value};
use pyo3::prelude::*;

use super::costs::Cost;
use super::names::Beside;
use super::plan::{Plan, Step};
use super::reads::Read;
use super::requests::{Reader, on_key, single, unexpected};
use super::stale_value::Header;
use super::tiered_store::TieredStore;
use crate::context::CallContext;
use crate::memory::concat;
use crate::store::flights::{EarlyRead, Joined, is_due};
use crate::store::near_copy::engine_time;

impl TieredStore {
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
                Ok((read, header)) => {
                    if let Some(end) = read.end(sent) {
                        self.correct_cost(&key, header, end);
                    }
                    self.finish_get(py, &key, read, fill, &capacity)
                }
                Err(error) => self.on_failure(py, &error, || self.stale(py, &key)),
            }
        });
        Ok(plan.into())
    }

    /// Corrects what is known of the cost of a value that was read, by its header and its end.
    fn correct_cost(&self, key: &[u8], header: Option<Header>, end: BootTime) {
        match header {
            Some(Header {
                cost_micros: micros, ..
            }) => self.costs.note(key, Cost { micros, end }),
            // A value without an expiry has no header, even if it was computed.
            None if end == BootTime::NEVER => drop(self.costs.renew(key, end)),
            None => self.costs.forget(key),
        }
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
        let due = |cost: &Cost| is_due(engine_time(now), engine_time(cost.end), cost.micros, beta);
        // An end that has passed is that of an older value: this one was there a moment ago.
        let Some(cost) = self.costs.get(key).filter(|cost| now < cost.end && due(cost)) else {
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

/// Reads a value and its header, if the server has one.
fn read_with_cost(replies: Replies, is_filling: bool) -> Result<(Read, Option<Header>), Error> {
    let mut reader = Reader::new(replies);
    let mut read = Read::next(&mut reader, is_filling)?;
    let header = match reader.value()? {
        Value::BulkString(bytes) => Header::decode(&bytes),
        other => return Err(unexpected(&other, "a string")),
    };
    if !is_filling {
        read.ttl = Some(reader.number()?);
    }
    Ok((read, header))
}
