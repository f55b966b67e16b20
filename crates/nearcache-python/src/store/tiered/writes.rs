//! Writing and deleting values, and adding to them.

use std::sync::atomic::Ordering::Relaxed;

use nearcache::Condition;
use nearcache_remote::{Arg, Cmd, Error, Replies, Request, Route, Value, cmd};
use pyo3::prelude::*;

use super::names::Beside;
use super::plan::{Plan, Step};
use super::requests::{Reader, on_key, script, single, unexpected};
use super::tiered_store::TieredStore;
use super::wire;
use crate::arguments::{Any, Argument};
use crate::context::CallContext;
use crate::expiry::Lifetime;
use crate::objects::int;
use crate::store::entry_store::SetOutcome;

/// Adds to a number if the key has one.
const INCR: &str = "if redis.call('EXISTS', KEYS[1]) == 0 then return false end \
                    return redis.call('INCRBY', KEYS[1], ARGV[1])";

/// Stores a value if the condition among its arguments holds, and then deletes the side key.
const SET_AND_UNLINK: &str = "local done = redis.call('SET', KEYS[1], unpack(ARGV)) \
                              if done then redis.call('UNLINK', KEYS[2]) end return done";

impl TieredStore {
    /// Returns the plan of a write: the near copies of its keys are invalidated, and their flights end, now, and again when it
    /// is over.
    pub(super) fn plan_write<T: 'static>(
        &'static self,
        py: Python<'_>,
        keys: Vec<Vec<u8>>,
        request: Request,
        read: impl FnOnce(Python<'_>, &mut Reader) -> Result<T, Error> + Send + 'static,
        on_error: impl FnOnce() -> PyResult<T> + Send + 'static,
    ) -> Plan<T> {
        let written = Written {
            store: self,
            keys,
            ends_flights: true,
        };
        written.end_flights(py);
        self.plan_written(written, request, read, on_error)
    }

    /// Returns the plan of the write of a leader, whose flight goes on.
    pub(super) fn plan_flight_write<T: 'static>(
        &'static self,
        key: Vec<u8>,
        request: Request,
        read: impl FnOnce(Python<'_>, &mut Reader) -> Result<T, Error> + Send + 'static,
        on_error: impl FnOnce() -> PyResult<T> + Send + 'static,
    ) -> Plan<T> {
        let written = Written {
            store: self,
            keys: vec![key],
            ends_flights: false,
        };
        self.plan_written(written, request, read, on_error)
    }

    fn plan_written<T: 'static>(
        &'static self,
        written: Written,
        request: Request,
        read: impl FnOnce(Python<'_>, &mut Reader) -> Result<T, Error> + Send + 'static,
        on_error: impl FnOnce() -> PyResult<T> + Send + 'static,
    ) -> Plan<T> {
        written.invalidate();
        Plan::new(request, move |py, outcome: Result<Replies, Error>| {
            written.end_flights(py);
            drop(written);
            let result = outcome.and_then(|replies| read(py, &mut Reader::new(replies)));
            result.or_else(|error| self.on_failure(py, &error, on_error))
        })
    }

