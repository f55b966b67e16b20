//! The store of a remote tier, Redis or Valkey, with a near tier of copies before it.
//!
//! Every operation asks the server, but a `get` that finds a copy which is known to be valid. A write invalidates the copies
//! of its key before it is sent, and again when it was answered or failed. `plan` splits operations so that threads,
//! greenlets and event loops can each wait in their way; `reads`, `writes`, `expiry`, `locks`, `scan` and `info` are the
//! operations.

mod acquire_flight_lock;
mod complete;
mod completions;
mod costs;
mod early;
mod expiry;
mod failure;
mod flight_lock;
mod flights;
mod flights_file;
mod info;

mod locks;
mod names;
mod near;
#[cfg(shared)]
mod near_shared;
mod open;
mod plan;
mod reads;
mod requests;
mod scan;
mod stale_value;
mod stats;
mod tiered_store;
mod wait;
mod wire;
mod writes;

use nearcache::{Condition, Timestamp};
use pyo3::prelude::*;

use super::entry_store::{EntryStore, Extension, ScanPattern, ScanScope, SetOutcome, StoredKey, StoredKeys};
#[cfg(shared)]
use super::flights::MachineFlightId;
use super::flights::{Computed, EarlyRead, Flight, FlightEvent, Joined, Lead};
use super::stats::Stats;
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use scan::RemoteKeys;

pub(crate) use acquire_flight_lock::Locked;
pub(crate) use completions::{Completions, Pending};
pub(crate) use open::{TieredSettings, stop_listeners};
pub(crate) use plan::Step;
pub(crate) use tiered_store::TieredStore;

/// Each operation is a plan, carried out in this thread.
impl EntryStore for TieredStore {
    fn get(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        self.read(context, key, false)
    }

    fn set<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome> {
        let step = self.plan_set(context, key, value, timeout, condition)?;
        self.run(context.py(), step)
    }

    fn incr<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let step = self.plan_incr(key, delta)?;
        self.run(context.py(), step)
    }

    fn contains(&'static self, context: &CallContext<'_, '_>, key: &[u8], _: Now) -> PyResult<bool> {
        self.run(context.py(), self.plan_contains(key))
    }

    fn delete(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        let step = self.plan_delete(context.py(), key)?;
        self.run(context.py(), step)
    }

    fn delete_batch(&'static self, context: &CallContext<'_, '_>, keys: &[StoredKey]) -> PyResult<u64> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        let step = self.plan_delete_many(context.py(), keys)?;
        self.run(context.py(), step)
    }

    fn clear(&'static self, context: &CallContext<'_, '_>) -> PyResult<()> {
        self.clear_all(context)
    }

    fn expires_at(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<Timestamp>> {
        self.run(context.py(), self.plan_expires_at(key, now))
    }

    fn expire_at(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let step = self.plan_expire_at(context.py(), key, expires_at, now)?;
        self.run(context.py(), step)
    }

    fn persist(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        let step = self.plan_persist(context.py(), key)?;
        self.run(context.py(), step)
    }

    fn acquire_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let step = self.plan_acquire(context.py(), key, token, expires_at, now)?;
        self.run(context.py(), step)
    }

    fn release_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let step = self.plan_release(context.py(), key, token)?;
        self.run(context.py(), step)
    }

    fn holds_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let step = self.plan_holds(context.py(), key, token)?;
        self.run(context.py(), step)
    }

    fn extend_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        extension: Extension,
        _: Now,
    ) -> PyResult<bool> {
        let step = self.plan_extend(context.py(), key, token, extension)?;
        self.run(context.py(), step)
    }

    fn get_early(&'static self, context: &CallContext<'_, '_>, key: &[u8], beta: f64) -> PyResult<EarlyRead> {
        let step = self.plan_get_with_cost(context, key)?;
        match self.run(context.py(), step)? {
            Some(value) => self.early(context, key, value, beta),
            None => Ok(EarlyRead::Missing),
        }
    }

    fn join(&'static self, context: &CallContext<'_, '_>, key: &[u8], stale: f64) -> PyResult<Joined> {
        let step = self.plan_join(context, key, stale)?;
        self.run(context.py(), step)
    }

    fn overtake(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        self.overtake_flight(context, key)
    }

    #[cfg(shared)]
    fn overtake_held(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        held: MachineFlightId,
    ) -> PyResult<Joined> {
        self.overtake_held_flight(context, key, held)
    }

    fn complete(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        computed: &Computed<'_, '_>,
    ) -> PyResult<bool> {
        let step = self.plan_complete(context, flight, computed)?;
        let is_stored = self.run(context.py(), step)?;
        self.end_flight(context, flight, computed.value, is_stored)
    }

    fn count_flight(&'static self, event: FlightEvent) {
        self.flights.process.counts.count(event);
    }

    fn keys(
        &'static self,
        context: &CallContext<'_, '_>,
        _: Now,
        scope: ScanScope,
        pattern: &ScanPattern<'_>,
    ) -> PyResult<StoredKeys> {
        let keys = RemoteKeys::new(self, scope, pattern)?;
        Ok(StoredKeys::Remote(match scope {
            ScanScope::Live => Box::new(keys),
            // The flights first: of one that ends meanwhile, the server has the value before it is read.
            ScanScope::All => Box::new(self.flights.keys(context.py()).chain(keys)),
        }))
    }

    fn stats(&'static self, context: &CallContext<'_, '_>) -> PyResult<Stats> {
        self.statistics(context)
    }

    fn reset_stats(&'static self) {
        self.reset_counts();
    }

    fn panic(&'static self, _: &[u8]) {
        // No lock is held while a request is made.
        panic!("asked for by a test");
    }
}
