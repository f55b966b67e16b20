//! How a caller that misses a key joins its flight.

use super::circles::{self, Edge};
use super::leader::{FlightId, Leader};
use super::table::Role;
use super::waiter::{Waited, Waiter};
use crate::clock::Clock;
use crate::error::OutOfMemory;
use crate::key::{Key, KeyHash};
use crate::local::get::Lookup;
use crate::local::raw_cache::RawCache;

/// The part of a caller that wants the value of a key.
#[derive(Debug)]
pub enum Joined<'a, V> {
    /// There is a live entry, with this value.
    Hit(V),
    /// The caller has to compute the value.
    Leader(Leader<'a, V>),
    /// Another caller is computing the value.
    Waiter(Waiter<'a, V>),
}

impl<V: Clone> RawCache<V> {
    /// Returns the value of a live entry, as [`get`](Self::get) does; if there is none, joins the flight of the key, or starts one.
    ///
    /// A hit costs as much as that of `get`, and touches nothing else. A miss takes the shard's lock twice and searches the flights of
    /// the shard. If there is no memory for a flight, or if waiting would close a circle, the caller leads: it never waits for
    /// itself. A waiter whose flight has ended in the meantime gets its result at once.
    ///
    /// ```
    /// use nearcache::{Eviction, SystemClock, Timestamp};
    /// use nearcache::local::{Capacity, Joined, NewEntry, RawCache, Waited};
    ///
    /// let cache = RawCache::new(Eviction::default(), 4)?;
    /// let leader = match cache.join(b"key", &SystemClock) {
    ///     Joined::Hit(value) => return Ok(println!("{value}")),
    ///     Joined::Leader(leader) => leader,
    ///     Joined::Waiter(waiter) => match waiter.wait(None) {
    ///         Waited::Value(value) => return Ok(println!("{value}")),
    ///         Waited::Failed(_) => return Ok(println!("the leader failed")),
    ///         Waited::Leader(leader) => leader,
    ///     },
    /// };
    /// let value = leader.run(|| 6 * 7);
    /// let new = NewEntry { value, weight: 1, expires_at: Timestamp::NEVER };
    /// assert_eq!(leader.complete(new, &Capacity::UNBOUNDED, &SystemClock), Ok(true));
    /// assert_eq!(cache.get(b"key", &SystemClock), Some(42));
    /// # Ok::<(), nearcache::OutOfMemory>(())
    /// ```
    #[inline]
    pub fn join(&self, key: &[u8], clock: &impl Clock) -> Joined<'_, V> {
        match self.get(key, clock) {
            Some(value) => Joined::Hit(value),
            None => self.join_flight(self.hasher.key(key), clock),
        }
    }

    /// Joins the flight of a key that the caller has just missed. Like [`join`](Self::join), but does not count the miss again.
    pub fn join_after_miss(&self, key: &[u8], clock: &impl Clock) -> Joined<'_, V> {
        self.join_flight(self.hasher.key(key), clock)
    }

    #[cold]
    #[inline(never)]
    fn join_flight(&self, key: Key<'_>, clock: &impl Clock) -> Joined<'_, V> {
        let id = FlightId::next();
        let joined = self.with_shard(key.hash, |shard| {
            if let Lookup::Live(slot) = shard.find(key, clock) {
                return Ok(shard.slab.get(slot).value.clone());
            }
            let role = shard.flights.join(key);
            match role {
                None => shard.stats.flights += 1,
                Some(Role::Leader(_)) => {}
                Some(Role::Waiter(..)) => shard.stats.waits += 1,
            }
            Err(role.map_or_else(|| shard.flights.start(key, id).map(|_| Role::Leader(id)), Ok))
        });
        match joined {
            Ok(value) => Joined::Hit(value),
            Err(Ok(Role::Leader(id))) => Joined::Leader(self.new_leader(key.hash, id, Ok(true))),
            Err(Ok(Role::Waiter(id, seat))) => {
                let waiter = Waiter::new(self, key.hash, id, seat);
                Self::wait_or_lead(waiter)
            }
            Err(Err(OutOfMemory)) => Joined::Leader(self.new_leader(key.hash, id, Err(OutOfMemory))),
        }
    }

    /// Lets a waiter lead a flight of its own if waiting would close a circle.
    fn wait_or_lead(mut waiter: Waiter<'_, V>) -> Joined<'_, V> {
        let current = circles::current();
        if current == FlightId::NONE {
            return Joined::Waiter(waiter);
        }
        let edge = Edge::add(current, waiter.id());
        if edge.is_none() || circles::needs(waiter.id(), current) {
            drop(edge);
            return match waiter.stop_waiting(false) {
                Waited::Leader(leader) => Joined::Leader(leader),
                // The flight has ended since, so that waiting ends at once.
                Waited::Value(_) | Waited::Failed(_) => Joined::Waiter(waiter),
            };
        }
        waiter.set_edge(edge);
        Joined::Waiter(waiter)
    }
}

impl<V> RawCache<V> {
    /// Returns the leader of a flight. It computes for itself if the flight is not current, or if there was no memory for it or no room
    /// for its edge.
    pub(super) fn new_leader(
        &self,
        hash: KeyHash,
        id: FlightId,
        is_current: Result<bool, OutOfMemory>,
    ) -> Leader<'_, V> {
        match is_current {
            Ok(is_current) => {
                let mut leader = Leader::new(self, hash, id, !is_current);
                leader.needed_by(circles::current());
                leader
            }
            Err(OutOfMemory) => Leader::without_flight(self, hash),
        }
    }
}