    pub(crate) fn plan_set<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<Step<SetOutcome>> {
        let stored = wire::encode(value, context.settings.pickle_protocol)?;
        let millis = match context.lifetime(timeout, context.settings.jitter)? {
            Lifetime::Expired => return self.plan_set_expired(context.py(), key, condition),
            Lifetime::Forever => None,
            Lifetime::Millis(millis) => Some(millis),
        };
        let request = self.set_request(key, set_command(key, &stored, millis, condition), condition)?;
        let read = |_: Python<'_>, reader: &mut Reader| {
            Ok(if reader.is_done()? {
                self.counts.sets.fetch_add(1, Relaxed);
                SetOutcome::Stored
            } else {
                SetOutcome::ConditionFailed
            })
        };
        let on_error = || Ok(SetOutcome::ConditionFailed);
        Ok(self
            .plan_write(context.py(), vec![key.to_vec()], request, read, on_error)
            .into())
    }

    /// Returns the request for a `SET`. If this cache keeps side keys, that of the key is deleted with it: its value is older.
    fn set_request(&self, key: &[u8], set: Cmd, condition: Condition) -> PyResult<Request> {
        if !self.has_side_keys.load(Relaxed) {
            return Ok(single(set, key, condition == Condition::Always));
        }
        let side = self.name(key, Beside::Stale)?;
        if condition == Condition::Always {
            let mut request = single(set, key, true);
            request.add(on_key("UNLINK", &side), Route::key(key), true);
            return Ok(request);
        }
        let mut command = cmd("EVAL");
        command.arg(SET_AND_UNLINK).arg(2).arg(key).arg(side);
        for argument in set.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        Ok(single(command, key, false))
    }

    /// Writes a value that expires at once: the old one is deleted, if the condition holds.
    pub(super) fn plan_set_expired(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        condition: Condition,
    ) -> PyResult<Step<SetOutcome>> {
        let name = if condition == Condition::IfAbsent {
            "EXISTS"
        } else {
            "UNLINK"
        };
        let mut request = Request::default();
        if condition != Condition::IfAbsent {
            self.unlink_beside(&[key], Route::key(key), &mut request)?;
        }
        let beside = request.commands.len();
        let is_repeatable = condition != Condition::IfPresent;
        request.add(on_key(name, key), Route::key(key), is_repeatable);
        let read = move |_: Python<'_>, reader: &mut Reader| {
            (0..beside).try_for_each(|_| reader.value().map(drop))?;
            let existed = reader.number()? > 0;
            let is_stored = match condition {
                Condition::Always => true,
                Condition::IfAbsent => !existed,
                Condition::IfPresent => existed,
            };
            Ok(if is_stored {
                SetOutcome::Stored
            } else {
                SetOutcome::ConditionFailed
            })
        };
        let on_error = || Ok(SetOutcome::ConditionFailed);
        Ok(self
            .plan_write(py, vec![key.to_vec()], request, read, on_error)
            .into())
    }

    /// Writes several values, which live equally long.
    pub(crate) fn plan_set_many<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        entries: Vec<(Vec<u8>, Bound<'py, PyAny>)>,
        timeout: Argument<'_, 'py>,
    ) -> PyResult<Step<()>> {
        if entries.is_empty() {
            return Ok(Step::Done(()));
        }
        let (mut request, mut keys) = (Request::default(), Vec::with_capacity(entries.len()));
        let has_side_keys = self.has_side_keys.load(Relaxed);
        for (key, value) in entries {
            let stored = wire::encode(&value, context.settings.pickle_protocol)?;
            let lifetime = context.lifetime(timeout, context.settings.jitter)?;
            if has_side_keys || matches!(lifetime, Lifetime::Expired) {
                // First, as for a deletion.
                self.unlink_beside(&[&key], Route::key(&key), &mut request)?;
            }
            let command = match lifetime {
                Lifetime::Expired => on_key("UNLINK", &key),
                Lifetime::Forever => set_command(&key, &stored, None, Condition::Always),
                Lifetime::Millis(millis) => set_command(&key, &stored, Some(millis), Condition::Always),
            };
            request.add(command, Route::key(&key), true);
            keys.push(key);
        }
        let (count, replies) = (keys.len(), request.commands.len());
        let read = move |_: Python<'_>, reader: &mut Reader| {
            (0..replies).try_for_each(|_| reader.value().map(drop))?;
            self.counts.sets.fetch_add(count as u64, Relaxed);
            Ok(())
        };
        Ok(self
            .plan_write(context.py(), keys, request, read, || Ok(()))
            .into())
    }

    pub(crate) fn plan_delete(&'static self, py: Python<'_>, key: &[u8]) -> PyResult<Step<bool>> {
        let step = self.plan_delete_many(py, vec![key.to_vec()])?;
        step.map(py, |_, count| Ok(count > 0))
    }

    /// Deletes several entries, and what the keys have beside them; returns how many entries there were.
    pub(crate) fn plan_delete_many(&'static self, py: Python<'_>, keys: Vec<Vec<u8>>) -> PyResult<Step<u64>> {
        if keys.is_empty() {
            return Ok(Step::Done(0));
        }
        // First, so that a leader of another machine, whose lock this deletes, does not store between the two.
        let mut request = self.unlink_beside_request(&keys)?;
        let beside = request.commands.len();
        self.unlink(&keys, &mut request);
        let count = request.commands.len() - beside;
        let read = move |_: Python<'_>, reader: &mut Reader| {
            (0..beside).try_for_each(|_| reader.value().map(drop))?;
            let mut deleted = 0;
            for _ in 0..count {
                deleted += u64::try_from(reader.number()?).unwrap_or(0);
            }
            self.counts.deletes.fetch_add(deleted, Relaxed);
            Ok(deleted)
        };
        Ok(self.plan_write(py, keys, request, read, || Ok(0)).into())
    }

    /// Returns the commands that delete what several keys have beside their entries.
    fn unlink_beside_request(&self, keys: &[Vec<u8>]) -> PyResult<Request> {
        let mut request = Request::default();
        if self.is_cluster() {
            for key in keys {
                self.unlink_beside(&[key], Route::key(key), &mut request)?;
            }
        } else {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            self.unlink_beside(&keys, Route::Primary(0), &mut request)?;
        }
        Ok(request)
    }

    /// Adds one command that deletes all keys, or a command each where they are on several servers.
    pub(super) fn unlink(&self, keys: &[Vec<u8>], request: &mut Request) {
        if self.is_cluster() {
            for key in keys {
                request.add(on_key("UNLINK", key), Route::key(key), true);
            }
        } else {
            let mut command = cmd("UNLINK");
            for key in keys {
                command.arg(key);
            }
            request.add(command, Route::Primary(0), true);
        }
    }

    /// Adds to a number, atomically; returns the sum, or `None` if the key has no value.
    pub(crate) fn plan_incr(
        &'static self,
        key: &[u8],
        delta: Any<'_, '_>,
    ) -> PyResult<Step<Option<Py<PyAny>>>> {
        let py = delta.py();
        let mut command = script(INCR, key);
        command.arg(wire::delta(delta)?);
        let mut request = single(command, key, false);
        if self.has_side_keys.load(Relaxed) {
            let side = self.name(key, Beside::Stale)?;
            request.add(on_key("UNLINK", &side), Route::key(key), true);
        }
        let read = |_: Python<'_>, reader: &mut Reader| match reader.value()? {
            Value::Nil => Ok(None),
            Value::Int(sum) => Ok(Some(sum)),
            other => Err(unexpected(&other, "a number")),
        };
        let plan = self.plan_write(py, vec![key.to_vec()], request, read, || Ok(None));
        let to_python = |py: Python<'_>, sum: Option<i64>| {
            sum.map(|sum| Ok(int(py, sum)?.into_any().unbind())).transpose()
        };
        Ok(plan.map(to_python).into())
    }
}

