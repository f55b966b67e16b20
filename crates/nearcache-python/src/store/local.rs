//! The store in memory of this process: the engine's `RawCache` with Python's values.

use std::ops::Deref;

use nearcache::local::{self as engine, NewEntry, RawCache, Refresh};
use nearcache::{Clock, Condition, Eviction, OutOfMemory, Timestamp, UpdateError, WriteError};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::entry_store::{EntryStore, Extension, ScanPattern, ScanScope, SetOutcome, StoredKeys};
use super::flights::{Computed, EarlyRead, Flight, FlightCounts, FlightEvent, Joined, Lead, Wait, is_due};
use super::stats::Stats;
use super::weight::weight;
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::errors::error;
use crate::expiry::later;
use crate::memory::no_memory;
use crate::objects::text;
use crate::system::trim_heap;
use crate::values::{Encoded, Stored};

/// The weight from which a cleared store returns its memory to the system at once.
const WORTH_TRIMMING: u64 = 16 << 20;

fn new_entry(key: &[u8], value: Encoded, expires_at: Timestamp) -> NewEntry<Stored> {
    NewEntry {
        value: value.stored,
        weight: weight::<Stored>(key, value.size),
        expires_at,
    }
}

/// The entries of a `LOCATION` in this process, and its counts.
pub(crate) struct LocalStore {
    cache: RawCache<Stored>,
    counts: FlightCounts,
}

impl LocalStore {
    /// Makes an empty store.
    pub(super) fn new(eviction: Eviction, shards: usize) -> Result<Self, OutOfMemory> {
        let cache = RawCache::new(eviction, shards)?;
        Ok(Self {
            cache: cache.with_stale_times(|stored| stored.timing().stale()),
            counts: FlightCounts::default(),
        })
    }
}

impl Deref for LocalStore {
    type Target = RawCache<Stored>;

    fn deref(&self) -> &RawCache<Stored> {
        &self.cache
    }
}

impl EntryStore for LocalStore {
    fn get(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let Some(stored) = self.get_with(key, &context.now()?, |stored| stored.clone_ref(py)) else {
            return Ok(None);
        };
        self.counts.count_saved(stored.timing().cost_micros());
        stored.decode(py).map(Some)
    }

    fn get_early(&'static self, context: &CallContext<'_, '_>, key: &[u8], beta: f64) -> PyResult<EarlyRead> {
        // The clock is read once.
        let (py, now) = (context.py(), context.now()?.now());
        let found = self.get_with_expiry(key, &now, |stored, expires_at| (stored.clone_ref(py), expires_at));
        let Some((stored, expires_at)) = found else {
            return Ok(EarlyRead::Missing);
        };
        let cost = stored.timing().cost_micros();
        self.counts.count_saved(cost);
        let value = stored.decode(py)?;
        if is_due(now, expires_at, cost, beta)
            && let Refresh::Leader(leader) = self.refresh(key, expires_at)
        {
            return Ok(EarlyRead::Due(value, Lead::new(leader)));
        }
        Ok(EarlyRead::Value(value))
    }

    fn join(&'static self, context: &CallContext<'_, '_>, key: &[u8], stale: f64) -> PyResult<Joined> {
        let (py, now) = (context.py(), context.now()?);
        if stale > 0.0
            && let Some((old, expires_at)) = self.get_stale(key, &now)
            && now.now() < later(expires_at, stale)
        {
            let refresh = self.refresh(key, expires_at);
            if !matches!(refresh, Refresh::Changed) {
                let old = old.decode(py)?;
                return Ok(match refresh {
                    Refresh::Leader(leader) => Joined::Leader(Lead::new(leader), Some(old)),
                    _ => Joined::Stale(old),
                });
            }
        }
        Ok(match self.join_after_miss(key, &now) {
            engine::Joined::Hit(stored) => Joined::Hit(stored.decode(py)?),
            engine::Joined::Leader(leader) => Joined::Leader(Lead::new(leader), None),
            engine::Joined::Waiter(waiter) => Joined::Waiter(Wait::Process(waiter)),
        })
    }

    fn overtake(&'static self, _: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        Ok(Lead::new(self.cache.overtake(key)))
    }

    fn complete(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        computed: &Computed<'_, '_>,
    ) -> PyResult<bool> {
        let mut value = Encoded::new(computed.value, context.settings.pickle_protocol)?;
        value.stored.set_timing(computed.timing());
        let (expires_at, now) = context.expires_early(computed.timeout, computed.jitter)?;
        let entry = new_entry(&flight.key, value, expires_at);
        let lead = flight.take(context.py())?;
        match lead
            .into_process()
            .complete(entry, &context.settings.capacity, &now)
        {
            Ok(stored) => Ok(stored),
            Err(WriteError::Rejected(_)) => Ok(false),
            Err(WriteError::OutOfMemory(short)) => Err(no_memory(short)),
        }
    }

