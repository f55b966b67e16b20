//! The store in a file that all processes of the machine share.
//!
//! `file` keeps the file open and usable, `access` reads and writes it, `object_cache` keeps what was read;
//! `get`, `incr` and `lock` are the operations with more than one step. `near_copies` is what a `TieredCache` keeps in a file.

mod access;
mod file;
mod flight_file;
mod flights;
mod get;
mod incr;
mod lock;
mod log;
mod near_copies;
mod object_cache;

use nearcache::shared::{Event, NewEntry, SharedCache};
use nearcache::{Condition, Timestamp};
use pyo3::prelude::*;

use super::entry_store::{EntryStore, Extension, ScanPattern, ScanScope, SetOutcome, StoredKeys};
use super::flights::{Computed, EarlyRead, Flight, FlightEvent, Joined, Lead, MachineFlightId};
use super::stats::Stats;
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::values::bytes::EncodedBytes;
use access::WriteFailure;

pub(crate) use access::SharedStore;
pub(crate) use file::{FileSize, SharedFile, option_of};
pub(crate) use log::log;
pub(crate) use object_cache::{Kept, ObjectCache};

impl EntryStore for SharedStore {
    fn get(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        self.get(context, key)
    }

    fn set<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome> {
        let value = EncodedBytes::new(value, context.settings.pickling())?;
        let (expires_at, now) = context.expires_early(timeout, context.settings.jitter)?;
        let entry = NewEntry::new(value.bytes())
            .kind(value.kind)
            .expires_at(expires_at);
        let stored = self.write(context.py(), now, |cache| {
            cache.insert_entry_if(key, entry, condition)
        });
        match stored {
            Ok(true) => Ok(SetOutcome::Stored),
            Ok(false) => Ok(SetOutcome::ConditionFailed),
            Err(WriteFailure::Rejected(_)) => {
                self.log_rejection(context.py(), key, entry.value.len())?;
                Ok(SetOutcome::Rejected)
            }
            Err(WriteFailure::Raised(raised)) => Err(raised),
        }
    }

    fn incr<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>> {
        self.add(context, key, delta)
    }

    fn contains(&'static self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> PyResult<bool> {
        Ok(self.peek(context, key, now).is_some())
    }

    fn delete(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        self.write(context.py(), context.now()?, |cache| cache.remove(key))
            .map_err(|failure| failure.into_exception(context.py()))
    }

    fn clear(&'static self, _: &CallContext<'_, '_>) -> PyResult<()> {
        self.with(Now::System, SharedCache::clear);
        self.objects.clear();
        Ok(())
    }

    fn expires_at(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<Timestamp>> {
        Ok(self.peek(context, key, now).map(|found| found.expires_at))
    }

    fn expire_at(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        self.write(context.py(), now, |cache| cache.expire_at(key, expires_at))
            .map_err(|failure| failure.into_exception(context.py()))
    }

    fn persist(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        let now = context.now()?;
        match self.expires_at(context, key, now)? {
            None | Some(Timestamp::NEVER) => Ok(false),
            Some(_) => self.expire_at(context, key, Timestamp::NEVER, now),
        }
    }

    fn acquire_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        self.acquire(context, key, token, expires_at, now)
    }

    fn release_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        self.release(context, key, token)
    }

    fn holds_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        self.holds(context, key, token)
    }

    fn extend_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        extension: Extension,
        now: Now,
    ) -> PyResult<bool> {
        self.extend(context, key, token, extension, now)
    }

    fn get_early(&'static self, context: &CallContext<'_, '_>, key: &[u8], beta: f64) -> PyResult<EarlyRead> {
        self.read_early(context, key, beta)
    }

    fn join(&'static self, context: &CallContext<'_, '_>, key: &[u8], stale: f64) -> PyResult<Joined> {
        self.join_flight(context, key, stale)
    }

    fn overtake(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        self.overtake_flight(context, key)
    }

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
        self.complete_flight(context, flight, computed)
    }

    fn count_flight(&'static self, event: FlightEvent) {
        let event = match event {
            FlightEvent::StaleHit => Event::StaleHit,
            FlightEvent::Refresh => Event::Refresh,
            FlightEvent::FailedRefresh => Event::FailedRefresh,
        };
        self.with(Now::System, |cache| cache.count(event));
    }

    fn keys(
        &'static self,
        _: &CallContext<'_, '_>,
        now: Now,
        scope: ScanScope,
        _: &ScanPattern<'_>,
    ) -> PyResult<StoredKeys> {
        let cache = self.with(Now::System, |cache| cache.with_clock(now));
        Ok(StoredKeys::Shared(match scope {
            ScanScope::Live => cache.keys(),
            ScanScope::All => cache.all_keys(),
        }))
    }

    fn stats(&'static self, _: &CallContext<'_, '_>) -> PyResult<Stats> {
        let stats = self.with(Now::System, SharedCache::stats);
        Ok(Stats::of_shared(&stats, &self.objects.counts()))
    }

    fn reset_stats(&'static self) {
        self.with(Now::System, SharedCache::reset_stats);
        self.objects.reset_counts();
    }

    fn panic(&'static self, _: &[u8]) {
        // No code of this process runs while a lock in the file is held.
        panic!("asked for by a test");
    }
}