/// The keys of a write. When it is dropped, their near copies are invalidated, whatever came of the write: one whose reply
/// was lost, or whose caller was cancelled, may have been executed.
struct Written {
    store: &'static TieredStore,
    keys: Vec<Vec<u8>>,
    /// Not those of a leader's own write.
    ends_flights: bool,
}

impl Written {
    fn invalidate(&self) {
        self.keys.iter().for_each(|key| self.store.invalidate(key));
    }

    /// Ends the flights of the keys, whose values may be computed from what was there before, and forgets the costs.
    fn end_flights(&self, py: Python<'_>) {
        if self.ends_flights {
            for key in &self.keys {
                self.store.flights.end(py, key);
                self.store.costs.forget(key);
            }
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.invalidate();
    }
}

/// Returns the command that stores a value, for ever or for so many milliseconds.
pub(super) fn set_command(key: &[u8], stored: &[u8], millis: Option<u64>, condition: Condition) -> Cmd {
    const MILLIS_PER_SECOND: u64 = 1000;
    let mut command = Cmd::with_capacity(6, key.len() + stored.len() + 32);
    command.arg("SET").arg(key).arg(stored);
    match millis {
        None => {}
        // As Django's RedisCache writes it.
        Some(millis) if millis % MILLIS_PER_SECOND == 0 => {
            command.arg("EX").arg(millis / MILLIS_PER_SECOND);
        }
        Some(millis) => {
            command.arg("PX").arg(millis);
        }
    }
    match condition {
        Condition::Always => {}
        Condition::IfAbsent => {
            command.arg("NX");
        }
        Condition::IfPresent => {
            command.arg("XX");
        }
    }
    command
}
