//! The leader of a flight.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use super::circles::{self, Edge};
use super::table::Aftermath;
use crate::clock::Clock;
use crate::condition::Condition;
use crate::error::WriteError;
use crate::key::{Key, KeyHash};
use crate::local::capacity::Capacity;
use crate::local::deferred_drops::DeferredDrops;
use crate::local::insert::NewEntry;
use crate::local::raw_cache::RawCache;
use crate::local::shard::Shard;

/// Identifies a flight in this process.
///
/// An embedder whose computation does not run within [`Leader::run`], such as a coroutine of an interpreter, runs each of its steps
/// [`within`](Self::within) the flight, so that circles of waits are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightId(u64);

impl FlightId {
    /// The id of no flight.
    pub(super) const NONE: Self = Self(0);

    /// Returns an id that no other flight has.
    pub(super) fn next() -> Self {
        // Odd, so that the low half is never zero.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(2, Ordering::Relaxed))
    }

    /// Returns the low half.
    #[allow(clippy::cast_possible_truncation)] // the low half is wanted
    pub(super) const fn low(self) -> u32 {
        self.0 as u32
    }

    /// Runs `work` as part of this flight's computation: a key that it needs is then checked for circles of waits.
    pub fn within<T>(self, work: impl FnOnce() -> T) -> T {
        circles::within(self, work)
    }
}

/// The caller that has to compute the value of a key.
///
/// [`complete`](Self::complete) or [`fail`](Self::fail) it. If it is dropped instead, by a panic or because a future is cancelled,
/// the oldest waiter leads.
#[derive(Debug)]
#[must_use = "the waiters sleep until the leader completes, fails or is dropped"]
pub struct Leader<'a, V> {
    raw: &'a RawCache<V>,
    hash: KeyHash,
    /// [`FlightId::NONE`] if there was no memory for a flight, or no room for its edge.
    flight: FlightId,
    /// The flight that the computation is a part of: this one, or, for a leader without a flight, the caller's.
    id: FlightId,
    is_alone: bool,
    /// The need of the computation that this one is a part of.
    edge: Option<Edge>,
    /// The flight that this value is computed with.
    together: Option<Edge>,
}

impl<'a, V> Leader<'a, V> {
    pub(super) const fn new(raw: &'a RawCache<V>, hash: KeyHash, id: FlightId, is_alone: bool) -> Self {
        Self {
            raw,
            hash,
            flight: id,
            id,
            is_alone,
            edge: None,
            together: None,
        }
    }

    /// Makes a leader that computes for itself, as part of the computation that the caller runs within, if any.
    pub(super) fn without_flight(raw: &'a RawCache<V>, hash: KeyHash) -> Self {
        let mut leader = Self::new(raw, hash, FlightId::NONE, true);
        leader.id = circles::current();
        leader
    }

    /// Adds the edge of a waiter that takes the lead.
    pub(super) fn with_edge(mut self, edge: Option<Edge>) -> Self {
        self.edge = edge;
        self
    }

    /// Notes that the computation of another flight needs this one, unless that is known: a flight that begins
    /// [`within`](FlightId::within) another one knows it. To be called before the computation begins.
    ///
    /// O(edges). Without room for an edge, this leader is [alone](Self::is_alone) from now on.
    pub fn needed_by(&mut self, outer: FlightId) {
        if outer == FlightId::NONE || self.flight == FlightId::NONE || self.edge.is_some() {
            return;
        }
        self.edge = Edge::add(outer, self.flight);
        if self.edge.is_none() {
            self.compute_within(outer);
        }
    }

    /// Notes that the value is computed together with that of another flight, within which the computation runs: it then does not wait
    /// for this flight, nor for one that needs this one. O(edges). Without room for an edge, this leader is [alone](Self::is_alone) from
    /// now on.
    pub fn compute_with(&mut self, flight: FlightId) {
        if self.flight != FlightId::NONE {
            self.together = Edge::add(self.flight, flight);
            if self.together.is_none() {
                self.compute_within(flight);
            }
        }
    }

    /// Gives the flight up, and computes as part of another one: a circle through a flight whose edge is missing would not be found.
    #[cold]
    fn compute_within(&mut self, flight: FlightId) {
        self.give_up();
        self.id = flight;
        self.is_alone = true;
    }

    /// Gives the flight up, if there is one: the oldest waiter leads.
    fn give_up(&mut self) {
        let id = std::mem::replace(&mut self.flight, FlightId::NONE);
        if id != FlightId::NONE {
            drop(self.raw.with_shard(self.hash, |shard| shard.flights.abandon(id)));
        }
    }

