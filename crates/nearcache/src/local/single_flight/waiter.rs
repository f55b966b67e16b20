//! A waiter of a flight.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use super::circles::Edge;
use super::leader::{FlightId, Leader};
use super::sleeper::Sleeper;
use super::table::{Aftermath, Found, Seat};
use crate::error::OutOfMemory;
use crate::key::KeyHash;
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
    pub fn sleep(&mut self, timeout: Option<Duration>) -> bool {
        self.sleep_until(deadline(timeout))
    }

    fn sleep_until(&mut self, deadline: Option<Instant>) -> bool {
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
        self.stop_waiting(true)
    }

    /// Polls for the end of the flight. Registers the context's waker, whatever the runtime. Must not be called again after it was
    /// ready.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<Waited<'a, V>> {
        let sleeper = Sleeper::Task(context.waker().clone());
        self.check(sleeper).map_or(Poll::Pending, Poll::Ready)
    }

    /// Stops waiting: returns what the flight has come to, or leads a flight of its own if the old one's leader still computes.
    ///
    /// If it `overtakes`, the old flight is current no more: later callers wait for the new one, and the old one's value is not stored.
    /// If several waiters of one flight overtake it, all of them compute at once; later callers wait for the first one of them, and
    /// only its value is stored. If it does not overtake, the new flight's value is not stored, unless the old one was current no more.
    #[must_use]
    pub fn lead(mut self, overtakes: bool) -> Waited<'a, V> {
        self.stop_waiting(overtakes)
    }

    /// Does what [`lead`](Self::lead) does. After a value or an error, the caller is still a waiter of the flight.
    pub(super) fn stop_waiting(&mut self, overtakes: bool) -> Waited<'a, V> {
        let (raw, hash, id, own) = (self.raw, self.hash, self.id, FlightId::next());
        let mut aftermath = Aftermath::NOTHING;
        let stopped = raw.with_shard(hash, |shard| {
            if let Some(found) = shard.flights.outcome(id, self.seat) {
                return Ok(found);
            }
            shard.stats.flights += 1;
            let started;
            (started, aftermath) = shard.flights.start_instead(id, self.seat, own, overtakes);
            Err(started)
        });
        match stopped {
            Ok(found) => self.waited(found),
            Err(started) => {
                self.is_member = false;
                self.edge = None;
                drop(aftermath);
                Waited::Leader(raw.new_leader(hash, own, started))
            }
        }
    }

    fn check(&mut self, sleeper: Sleeper) -> Option<Waited<'a, V>> {
        // What is left here is dropped at the end, after unlocking.
        let mut sleeper = Some(sleeper);
        let found = self.raw.with_shard(self.hash, |shard| {
            let found = shard.flights.outcome(self.id, self.seat);
            if found.is_none() {
                shard.flights.register(self.id, self.seat, &mut sleeper)?;
            }
            Ok::<_, OutOfMemory>(found)
        });
        match found {
            Ok(found) => found.map(|found| self.waited(found)),
            // Without memory to sleep, the caller computes for itself.
            Err(OutOfMemory) => Some(self.stop_waiting(false)),
        }
    }

    fn waited(&mut self, found: Found<V>) -> Waited<'a, V> {
        match found {
            Found::Value(value) => Waited::Value(value),
            Found::Failed(failure) => Waited::Failed(failure),
            Found::Vacant(sleeper) => {
                drop(sleeper);
                self.is_member = false;
                let leader = Leader::new(self.raw, self.hash, self.id, false);
                Waited::Leader(leader.with_edge(self.edge.take()))
            }
            Found::Gone => Waited::Leader(Leader::without_flight(self.raw, self.hash)),
        }
    }
}

/// Returns when a timeout ends, or `None` if it does not.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl<V> Drop for Waiter<'_, V> {
    /// Takes the caller out of the flight, and wakes the next waiter if this one had been woken to lead.
    fn drop(&mut self) {
        if self.is_member {
            drop(
                self.raw
                    .with_shard(self.hash, |shard| shard.flights.resign(self.id, self.seat, false)),
            );
        }
    }
}