    fn count_flight(&'static self, event: FlightEvent) {
        self.counts.count(event);
    }

    fn set<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome> {
        let value = Encoded::new(value, context.settings.pickle_protocol)?;
        let (expires_at, now) = context.expires_early(timeout, context.settings.jitter)?;
        let entry = new_entry(key, value, expires_at);
        match self.insert_if(key, entry, condition, &context.settings.capacity, &now) {
            Ok(true) => Ok(SetOutcome::Stored),
            Ok(false) => Ok(SetOutcome::ConditionFailed),
            Err(WriteError::Rejected(_)) => Ok(SetOutcome::Rejected),
            Err(WriteError::OutOfMemory(short)) => Err(no_memory(short)),
        }
    }

    fn incr<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let mut sum = None;
        let updated = self.update(key, &context.settings.capacity, &context.now()?, |old| {
            let new = old.decode(py)?.bind(py).add(delta)?;
            let Encoded { stored, size } = Encoded::new(&new, context.settings.pickle_protocol)?;
            sum = Some(new.unbind());
            Ok((stored, weight::<Stored>(key, size)))
        });
        match updated {
            Ok(true) | Err(UpdateError::Rejected(_)) => Ok(sum),
            Ok(false) => Ok(None),
            Err(UpdateError::Function(raised)) => Err(raised),
            Err(other) => Err(error::<PyRuntimeError>(py, format_args!("{other}"))),
        }
    }

    fn contains(&'static self, _: &CallContext<'_, '_>, key: &[u8], now: Now) -> PyResult<bool> {
        Ok(self.cache.contains(key, &now))
    }

    fn delete(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        Ok(self.remove(key, &context.now()?).is_some())
    }

    fn clear(&'static self, _: &CallContext<'_, '_>) -> PyResult<()> {
        let weight = self.weight();
        self.cache.clear();
        if weight >= WORTH_TRIMMING {
            trim_heap();
        }
        Ok(())
    }

    fn expires_at(
        &'static self,
        _: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<Timestamp>> {
        Ok(self.cache.expires_at(key, &now))
    }

    fn expire_at(
        &'static self,
        _: &CallContext<'_, '_>,
        key: &[u8],
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        Ok(self.cache.expire_at(key, expires_at, &now))
    }

    fn persist(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        let never = |_: &Stored, old| (old != Timestamp::NEVER).then_some(Timestamp::NEVER);
        Ok(self.expire_if(key, &context.now()?, never))
    }

    fn acquire_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let token = text(context.py(), token)?;
        let entry = new_entry(key, Encoded::new(&token, None)?, expires_at);
        let added = self.insert_if(key, entry, Condition::IfAbsent, &context.settings.capacity, &now);
        added.map_err(|failure| match failure {
            WriteError::Rejected(rejected) => error::<PyValueError>(
                context.py(),
                format_args!("there is no room for this lock: {rejected}"),
            ),
            WriteError::OutOfMemory(OutOfMemory) => no_memory(OutOfMemory),
        })
    }

    fn release_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let is_held = |stored: &Stored| is_text(context.py(), stored, token);
        Ok(self.remove_if(key, &context.now()?, is_held).is_some())
    }

    fn holds_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let mut is_held = false;
        self.expire_if(key, &context.now()?, |stored, _| {
            is_held = is_text(context.py(), stored, token);
            None
        });
        Ok(is_held)
    }

    fn extend_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        extension: Extension,
        now: Now,
    ) -> PyResult<bool> {
        let extended =
            |stored: &Stored, old| is_text(context.py(), stored, token).then(|| extension.new_end(old, now));
        Ok(self.expire_if(key, &now, extended))
    }

    fn keys(
        &'static self,
        _: &CallContext<'_, '_>,
        now: Now,
        scope: ScanScope,
        _: &ScanPattern<'_>,
    ) -> PyResult<StoredKeys> {
        Ok(StoredKeys::Local(match scope {
            ScanScope::Live => self.cache.keys(now.now()),
            ScanScope::All => self.cache.all_keys(),
        }))
    }

    fn stats(&'static self, context: &CallContext<'_, '_>) -> PyResult<Stats> {
        Ok(Stats::of_local(&self.cache, &context.settings.capacity).with_flights(&self.counts))
    }

    fn reset_stats(&'static self) {
        self.cache.reset_stats();
        self.counts.reset();
    }

    fn panic(&'static self, key: &[u8]) {
        self.get_with(key, &Now::System, |_| panic!("asked for by a test"));
    }
}

/// Returns whether a value is exactly this text. Runs no Python code.
fn is_text(py: Python<'_>, stored: &Stored, text: &str) -> bool {
    let Stored::Shared(_, value) = stored else {
        return false;
    };
    let value = value.bind(py).cast_exact::<PyString>();
    value.is_ok_and(|value| value.to_str().is_ok_and(|value| value == text))
}
