//! What one lock guards: an index of slot numbers, a slab of entries, a policy that orders them.
//!
//! Invariants, checked by [`Shard::validate`]: index, slab and policy have the same entries; `weight` and `expiring` are
//! sums over them; each of them is in the store's totals.
//!
//! Nothing here drops a value: what leaves is handed out, to be dropped when the lock is released.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::capacity::{Capacity, Change, Totals};
use super::index::Index;
use super::slab::{Entry, Slab};
use super::store::Draft;
use super::stored_key::StoredKey;
use crate::clock::{Clock, Timestamp};
use crate::error::Rejected;
use crate::key::{Key, KeyHash, KeyHasher};
use crate::policy::{AnyPolicy, Eviction, Node, Policy, Pressure, Stamp};
use crate::stats::Stats;

/// Values on their way out. Four fit without an allocation: an insertion rarely drops more.
pub(super) type Leaving<V> = SmallVec<[V; 4]>;

/// How many slots a write looks at for entries whose time is over. So a dead entry stays for at most a quarter as
/// many writes as the shard has slots, and the dead are at most an eighth of all on average.
const SWEEP_STEPS: usize = 4;

/// What a key leads to.
#[derive(Clone, Copy)]
pub(super) enum Found {
    Live(u32),
    Dead(u32),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Shard<V> {
    hasher: KeyHasher,
    index: Index,
    slab: Slab<V>,
    policy: AnyPolicy,
    eviction: Eviction,
    weight: u64,
    /// How many entries have an expiry: without any, writes need not know the time.
    expiring: usize,
    /// The slot that the sweep looks at next.
    hand: u32,
    /// Counts the values stored; each carries its number.
    stamp: Stamp,
    pub(super) stats: Stats,
    counting_since: Instant,
    totals: Arc<Totals>,
}

impl<V> Shard<V> {
    pub(super) fn new(eviction: Eviction, totals: Arc<Totals>, hasher: KeyHasher) -> Self {
        Self {
            hasher,
            index: Index::default(),
            slab: Slab::default(),
            policy: AnyPolicy::new(eviction),
            eviction,
            weight: 0,
            expiring: 0,
            hand: 0,
            stamp: Stamp::default(),
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
        match look_up(&self.index, &self.slab, key) {
            Some((slot, entry)) if entry.is_dead(clock) => Found::Dead(slot),
            Some((slot, _)) => Found::Live(slot),
            None => Found::Nothing,
        }
    }

    /// What `read` makes of a key's value: counted, and a use. Else the value that was found dead, if one was.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn ask<T>(
        &mut self,
        key: Key<'_>,
        clock: &impl Clock,
        read: impl FnOnce(&V) -> T,
    ) -> Result<T, Option<V>> {
        let Some((slot, entry)) = look_up(&self.index, &self.slab, key) else {
            self.stats.misses += 1;
            return Err(None);
        };
        if entry.is_dead(clock) {
            self.stats.misses += 1;
            return Err(self.expire(slot));
        }
        self.stats.hits += 1;
        let answer = read(&entry.value);
        if self.policy.hit_is_mark() {
            entry.node.count_use();
        } else {
            self.hit(slot);
        }
        Ok(answer)
    }

