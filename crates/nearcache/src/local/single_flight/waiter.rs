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
use crate::key::Key;
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
    key: Key<'a>,
    id: FlightId,
    seat: Seat,
    edge: Option<Edge>,
    /// Whether the caller is counted as a member of the flight.
    is_member: bool,
}

impl<'a, V> Waiter<'a, V> {
    pub(super) const fn new(raw: &'a RawCache<V>, key: Key<'a>, id: FlightId, seat: Seat) -> Self {
        Self {
            raw,
            key,
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

    /// Takes the caller out of the flight, and wakes the next waiter if this one had been woken to lead.
    fn resign(&mut self, overtakes: bool) {
        if std::mem::replace(&mut self.is_member, false) {
            self.raw
                .with_shard(self.key.hash, |shard| {
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
    /// stored. In asynchronous code use [`poll`](Self::poll), because the leader may be a task of the same thread.
    ///
    #[must_use]
    pub fn wait(mut self, timeout: Option<Duration>) -> Waited<'a, V> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(waited) = self.check(Sleeper::Thread(thread::current())) {
                return waited;
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return Waited::Leader(self.lead(true)),
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Polls for the end of the flight. Registers the context's waker, whatever the runtime. Must not be called again after it was
    /// ready.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<Waited<'a, V>> {
        let sleeper = Sleeper::Task(context.waker().clone());
        self.check(sleeper).map_or(Poll::Pending, Poll::Ready)
    }

    /// Leads a flight of its own instead of waiting. `overtakes` ends the old one's being current.
    pub(super) fn lead(&mut self, overtakes: bool) -> Leader<'a, V> {
        self.resign(overtakes);
        self.edge = None;
        self.raw.lead(self.key)
    }

    fn check(&mut self, sleeper: Sleeper) -> Option<Waited<'a, V>> {
        let (raw, key, id) = (self.raw, self.key, self.id);
        // What is not registered is dropped at the end, after unlocking.
        let mut sleeper = Some(sleeper);
        let found = raw.with_shard(key.hash, |shard| shard.flights.check(id, self.seat, &mut sleeper));
        match found {
            Ok(Found::Registered(old)) => {
                drop(old);
                None
            }
            Ok(Found::Value(value)) => Some(Waited::Value(value)),
            Ok(Found::Failed(failure)) => Some(Waited::Failed(failure)),
            Ok(Found::Vacant(old)) => {
                drop(old);
                self.is_member = false;
                Some(Waited::Leader(Leader::new(raw, key, id, self.edge.take())))
            }
            // Without memory to sleep, the caller computes for itself.
            Ok(Found::Gone) | Err(_) => Some(Waited::Leader(self.lead(false))),
        }
    }
}

impl<V> Drop for Waiter<'_, V> {
    fn drop(&mut self) {
        self.resign(false);
    }
}
