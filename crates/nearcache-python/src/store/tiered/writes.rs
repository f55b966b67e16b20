//! Writing and deleting values, and adding to them.

use std::sync::atomic::Ordering::Relaxed;

use nearcache::Condition;
use nearcache_remote::{Cmd, Error, Replies, Request, Route, Value, cmd};
use pyo3::prelude::*;

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

impl TieredStore {
    /// Returns the plan of a write: the near copies of its keys are invalidated now, and again when it is over.
    pub(super) fn plan_write<T: 'static>(
        &'static self,
        keys: Vec<Vec<u8>>,
        request: Request,
        read: impl FnOnce(Python<'_>, &mut Reader) -> Result<T, Error> + Send + 'static,
        on_error: impl FnOnce() -> PyResult<T> + Send + 'static,
    ) -> Plan<T> {
        let written = Written { store: self, keys };
        written.invalidate();
        Plan::new(request, move |py, outcome: Result<Replies, Error>| {
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
        let command = match context.lifetime(timeout)? {
            Lifetime::Expired => return Ok(self.plan_set_expired(key, condition)),
            Lifetime::Forever => set_command(key, &stored, None, condition),
            Lifetime::Millis(millis) => set_command(key, &stored, Some(millis), condition),
        };
        let request = single(command, key, condition == Condition::Always);
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
            .plan_write(vec![key.to_vec()], request, read, on_error)
            .into())
    }

    /// Writes a value that expires at once: the old one is deleted, if the condition holds.
    fn plan_set_expired(&'static self, key: &[u8], condition: Condition) -> Step<SetOutcome> {
        let name = if condition == Condition::IfAbsent {
            "EXISTS"
        } else {
            "UNLINK"
        };
        let request = single(on_key(name, key), key, condition != Condition::IfPresent);
        let read = move |_: Python<'_>, reader: &mut Reader| {
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
        self.plan_write(vec![key.to_vec()], request, read, on_error)
            .into()
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
        let lifetime = context.lifetime(timeout)?;
        let (mut request, mut keys) = (Request::default(), Vec::with_capacity(entries.len()));
        for (key, value) in entries {
            let stored = wire::encode(&value, context.settings.pickle_protocol)?;
            let command = match lifetime {
                Lifetime::Expired => on_key("UNLINK", &key),
                Lifetime::Forever => set_command(&key, &stored, None, Condition::Always),
                Lifetime::Millis(millis) => set_command(&key, &stored, Some(millis), Condition::Always),
            };
            request.add(command, Route::key(&key), true);
            keys.push(key);
        }
        let count = keys.len();
        let read = move |_: Python<'_>, reader: &mut Reader| {
            (0..count).try_for_each(|_| reader.value().map(drop))?;
            self.counts.sets.fetch_add(count as u64, Relaxed);
            Ok(())
        };
        Ok(self.plan_write(keys, request, read, || Ok(())).into())
    }

    pub(crate) fn plan_delete(&'static self, key: &[u8]) -> Step<bool> {
        let step = self.plan_delete_many(vec![key.to_vec()]);
        match step {
            Step::Done(count) => Step::Done(count > 0),
            Step::Remote(plan) => plan.map(|_, count| Ok(count > 0)).into(),
        }
    }

    /// Deletes several entries; returns how many there were.
    pub(crate) fn plan_delete_many(&'static self, keys: Vec<Vec<u8>>) -> Step<u64> {
        if keys.is_empty() {
            return Step::Done(0);
        }
        let request = self.unlink_request(&keys);
        let count = request.commands.len();
        let read = move |_: Python<'_>, reader: &mut Reader| {
            let mut deleted = 0;
            for _ in 0..count {
                deleted += u64::try_from(reader.number()?).unwrap_or(0);
            }
            self.counts.deletes.fetch_add(deleted, Relaxed);
            Ok(deleted)
        };
        self.plan_write(keys, request, read, || Ok(0)).into()
    }

    /// Returns one command for all keys, or a command each where they are on several servers.
    fn unlink_request(&self, keys: &[Vec<u8>]) -> Request {
        let mut request = Request::default();
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
        request
    }

    /// Adds to a number, atomically; returns the sum, or `None` if the key has no value.
    pub(crate) fn plan_incr(
        &'static self,
        key: &[u8],
        delta: Any<'_, '_>,
    ) -> PyResult<Step<Option<Py<PyAny>>>> {
        let mut command = script(INCR, key);
        command.arg(wire::delta(delta)?);
        let read = |_: Python<'_>, reader: &mut Reader| match reader.value()? {
            Value::Nil => Ok(None),
            Value::Int(sum) => Ok(Some(sum)),
            other => Err(unexpected(&other, "a number")),
        };
        let plan = self.plan_write(vec![key.to_vec()], single(command, key, false), read, || Ok(None));
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
}

impl Written {
    fn invalidate(&self) {
        self.keys.iter().for_each(|key| self.store.invalidate(key));
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.invalidate();
    }
}

/// Returns the command that stores a value, for ever or for so many milliseconds.
fn set_command(key: &[u8], stored: &[u8], millis: Option<u64>, condition: Condition) -> Cmd {
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