    /// Tells the policy that an entry was asked for.
    fn hit(&mut self, slot: u32) {
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
        let dead_on_arrival = clock.has_passed(draft.expires);
        match (weight, found) {
            (Ok(weight), Found::Live(slot)) if !dead_on_arrival => {
                let old = self.replace(slot, draft.value, weight, capacity, leaving);
                leaving.push(old);
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
        let mut change = Change::came(weight);
        let has_its_share = self.has_its_share();
        if has_its_share {
            while let Some(pressure) = capacity.exceeded_with(&self.totals, change) {
                let Some(victim) = self.evict_uncounted(pressure, leaving) else {
                    break;
                };
                change = change.and(Change::left(victim));
            }
        }
        // Counted before it is there, so that two writers in two shards cannot both take the last place.
        self.totals.apply(change);
        if change.is_more() && has_its_share || self.slab.is_full() {
            self.make_room(capacity, leaving);
        }
        let slot = self.slab.insert(Entry {
            node: Node::new(weight, self.stamp),
            expires: draft.expires,
            key: StoredKey::new(key.bytes),
            value: draft.value,
        });
        self.stamp = self.stamp.next();
        self.weight += u64::from(weight);
        self.expiring += usize::from(draft.expires != Timestamp::NEVER);
        self.stats.insertions += 1;
        self.enter(key.hash, slot);
        self.policy.admit(&mut self.slab, slot, key.hash);
    }

    /// Enters an entry that is in the slab already into the index.
    fn enter(&mut self, hash: KeyHash, slot: u32) {
        if self.index.is_full() {
            let (hasher, entries) = (&self.hasher, self.slab.entries());
            // In the slab's order, which the processor can read ahead in.
            self.index
                .grow(entries.map(|(slot, entry)| (hasher.hash(entry.key.bytes()), slot)));
        } else {
            self.index.insert(hash, slot);
        }
    }

    /// Whether this shard is to give before others when room is wanted: if it does not have far less than they have on
    /// average.
    fn has_its_share(&self) -> bool {
        // Without a division, which takes as long as a look-up.
        (self.len() * self.totals.shards * 8) as u64 >= self.totals.entries() * 7
    }

    /// The slot of a value that was stored there as number `stamp`, if it is there still.
    pub(super) fn still(&self, (slot, stamp): (u32, Stamp)) -> Option<u32> {
        let entry = self.slab.occupied(slot)?;
        (entry.node.stamp() == stamp).then_some(slot)
    }

    /// Replaces the value that was stored as number `stamp` in `slot`, keeping its expiry; false if it is not there
    /// any more. The value then leaves, too.
    pub(super) fn replace_stamped(
        &mut self,
        place: (u32, Stamp),
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
                leaving.push(old);
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
        let (_, weight, value) = self.forget(slot);
        self.totals.apply(Change::left(weight));
        value
    }

    /// Takes out an entry that the policy has let go of, and the totals are yet to; also tells the hash of its key, and
    /// what it weighed.
    fn forget(&mut self, slot: u32) -> (KeyHash, u32, Option<V>) {
        let entry = self.slab.get(slot);
        let (weight, expires) = (entry.node.weight, entry.expires);
        let hash = self.hasher.hash(entry.key.bytes());
        self.index.remove(hash, slot);
        self.weight -= u64::from(weight);
        self.expiring -= usize::from(expires != Timestamp::NEVER);
        (hash, weight, self.slab.remove(slot))
    }

    /// Takes out a dead entry.
    #[cold]
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
    ) -> V {
        let old_weight = self.slab.get(slot).node.weight;
        if weight != old_weight {
            // Detached, so that it is not chosen as its own victim.
            self.policy.detach(&mut self.slab, slot);
            self.totals.apply(Change::weight(old_weight, weight));
            self.weight = self.weight - u64::from(old_weight) + u64::from(weight);
            self.slab.get_mut(slot).node.weight = weight;
            self.make_room(capacity, leaving);
            self.policy.attach(&mut self.slab, slot);
        }
        self.hit(slot);
        self.stats.insertions += 1;
        let entry = self.slab.get_mut(slot);
        entry.node.set_stamp(self.stamp);
        self.stamp = self.stamp.next();
        std::mem::replace(&mut entry.value, value)
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
        if clock.has_passed(expires) {
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
        let weight = self.evict_uncounted(pressure, leaving);
        weight.inspect(|&weight| self.totals.apply(Change::left(weight)));
        weight.is_some()
    }

    /// Evicts one entry, if there is one, and tells what it weighed; the totals are yet to hear of it.
    fn evict_uncounted(&mut self, pressure: Pressure, leaving: &mut Leaving<V>) -> Option<u32> {
        let slot = self.policy.victim(&mut self.slab, pressure)?;
        self.stats.evictions += 1;
        let queue = self.slab.get(slot).node.queue();
        let (hash, weight, value) = self.forget(slot);
        self.policy.evicted(queue, hash);
        if let Some(value) = value {
            leaving.push(value);
        }
        Some(weight)
    }

    /// Takes out dead entries among the next few slots.
    #[inline]
    pub(super) fn sweep(&mut self, clock: &impl Clock, leaving: &mut Leaving<V>) {
        if self.expiring > 0 {
            self.sweep_slots(SWEEP_STEPS, clock.now(), leaving);
        }
    }

    pub(super) fn sweep_slots(&mut self, steps: usize, now: Timestamp, leaving: &mut Leaving<V>) {
        if self.expiring == 0 {
            return;
        }
        for _ in 0..steps.min(self.slab.slots()) {
            let slot = if (self.hand as usize) < self.slab.slots() {
                self.hand
            } else {
                0
            };
            self.hand = slot + 1;
            if self
                .slab
                .occupied(slot)
                .is_some_and(|entry| entry.expires.is_over(now))
            {
                leaving.extend(self.expire(slot));
            }
        }
    }

    /// Empties the shard; its memory goes with what is returned.
    pub(super) fn take_all(&mut self) -> impl Sized + use<V> {
        self.totals.apply(Change::all_left(self.len(), self.weight));
        let fresh = Self {
            stats: self.stats,
            counting_since: self.counting_since,
            stamp: self.stamp,
            ..Self::new(self.eviction, Arc::clone(&self.totals), self.hasher.clone())
        };
        std::mem::replace(self, fresh)
    }

    /// Keys of live entries in the next `count` slots from `start`.
    pub(super) fn keys(&self, start: usize, count: usize, now: Timestamp) -> Vec<Box<[u8]>> {
        let end = self.slab.slots().min(start.saturating_add(count));
        let taken = (start..end).filter_map(|slot| self.slab.occupied(u32::try_from(slot).ok()?));
        taken
            .filter(|entry| !entry.expires.is_over(now))
            .map(|entry| entry.key.bytes().into())
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
        if (linked, self.index.len()) != (self.len(), self.len()) {
            let (index, slab) = (self.index.len(), self.len());
            return Err(format!(
                "policy, index, slab have {linked}, {index}, {slab} entries"
            ));
        }
        let (mut weight, mut expiring) = (0, 0);
        for slot in self.index.slots() {
            let Some(entry) = self.slab.occupied(slot) else {
                return Err(format!("slot {slot} is in the index, but free"));
            };
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

/// Where a key's entry is, dead or alive. It is handed out with its slot, so that it is looked up only once.
#[allow(clippy::inline_always)] // for `get`
#[inline(always)]
fn look_up<'a, V>(index: &Index, slab: &'a Slab<V>, key: Key<'_>) -> Option<(u32, &'a Entry<V>)> {
    index.find(key.hash, |slot| {
        let entry = slab.get(slot);
        entry.key.is(key.bytes).then_some((slot, entry))
    })
}
