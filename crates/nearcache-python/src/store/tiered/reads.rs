//! Reading values.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nearcache::local::Capacity;
use nearcache_remote::near::BootTime;
use nearcache_remote::{Error, Reply, Request, Route, Value, cmd};
use pyo3::prelude::*;

use super::failure::{self, OnError};
use super::near::Fill;
use super::plan::{Plan, Step};
use super::requests::{Answer, NO_EXPIRY, Reader, RemoteEntry, on_key, single, unexpected};
use super::tiered_store::TieredStore;
use super::wire;
use crate::context::CallContext;

/// What a read found on the server.
pub(super) struct Read {
    answer: Answer,
    /// What PTTL returned, if it was asked for.
    pub(super) ttl: Option<i64>,
}

impl TieredStore {
    /// Reads a value: from a near copy that is valid, unless `fresh`, else from the server.
    #[inline]
    pub(crate) fn read(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        fresh: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        if !fresh && let Some(value) = self.get_near(context.py(), key)? {
            return Ok(Some(value));
        }
        self.get_remote(context, key)
    }

    /// Returns the plan of [`read`](Self::read).
    pub(crate) fn plan_get(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        fresh: bool,
    ) -> PyResult<Step<Option<Py<PyAny>>>> {
        if !fresh && let Some(value) = self.get_near(context.py(), key)? {
            return Ok(Step::Done(Some(value)));
        }
        Ok(self.plan_remote_get(context, key).into())
    }

    #[inline]
    pub(super) fn get_near(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        let Some(near) = &self.near else {
            return Ok(None);
        };
        match near.open_gate() {
            Some(gate) => {
                let found = near.get(py, key, gate)?;
                if found.is_some() && near.is_shared() {
                    // A copy in this process has its cost.
                    self.count_saved(key);
                }
                Ok(found)
            }
            None => Ok(None),
        }
    }

    /// Counts what a hit has saved, if this process knows the cost.
    fn count_saved(&self, key: &[u8]) {
        if let Some(cost) = self.costs.get(key) {
            self.flights.process.counts.count_saved(cost.micros);
        }
    }

    #[inline(never)]
    fn get_remote(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        self.run(context.py(), self.plan_remote_get(context, key).into())
    }

