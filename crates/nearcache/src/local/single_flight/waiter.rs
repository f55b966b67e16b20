//! A waiter of a flight.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use super::circles::Edge;
use super::leader::{FlightId, Leader};
use super::sleeper::Sleeper;
use super::table::{Found, Seat};
use crate::key::{Key, KeyHash};
use crate::local::raw_cache::RawCache;

/// The result of waiting.
#[derive(Debug)]
pub enum Waited<'a, V> {
    /// The leader's value.
    Value(V),
    /// The leader's error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The leader panicked, was cancelled, or took too long: the caller has to compute the value.
    Leader(Leader<'a, V>),
}

/// A caller for which another one is computing. Dropping it ends the wait.
#[derive(Debug)]
#[must_use = "a waiter does nothing before it waits"]
pub struct Waiter<'a, V> {
    raw: &'a RawCache<V>,
    hash: KeyHash,
    id: FlightId,
    seat: Seat,
    edge: Option<Edge>,
    /// Whether the caller is counted as a member of the flight.
    is_member: bool,
}

impl<'a, V> Waiter<'a, V> {
    pub(super) const fn new(raw: &'a RawCache<V>, hash: KeyHash, id: FlightId, seat: Seat) -> Self {
        Self {
            raw,
            hash,
            id,
            seat,
            edge: None,
            is_member: true,
        }
    }

    pub(super) const fn id(&self) -> FlightId {
        self.id
    }

    pub(super) fn set_edge(&mut self, edge: Option<Edge>) {
        self.edge = edge;
    }

    /// Blocks the thread until the leader has finished or given up, for at most `timeout`. Returns whether it has.
    ///
    /// Neither clones nor drops a value, so an interpreter can release its lock around this, and call [`wait`](Self::wait) afterwards,
    /// which then returns without sleeping unless another waiter leads meanwhile.
    #[must_use]
    pub fn sleep(&self, timeout: Option<Duration>) -> bool {
        self.sleep_until(deadline(timeout))
    }

    fn sleep_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let mut sleeper = Some(Sleeper::Thread(thread::current()));
            let registered = self.raw.with_shard(self.hash, |shard| {
                shard.flights.register(self.id, self.seat, &mut sleeper)
            });
            // Without memory to sleep, `check` lets the caller lead.
            if registered != Ok(true) {
                return true;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return false,
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Takes the caller out of the flight, and wakes the next waiter if this one had been woken to lead.
    fn resign(&mut self, overtakes: bool) {
        if std::mem::replace(&mut self.is_member, false) {
            self.raw
                .with_shard(self.hash, |shard| {
                    shard.flights.resign(self.id, self.seat, overtakes)
                })
                .run();
        }
    }
}

impl<'a, V: Clone> Waiter<'a, V> {
    /// Blocks the thread until the leader has finished, for at most `timeout`. Afterwards the caller leads.
    ///
    /// A caller that leads after the timeout overtakes the flight: later callers wait for the new one, and the old one's value is not
    /// stored. If another caller has overtaken it before and still computes, this caller's value is not stored, either.
    ///
    /// In asynchronous code use [`poll`](Self::poll), because the leader may be a task of the same thread.
    #[must_use]
    pub fn wait(mut self, timeout: Option<Duration>) -> Waited<'a, V> {
        let deadline = deadline(timeout);
        while self.sleep_until(deadline) {
            if let Some(waited) = self.check(Sleeper::Thread(thread::current())) {
                return waited;
            }
        }
        Waited::Leader(self.start_own(true))
    }

    /// Polls for the end of the flight. Registers the context's waker, whatever the runtime. Must not be called again after it was
    /// ready.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<Waited<'a, V>> {
        let sleeper = Sleeper::Task(context.waker().clone());
        self.check(sleeper).map_or(Poll::Pending, Poll::Ready)
    }

    /// Leads a flight of its own instead of waiting. If it `overtakes`, later callers wait for the new flight, and the old one's value
    /// is not stored. Otherwise the new one's is not stored. Nor is it if another caller has overtaken the old one before and still
    /// computes.
    pub fn lead(mut self, overtakes: bool) -> Leader<'a, V> {
        self.start_own(overtakes)
    }

    /// Leads a flight of its own instead of waiting. `overtakes` ends the old one's being current.
    pub(super) fn start_own(&mut self, overtakes: bool) -> Leader<'a, V> {
        let key = self
            .raw
            .with_shard(self.hash, |shard| shard.flights.copy_key(self.id));
        self.resign(overtakes);
        self.edge = None;
        match key {
            Ok(Some(bytes)) => self.raw.lead(Key {
                bytes: &bytes,
                hash: self.hash,
            }),
            // The flight is the parent's, or there is no memory: the value is not stored.
            Ok(None) | Err(_) => Leader::new_alone(self.raw, self.hash, FlightId::NONE, None),
        }
    }

    fn check(&mut self, sleeper: Sleeper) -> Option<Waited<'a, V>> {
        let (raw, hash, id) = (self.raw, self.hash, self.id);
        // What is left here is dropped at the end, after unlocking.
        let mut sleeper = Some(sleeper);
        let found = raw.with_shard(hash, |shard| shard.flights.check(id, self.seat, &mut sleeper));
        match found {
            Ok(Found::Registered) => None,
            Ok(Found::Value(value)) => Some(Waited::Value(value)),
            Ok(Found::Failed(failure)) => Some(Waited::Failed(failure)),
            Ok(Found::Vacant(old)) => {
                drop(old);
                self.is_member = false;
                Some(Waited::Leader(Leader::new(raw, hash, id, self.edge.take())))
            }
            // Without memory to sleep, the caller computes for itself.
            Ok(Found::Gone) | Err(_) => Some(Waited::Leader(self.start_own(false))),
        }
    }
}

/// Returns when a timeout ends, or `None` if it does not.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl<V> Drop for Waiter<'_, V> {
    fn drop(&mut self) {
        self.resign(false);
    }
}
