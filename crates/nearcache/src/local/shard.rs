//! What one lock guards: a hash table of slot numbers, a slab of entries, a policy that orders them.
//!
//! Invariants, checked by [`Shard::validate`]: table, slab and policy have the same entries; `weight` and `expiring` are
//! sums over them; each of them is in the store's totals.
//!
//! Nothing here drops a value: what leaves is handed out, to be dropped when the lock is released.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::capacity::{Capacity, Totals};
use super::slab::{Slab, Slot};
use super::store::Draft;
use crate::clock::{Clock, Timestamp};
use crate::error::Rejected;
use crate::key::{Key, spread};
use crate::policy::{AnyPolicy, Eviction, Node, Policy, Pressure};
use crate::stats::Stats;

/// Values on their way out. Four fit without an allocation: an insertion rarely drops more.
pub(super) type Leaving<V> = SmallVec<[V; 4]>;

/// How many slots a write looks at for entries whose time is over. So a dead entry stays for at most a quarter as
/// many writes as the shard has slots, and the dead are at most an eighth of all on average.
const SWEEP_STEPS: usize = 4;

/// What a key leads to.
pub(super) enum Found {
    Live(u32),
    Dead(u32),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Shard<V> {
    table: HashTable<u32>,
    slab: Slab<V>,
    policy: AnyPolicy,
    eviction: Eviction,
    weight: u64,
    /// How many entries have an expiry: without any, writes need not know the time.
    expiring: usize,
    /// The slot that the sweep looks at next.
    hand: u32,
    /// Counts the values stored; each carries its number.
    stamp: u32,
    pub(super) stats: Stats,
    counting_since: Instant,
    totals: Arc<Totals>,
}

impl<V> Shard<V> {
    pub(super) fn new(eviction: Eviction, totals: Arc<Totals>) -> Self {
        Self {
            table: HashTable::new(),
            slab: Slab::default(),
            policy: AnyPolicy::new(eviction),
            eviction,
            weight: 0,
            expiring: 0,
            hand: 0,
            stamp: 0,
            stats: Stats::default(),
            counting_since: Instant::now(),
            totals,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) const fn slab(&self) -> &Slab<V> {
        &self.slab
    }

    /// The slot of a key. The clock is read only for an entry that can expire.
    pub(super) fn find(&self, key: Key<'_>, clock: &impl Clock) -> Found {
        let fingerprint = key.hash.fingerprint();
        let found = self.table.find(spread(fingerprint), |&slot| {
            let entry = self.slab.get(slot);
            entry.node.fingerprint == fingerprint && *entry.key == *key.bytes
        });
        match found {
            None => Found::Nothing,
            Some(&slot) => {
                let expires = self.slab.get(slot).expires;
                if expires != Timestamp::NEVER && expires.is_over(clock.now()) {
                    Found::Dead(slot)
                } else {
                    Found::Live(slot)
                }
            }
        }
    }

    /// Tells the policy that an entry was asked for.
    pub(super) fn hit(&mut self, slot: u32) {
        self.policy.hit(&mut self.slab, slot);
    }

    /// Stores a draft: over the key's entry if there is one, else as a new one.
    pub(super) fn put(
        &mut self,
        key: Key<'_>,
        draft: Draft<V>,
        capacity: &Capacity,
        clock: &impl Clock,
        leaving: &mut Leaving<V>,
    ) -> Result<(), Rejected> {
        let found = self.find(key, clock);
        let weight = Rejected::check(draft.weight, capacity.max_weight);
        let dead_on_arrival = draft.expires != Timestamp::NEVER && draft.expires.is_over(clock.now());
        match (weight, found) {
            (Ok(weight), Found::Live(slot)) if !dead_on_arrival => {
                let old = self.replace(slot, draft.value, weight, capacity, leaving);
                leaving.extend(old);
                self.set_expiry(slot, draft.expires);
                return Ok(());
            }
            (_, Found::Live(slot)) => leaving.extend(self.unlink(slot)),
            (_, Found::Dead(slot)) => leaving.extend(self.expire(slot)),
            (_, Found::Nothing) => {}
        }
        match weight {
            Ok(weight) if !dead_on_arrival => self.link(key, draft, weight, capacity, leaving),
            Ok(_) => {
                self.stats.insertions += 1;
                self.stats.expirations += 1;
                leaving.push(draft.value);
            }
            Err(rejected) => {
                self.stats.rejections += 1;
                leaving.push(draft.value);
                return Err(rejected);
            }
        }
        Ok(())
    }

    /// Makes room for a new entry and links it.
    fn link(
        &mut self,
        key: Key<'_>,
        draft: Draft<V>,
        weight: u32,
        capacity: &Capacity,
        leaving: &mut Leaving<V>,
    ) {
        // Counted before room is made, so that two writers in two shards cannot both take the last place.
        self.totals.add(1, u64::from(weight));
        if self.has_its_share() {
            self.make_room(capacity, leaving);
        }
        let slot = self.slab.insert(Slot {
            node: Node::new(key.hash.fingerprint(), weight),
            stamp: self.stamp,
            expires: draft.expires,
            key: key.bytes.into(),
            value: Some(draft.value),
        });
        self.stamp = self.stamp.wrapping_add(1);
        self.weight += u64::from(weight);
        self.expiring += usize::from(draft.expires != Timestamp::NEVER);
        self.stats.insertions += 1;
        let slab = &self.slab;
        let rehash = |&slot: &u32| spread(slab.get(slot).node.fingerprint);
        self.table
            .insert_unique(spread(key.hash.fingerprint()), slot, rehash);
        self.policy.admit(&mut self.slab, slot);
    }

    /// Whether this shard is to give before others when room is wanted: if it has as much as they have on average.
    fn has_its_share(&self) -> bool {
        self.totals.shards == 1 || (self.len() * self.totals.shards) as u64 >= self.totals.entries()
    }

    /// The slot of a value that was stored there as number `stamp`, if it is there still.
    pub(super) fn still(&self, (slot, stamp): (u32, u32)) -> Option<u32> {
        let entry = self.slab.occupied(slot)?;
        (entry.stamp == stamp).then_some(slot)
    }

    /// Replaces the value that was stored as number `stamp` in `slot`, keeping its expiry; false if it is not there
    /// any more. The value then leaves, too.
    pub(super) fn replace_stamped(
        &mut self,
        place: (u32, u32),
        (value, weight): (V, u64),
        capacity: &Capacity,
        leaving: &mut Leaving<V>,
    ) -> Result<bool, Rejected> {
        let Some(slot) = self.still(place) else {
            leaving.push(value);
            return Ok(false);
        };
        match Rejected::check(weight, capacity.max_weight) {
            Ok(weight) => {
                let old = self.replace(slot, value, weight, capacity, leaving);
                leaving.extend(old);
                Ok(true)
            }
            Err(rejected) => {
                self.stats.rejections += 1;
                leaving.push(value);
                leaving.extend(self.unlink(slot));
                Err(rejected)
            }
        }
    }

    /// Takes an entry out.
    pub(super) fn unlink(&mut self, slot: u32) -> Option<V> {
        self.policy.detach(&mut self.slab, slot);
        self.forget(slot)
    }

    /// Takes out an entry that the policy has let go of.
    fn forget(&mut self, slot: u32) -> Option<V> {
        let entry = self.slab.get(slot);
        let (node, expires) = (entry.node, entry.expires);
        if let Ok(place) = self
            .table
            .find_entry(spread(node.fingerprint), |&other| other == slot)
        {
            place.remove();
        }
        self.weight -= u64::from(node.weight);
        self.expiring -= usize::from(expires != Timestamp::NEVER);
        self.totals.subtract(1, u64::from(node.weight));
        self.slab.remove(slot)
    }

    /// Takes out a dead entry.
    pub(super) fn expire(&mut self, slot: u32) -> Option<V> {
        self.stats.expirations += 1;
        self.unlink(slot)
    }

    /// Puts another value in an entry's place, making room for it where it is heavier; counts as a use. Returns the
    /// old value.
    fn replace(
        &mut self,
        slot: u32,
        value: V,
        weight: u32,
        capacity: &Capacity,
        leaving: &mut Leaving<V>,
    ) -> Option<V> {
        let old_weight = self.slab.get(slot).node.weight;
        if weight != old_weight {
            // Detached, so that it is not chosen as its own victim.
            self.policy.detach(&mut self.slab, slot);
            self.totals.add(0, u64::from(weight));
            self.totals.subtract(0, u64::from(old_weight));
            self.weight = self.weight - u64::from(old_weight) + u64::from(weight);
            self.slab.get_mut(slot).node.weight = weight;
            self.make_room(capacity, leaving);
            self.policy.attach(&mut self.slab, slot);
        }
        self.hit(slot);
        self.stats.insertions += 1;
        let entry = self.slab.get_mut(slot);
        entry.stamp = self.stamp;
        self.stamp = self.stamp.wrapping_add(1);
        entry.value.replace(value)
    }

    pub(super) fn set_expiry(&mut self, slot: u32, expires: Timestamp) {
        let old = std::mem::replace(&mut self.slab.get_mut(slot).expires, expires);
        self.expiring += usize::from(expires != Timestamp::NEVER);
        self.expiring -= usize::from(old != Timestamp::NEVER);
    }

    /// Sets when an entry dies; takes it out if that has passed.
    pub(super) fn reschedule(
        &mut self,
        slot: u32,
        expires: Timestamp,
        clock: &impl Clock,
        leaving: &mut Leaving<V>,
    ) {
        if expires != Timestamp::NEVER && expires.is_over(clock.now()) {
            leaving.extend(self.expire(slot));
        } else {
            self.set_expiry(slot, expires);
        }
    }

    /// Evicts so many entries, or all; returns how many were wanting.
    pub(super) fn evict_batch(&mut self, count: u64, leaving: &mut Leaving<V>) -> u64 {
        let mut owed = count;
        while owed > 0 && self.evict(Pressure::Entries, leaving) {
            owed -= 1;
        }
        owed
    }

    /// Evicts while the store is over its capacity, but not this key's entry.
    pub(super) fn make_room_beside(&mut self, key: Key<'_>, capacity: &Capacity, leaving: &mut Leaving<V>) {
        let slot = match self.find(key, &Timestamp::NEVER) {
            Found::Live(slot) | Found::Dead(slot) => Some(slot),
            Found::Nothing => None,
        };
        // Detached, it is nobody's victim.
        slot.inspect(|&slot| self.policy.detach(&mut self.slab, slot));
        self.make_room(capacity, leaving);
        slot.inspect(|&slot| self.policy.attach(&mut self.slab, slot));
    }

    /// Evicts while the store is over its capacity, as far as this shard has entries.
    fn make_room(&mut self, capacity: &Capacity, leaving: &mut Leaving<V>) {
        while let Some(pressure) = capacity.exceeded_by(&self.totals).or(self.own_pressure()) {
            if !self.evict(pressure, leaving) {
                break;
            }
        }
    }

    /// A slab out of slot numbers is full, whatever the capacity.
    fn own_pressure(&self) -> Option<Pressure> {
        self.slab.is_full().then_some(Pressure::Entries)
    }

    /// Evicts one entry; false if there is none.
    pub(super) fn evict(&mut self, pressure: Pressure, leaving: &mut Leaving<V>) -> bool {
        let Some(slot) = self.policy.victim(&mut self.slab, pressure) else {
            return false;
        };
        self.stats.evictions += 1;
        leaving.extend(self.forget(slot));
        true
    }

    /// Takes out dead entries among the next few slots.
    pub(super) fn sweep(&mut self, clock: &impl Clock, leaving: &mut Leaving<V>) {
        if self.expiring > 0 {
            self.sweep_slots(SWEEP_STEPS, clock.now(), leaving);
        }
    }

    pub(super) fn sweep_slots(&mut self, steps: usize, now: Timestamp, leaving: &mut Leaving<V>) {
        for _ in 0..steps.min(self.slab.slots()) {
            let slot = if (self.hand as usize) < self.slab.slots() {
                self.hand
            } else {
                0
            };
            self.hand = slot + 1;
            let entry = self.slab.get(slot);
            if entry.value.is_some() && entry.expires.is_over(now) {
                leaving.extend(self.expire(slot));
            }
        }
    }

    /// Empties the shard; its memory goes with what is returned.
    pub(super) fn take_all(&mut self) -> impl Sized + use<V> {
        self.totals.subtract(self.len() as u64, self.weight);
        let fresh = Self {
            stats: self.stats,
            counting_since: self.counting_since,
            stamp: self.stamp,
            ..Self::new(self.eviction, Arc::clone(&self.totals))
        };
        std::mem::replace(self, fresh)
    }

    /// Keys of live entries in the next `count` slots from `start`.
    pub(super) fn keys(&self, start: usize, count: usize, now: Timestamp) -> Vec<Box<[u8]>> {
        let end = self.slab.slots().min(start.saturating_add(count));
        let taken = (start..end).filter_map(|slot| self.slab.occupied(u32::try_from(slot).ok()?));
        taken
            .filter(|entry| !entry.expires.is_over(now))
            .map(|entry| entry.key.clone())
            .collect()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            entries: self.len() as u64,
            weight: self.weight,
            ..self.stats
        }
    }

    pub(super) fn reset_stats(&mut self) {
        self.stats = Stats::default();
        self.counting_since = Instant::now();
    }

    pub(super) fn age(&self) -> Duration {
        self.counting_since.elapsed()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let linked = self.policy.validate(&self.slab)?;
        if (linked, self.table.len()) != (self.len(), self.len()) {
            let (table, slab) = (self.table.len(), self.len());
            return Err(format!(
                "policy, table, slab have {linked}, {table}, {slab} entries"
            ));
        }
        let (mut weight, mut expiring) = (0, 0);
        for &slot in &self.table {
            let entry = self.slab.get(slot);
            if entry.value.is_none() {
                return Err(format!("slot {slot} is in the table, but free"));
            }
            weight += u64::from(entry.node.weight);
            expiring += usize::from(entry.expires != Timestamp::NEVER);
        }
        if (weight, expiring) != (self.weight, self.expiring) {
            let counted = (self.weight, self.expiring);
            return Err(format!(
                "weight and expiring are {:?}, counted as {counted:?}",
                (weight, expiring)
            ));
        }
        Ok(())
    }
}