    fn plan_remote_get(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> Plan<Option<Py<PyAny>>> {
        let mut request = single(on_key("GET", key), key, true);
        let fill = self.begin_fill(key, &mut request);
        let (key, capacity) = (key.to_vec(), context.settings.capacity);
        Plan::new(request, move |py, outcome| {
            let found = outcome.and_then(|replies| Read::next(&mut Reader::new(replies), fill.is_some()));
            match found {
                Ok(read) => self.finish_get(py, &key, read, fill, &capacity),
                Err(error) => self.on_failure(py, &error, || self.stale(py, &key)),
            }
        })
    }

    /// Adds what the near tier asks the server in the same request.
    pub(super) fn begin_fill(&self, key: &[u8], request: &mut Request) -> Option<Fill> {
        let near = self.near.as_ref()?;
        request.add(on_key("PTTL", key), Route::key(key), true);
        Some(near.begin_fill(key))
    }

    /// Counts a hit or a miss, and returns the value.
    pub(super) fn finish_get(
        &self,
        py: Python<'_>,
        key: &[u8],
        read: Read,
        fill: Option<Fill>,
        capacity: &Capacity,
    ) -> PyResult<Option<Py<PyAny>>> {
        if read.answer.value == Value::Nil {
            self.counts.misses.fetch_add(1, Relaxed);
            return Ok(None);
        }
        self.counts.hits.fetch_add(1, Relaxed);
        self.count_saved(key);
        self.value_of(py, key, read, fill, capacity)
    }

    /// Returns the value that was read, and keeps a copy of it.
    pub(super) fn value_of(
        &self,
        py: Python<'_>,
        key: &[u8],
        read: Read,
        fill: Option<Fill>,
        capacity: &Capacity,
    ) -> PyResult<Option<Py<PyAny>>> {
        let ttl = read.time_to_live();
        let stored = match read.answer.value {
            Value::Nil => return Ok(None),
            Value::BulkString(stored) => stored,
            other => return Err(failure::to_exception(py, &unexpected(&other, "a value"))),
        };
        let value = wire::decode(py, &stored)?;
        if let (Some(near), Some(fill), Some(ttl)) = (&self.near, fill, ttl) {
            let cost = self.costs.renew(key, fill.sent.after(Some(ttl)));
            let entry = RemoteEntry {
                key,
                stored: &stored,
                value: value.bind(py),
                ttl,
                server: read.answer.server,
                cost_micros: cost.map_or(0, |cost| cost.micros),
            };
            near.fill(&entry, fill, capacity)?;
        }
        Ok(Some(value))
    }

    /// Returns a near copy of any age, if `ON_ERROR` is "stale" and there is one.
    pub(super) fn stale(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        match &self.near {
            Some(near) if self.on_error == OnError::Stale => near.get_stale(py, key),
            _ => Ok(None),
        }
    }

    /// Reads the values of several keys; the result has one element for each key.
    pub(crate) fn plan_get_many(
        &'static self,
        context: &CallContext<'_, '_>,
        keys: Vec<Vec<u8>>,
    ) -> PyResult<Step<Vec<Option<Py<PyAny>>>>> {
        let py = context.py();
        let mut values = self.get_many_near(py, &keys)?;
        let missing: Vec<usize> = (0..keys.len()).filter(|&at| values[at].is_none()).collect();
        if missing.is_empty() {
            return Ok(Step::Done(values));
        }
        let mut request = self.values_request(missing.iter().map(|&at| keys[at].as_slice()));
        let fills: Vec<Option<Fill>> = missing
            .iter()
            .map(|&at| self.begin_fill(&keys[at], &mut request))
            .collect();
        let capacity = context.settings.capacity;
        let plan = Plan::new(request, move |py, outcome| {
            let reads = outcome.and_then(|replies| self.read_values(replies, missing.len()));
            match reads {
                Ok(reads) => {
                    for ((read, fill), at) in reads.into_iter().zip(fills).zip(missing) {
                        values[at] = self.finish_get(py, &keys[at], read, fill, &capacity)?;
                    }
                    Ok(values)
                }
                Err(error) => self.on_failure(py, &error, || {
                    for at in missing {
                        values[at] = self.stale(py, &keys[at])?;
                    }
                    Ok(values)
                }),
            }
        });
        Ok(plan.into())
    }

    /// Returns the values of the near copies that may be served; the result has one element for each key.
    fn get_many_near(&self, py: Python<'_>, keys: &[Vec<u8>]) -> PyResult<Vec<Option<Py<PyAny>>>> {
        // One gate for all: what was current when the call began may be returned.
        match self
            .near
            .as_ref()
            .and_then(|near| Some((near, near.open_gate()?)))
        {
            Some((near, gate)) => keys.iter().map(|key| near.get(py, key, gate)).collect(),
            None => Ok(keys.iter().map(|_| None).collect()),
        }
    }

    /// Returns the request for several values: one MGET, or a GET each where keys are on several servers.
    fn values_request<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Request {
        let mut request = Request::default();
        if self.is_cluster() {
            for key in keys {
                request.add(on_key("GET", key), Route::key(key), true);
            }
        } else {
            let mut command = cmd("MGET");
            for key in keys {
                command.arg(key);
            }
            request.add(command, Route::Primary(0), true);
        }
        request
    }

    /// Reads the replies to [`values_request`](Self::values_request) and the PTTLs after it.
    fn read_values(&self, replies: Vec<Reply>, count: usize) -> Result<Vec<Read>, Error> {
        let mut reader = Reader::new(replies);
        let mut found: Vec<Answer> = Vec::with_capacity(count);
        if self.is_cluster() {
            for _ in 0..count {
                found.push(reader.answer()?);
            }
        } else {
            let Answer { value, server } = reader.answer()?;
            let Value::Array(values) = value else {
                return Err(unexpected(&value, "an array"));
            };
            found.extend(values.into_iter().map(|value| Answer { value, server }));
        }
        found
            .into_iter()
            .map(|answer| {
                let ttl = self.near.is_some().then(|| reader.number()).transpose()?;
                Ok(Read { answer, ttl })
            })
            .collect()
    }

    /// Returns whether the server has a key.
    pub(crate) fn plan_contains(&'static self, key: &[u8]) -> Step<bool> {
        let request = single(on_key("EXISTS", key), key, true);
        Plan::new(request, move |py, outcome| {
            let count = outcome.and_then(|replies| Reader::new(replies).number());
            count.map_or_else(
                |error| self.on_failure(py, &error, || Ok(false)),
                |count| Ok(count > 0),
            )
        })
        .into()
    }
}

impl Read {
    pub(super) fn next(reader: &mut Reader, with_ttl: bool) -> Result<Self, Error> {
        let answer = reader.answer()?;
        let ttl = with_ttl.then(|| reader.number()).transpose()?;
        Ok(Self { answer, ttl })
    }

    /// Returns for how long the entry lives, `Duration::MAX` for ever. `None` if PTTL was not asked for, or found no entry.
    fn time_to_live(&self) -> Option<Duration> {
        match self.ttl? {
            NO_EXPIRY => Some(Duration::MAX),
            millis => u64::try_from(millis).ok().map(Duration::from_millis),
        }
    }

    /// Returns when the entry expires, not too late, if the request was sent at `sent`.
    pub(super) fn end(&self, sent: BootTime) -> Option<BootTime> {
        self.time_to_live().map(|left| sent.after(Some(left)))
    }
}