    /// Returns the id of the flight that the computation is a part of: this one, or, for a leader without a flight, that of the computation
    /// in which it was made.
    #[must_use]
    pub const fn id(&self) -> FlightId {
        self.id
    }

    /// Returns whether the caller computes for itself: the key had another current flight when this one began, but waiting for that would
    /// have closed a circle or had taken too long, or there was no memory for a flight or no room for its edge. Nobody waits for this
    /// flight, and its value is not stored.
    ///
    /// Unlike [`is_current`](Self::is_current), this does not change when the key is written or the flight overtaken.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Returns whether new callers for the key wait for this flight now. O(1), one shard lock.
    ///
    /// It is not if it began [alone](Self::is_alone), or if it was overtaken, or the key written, since.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.raw
            .with_shard(self.hash, |shard| shard.flights.is_current(self.flight))
    }

    /// Runs the computation, or a step of it, as part of the flight. Nothing is locked meanwhile.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        self.id.within(work)
    }

    /// Polls the computation as part of the flight.
    pub(in crate::local) fn poll<F: Future>(
        &self,
        computation: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        self.run(|| computation.poll(context))
    }

    /// Stores the value, and hands it to the waiters. Returns whether it was stored: not if the key was written or removed meanwhile,
    /// or if this flight was not the key's current one.
    ///
    /// O(1) amortized and O(waiters). Takes the shard's lock once, as [`RawCache::insert`] does.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the value could not be stored. The waiters have it all the same.
    pub fn complete(
        mut self,
        new: NewEntry<V>,
        capacity: &Capacity,
        clock: &impl Clock,
    ) -> Result<bool, WriteError>
    where
        V: Clone,
    {
        let (id, hash) = (self.flight, self.hash);
        let raw = self.raw;
        let mut deferred = DeferredDrops::new();
        // Dropped before `deferred`, also if reading the clock panics: no waiter waits for the destructors of evicted values.
        let mut aftermath = Aftermath::NOTHING;
        let inserted = raw.write_deferring(raw.shard_of(hash), &mut deferred, capacity, clock, |writer| {
            let has_waiters = writer.shard.flights.has_waiters(id);
            let for_waiters = has_waiters.then(|| new.value.clone());
            // After the clone: if that panics, the flight is given up, and the next leader needs the key.
            let key = writer.shard.flights.take_key(id);
            aftermath = writer.shard.flights.complete(id, for_waiters);
            self.flight = FlightId::NONE;
            let Some(bytes) = key else {
                writer.deferred.push_value(new.value);
                return None;
            };
            let key = Key { bytes: &bytes, hash };
            let insertion = writer.insert_if(key, new, Condition::Always);
            Some((bytes, insertion))
        });
        drop(aftermath);
        drop(deferred);
        inserted.map_or(Ok(false), |(bytes, insertion)| {
            let key = Key { bytes: &bytes, hash };
            raw.after_insertion(key, insertion, capacity, clock)
        })
    }

    /// Hands the value to the waiters without storing it.
    pub fn finish(mut self, value: V) {
        let id = std::mem::replace(&mut self.flight, FlightId::NONE);
        let complete = |shard: &mut Shard<V>| shard.flights.complete(id, Some(value));
        drop(self.raw.with_shard(self.hash, complete));
    }

    /// Ends the flight without a value if nobody waits for it. Otherwise returns the leader, whose value the waiters are to get.
    ///
    /// For embedders for which a value takes time to make: nobody joins the flight between the check and its end.
    ///
    /// # Errors
    ///
    /// The leader itself, if there are waiters.
    pub fn end_unless_awaited(mut self) -> Result<(), Self> {
        let ended = self.raw.with_shard(self.hash, |shard| {
            let is_awaited = shard.flights.has_waiters(self.flight);
            (!is_awaited).then(|| shard.flights.complete(self.flight, None))
        });
        if ended.is_none() {
            return Err(self);
        }
        self.flight = FlightId::NONE;
        Ok(())
    }

    /// Ends the flight with an error, which the waiters get.
    pub fn fail(mut self, error: Arc<dyn Any + Send + Sync>) {
        let id = std::mem::replace(&mut self.flight, FlightId::NONE);
        let fail = |shard: &mut Shard<V>| shard.flights.fail(id, error);
        drop(self.raw.with_shard(self.hash, fail));
    }
}

impl<V> Drop for Leader<'_, V> {
    fn drop(&mut self) {
        self.give_up();
    }
}
