//! What one lock guards: an index of slot numbers, a slab of entries, a policy that orders them.
//!
//! Invariants, checked by [`Shard::validate`]: index, slab and policy have the same entries; `weight` and `expiring` are
//! sums over them; each of them is in the store's totals.
//!
//! Nothing here drops a value: what leaves is handed out, to be dropped when the lock is released.
//!
//! Memory for a new entry is allocated before anything is linked, and nothing else here needs any that it cannot do
//! without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::capacity::{Capacity, Change, Totals};
use super::index::{Index, MayBeFurther, Wanted};
use super::leaving::Leaving;
use super::raw_cache::NewEntry;
use super::slab::{Entry, Slab};
use crate::clock::{Clock, Timestamp};
use crate::condition::Condition;
use crate::error::{OutOfMemory, Rejected, WriteError};
use crate::key::{Key, KeyHash, KeyHasher};
use crate::memory::try_copy;
use crate::policy::{AnyPolicy, Eviction, Node, Policy, Pressure, Stamp};
use crate::stats::Stats;

/// How many slots a write looks at for entries whose time is over. So a dead entry stays for at most a quarter as
/// many writes as the shard has slots, and the dead are at most an eighth of all on average.
const SWEEP_STEPS: usize = 4;
/// After so many writes to one shard, other shards are swept for dead entries too, so that a program that writes one key
/// only still gets back what expired elsewhere.
const WRITES_PER_OTHER_SWEEP: u32 = 64;

/// What a key leads to.
#[derive(Clone, Copy)]
pub(super) enum Found {
    Live(u32),
    Dead(u32),
    Nothing,
}

/// What came of a write.
pub(super) struct Written {
    pub(super) stored: Result<bool, WriteError>,
    /// How many entries other shards are to give for it.
    pub(super) owed: u64,
    pub(super) other_due: OtherShardDue,
}

/// Whether the writer is to sweep another shard, too.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct OtherShardDue(pub(super) bool);

/// In this order, so that a hit touches one cache line of it: the lock's.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shard<V> {
    index: Index,
    hits: u64,
    misses: u64,
    slab: Slab<V>,
    policy: AnyPolicy,
    hasher: KeyHasher,
    eviction: Eviction,
    weight: u64,
    /// How many entries have an expiry: without any, writes need not know the time.
    expiring: usize,
    /// The slot that the sweep looks at next.
    hand: u32,
    /// Counts the writes, which sweep.
    writes: u32,
    /// Counts the values stored; each carries its number.
    stamp: Stamp,
    /// The other counts.
    pub(super) stats: Stats,
    counting_since: Instant,
    totals: Arc<Totals>,
}

impl<V> Shard<V> {
    pub(super) fn new(eviction: Eviction, totals: Arc<Totals>, hasher: KeyHasher) -> Self {
        Self {
            index: Index::default(),
            hits: 0,
            misses: 0,
            slab: Slab::default(),
            policy: AnyPolicy::new(eviction),
            hasher,
            eviction,
            weight: 0,
            expiring: 0,
            hand: 0,
            writes: 0,
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
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
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
            self.misses += 1;
            return Err(None);
        };
        if entry.is_dead(clock) {
            self.misses += 1;
            return Err(self.unlink_dead(slot));
        }
        self.hits += 1;
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

    /// Stores a new if the condition holds.
    pub(super) fn write(
        &mut self,
        key: Key<'_>,
        new: NewEntry<V>,
        condition: Condition,
        capacity: &Capacity,
        clock: &impl Clock,
        leaving: &mut Leaving<V>,
    ) -> Written {
        let other_due = self.sweep(clock, leaving);
        self.policy.prefetch(key.hash);
        let mut owed = 0;
        let mut found = self.find(key, clock);
        let stored = if condition.allows(matches!(found, Found::Live(_))) {
            let due = capacity.batch_due(self.totals.entries());
            if due > 0 {
                (owed, found) = self.evict_batch_before(due, key, clock, leaving);
            }
            self.put(key, found, new, capacity, clock, leaving).map(|()| true)
        } else {
            leaving.value(new.value);
            Ok(false)
        };
        Written {
            stored,
            owed,
            other_due,
        }
    }

    /// Evicts so many entries, or all that can leave; returns how many were missing, and what a key leads to then.
    #[cold]
    fn evict_batch_before(
        &mut self,
        count: u64,
        key: Key<'_>,
        clock: &impl Clock,
        leaving: &mut Leaving<V>,
    ) -> (u64, Found) {
        let mut owed = count;
        while owed > 0 && self.evict(Pressure::Entries, leaving) {
            owed -= 1;
        }
        (owed, self.find(key, clock))
    }

    /// Stores a new: over the key's entry if one was found, else as a new one.
    fn put(
        &mut self,
        key: Key<'_>,
        found: Found,
        new: NewEntry<V>,
        capacity: &Capacity,
        clock: &impl Clock,
        leaving: &mut Leaving<V>,
    ) -> Result<(), WriteError> {
        let weight = Rejected::check(new.weight, capacity.max_weight);
        let dead_on_arrival = clock.has_passed(new.expires_at);
        match (weight, found) {
            (Ok(weight), Found::Live(slot)) if !dead_on_arrival => {
                self.replace(slot, new.value, weight, capacity, leaving);
                self.set_expiry(slot, new.expires_at);
                return Ok(());
            }
            (_, Found::Live(slot)) => self.drop_own(slot, leaving),
            (_, Found::Dead(slot)) => self.expire_own(slot, leaving),
            (_, Found::Nothing) => {}
        }
        match weight {
            Ok(weight) if !dead_on_arrival => self.link(key, new, weight, capacity, leaving)?,
            Ok(_) => {
                self.stats.insertions += 1;
                self.stats.expirations += 1;
                leaving.value(new.value);
            }
            Err(rejected) => {
                self.stats.rejections += 1;
                leaving.value(new.value);
                return Err(rejected.into());
            }
        }
        Ok(())
    }

    /// Makes room for a new entry and links it. If there is no memory for it, some entries may have been evicted.
    fn link(
        &mut self,
        key: Key<'_>,
        new: NewEntry<V>,
        weight: u32,
        capacity: &Capacity,
        leaving: &mut Leaving<V>,
    ) -> Result<(), OutOfMemory> {
        let mut change = Change::came(weight);
        let has_its_share = self.has_its_share();
        if has_its_share {
            while let Some(pressure) = capacity
                .exceeded_with(&self.totals, change)
                .or(self.own_pressure())
            {
                let Some(victim) = self.evict_uncounted(pressure, leaving) else {
                    break;
                };
                change = change.and(Change::left(victim));
            }
        }
        // After the evictions, which may have left a slot and the memory of a key.
        let stored_key = match self.try_reserve().and_then(|()| leaving.new_key(key.bytes)) {
            Ok(stored_key) => stored_key,
            Err(error) => {
                self.totals.apply(change.and(Change::left(weight)));
                leaving.value(new.value);
                return Err(error);
            }
        };
        // Counted before it is there, so that two writers in two shards cannot both take the last place.
        self.totals.apply(change);
        if change.is_more() && has_its_share {
            self.make_room(capacity, leaving);
        }
        let slot = self.slab.insert(Entry {
            node: Node::new(weight, self.stamp),
            expires_at: new.expires_at,
            key: stored_key,
            value: new.value,
        });
        self.stamp = self.stamp.next();
        self.weight += u64::from(weight);
        self.expiring += usize::from(new.expires_at != Timestamp::NEVER);
        self.stats.insertions += 1;
        self.index.insert(key.hash, slot);
        self.policy.admit(&mut self.slab, slot, key.hash);
        Ok(())
    }

    /// Makes sure that slab and index have room for another entry.
    fn try_reserve(&mut self) -> Result<(), OutOfMemory> {
        self.slab.try_reserve()?;
        if self.index.is_full(self.slab.len()) {
            let (hasher, entries) = (&self.hasher, self.slab.entries());
            // In the slab's order, which the processor can read ahead in.
            self.index
                .try_grow(entries.map(|(slot, entry)| (hasher.hash(entry.key.bytes()), slot)))?;
        }
        Ok(())
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
            leaving.value(value);
            return Ok(false);
        };
        match Rejected::check(weight, capacity.max_weight) {
            Ok(weight) => {
                self.replace(slot, value, weight, capacity, leaving);
                Ok(true)
            }
            Err(rejected) => {
                self.stats.rejections += 1;
                leaving.value(value);
                self.drop_own(slot, leaving);
                Err(rejected)
            }
        }
    }

    /// Takes an entry out.
    pub(super) fn unlink(&mut self, slot: u32) -> Option<Entry<V>> {
        self.policy.detach(&mut self.slab, slot);
        self.forget(slot);
        let entry = self.slab.remove(slot)?;
        self.totals.apply(Change::left(entry.node.weight));
        Some(entry)
    }

    /// Takes out the entry of the operation's own key.
    fn drop_own(&mut self, slot: u32, leaving: &mut Leaving<V>) {
        if let Some(entry) = self.unlink(slot) {
            leaving.own_entry(entry);
        }
    }

    /// Forgets where an entry is that the policy has let go of, and the slab is yet to; tells the hash of its key.
    #[inline]
    fn forget(&mut self, slot: u32) -> KeyHash {
        let entry = self.slab.get(slot);
        let hash = self.hasher.hash(entry.key.bytes());
        self.policy.prefetch(hash);
        self.weight -= u64::from(entry.node.weight);
        self.expiring -= usize::from(entry.expires_at != Timestamp::NEVER);
        self.index.remove(hash, slot);
        hash
    }

    /// Takes out the operation's own entry, which is dead.
    #[cold]
    pub(super) fn expire_own(&mut self, slot: u32, leaving: &mut Leaving<V>) {
        self.stats.expirations += 1;
        self.drop_own(slot, leaving);
    }

    /// Takes out a dead entry.
    #[cold]
    fn expire(&mut self, slot: u32, leaving: &mut Leaving<V>) {
        self.stats.expirations += 1;
        if let Some(entry) = self.unlink(slot) {
            leaving.entry(entry);
        }
    }

    /// Takes out a dead entry; its value.
    #[cold]
    fn unlink_dead(&mut self, slot: u32) -> Option<V> {
        self.stats.expirations += 1;
        self.unlink(slot).map(|entry| entry.value)
    }

    /// Puts another value in an entry's place, making room for it where it is heavier; counts as a use. The
    /// old value leaves.
    fn replace(&mut self, slot: u32, value: V, weight: u32, capacity: &Capacity, leaving: &mut Leaving<V>) {
        if weight != self.slab.get(slot).node.weight {
            self.reweigh(slot, weight, capacity, leaving);
        }
        self.hit(slot);
        self.stats.insertions += 1;
        let entry = self.slab.get_mut(slot);
        entry.node.set_stamp(self.stamp);
        self.stamp = self.stamp.next();
        leaving.value(std::mem::replace(&mut entry.value, value));
    }

    /// Changes what an entry weighs, making room where that is more.
    #[inline(never)]
    fn reweigh(&mut self, slot: u32, weight: u32, capacity: &Capacity, leaving: &mut Leaving<V>) {
        // Detached, so that it is not chosen as its own victim.
        self.policy.detach(&mut self.slab, slot);
        let old_weight = std::mem::replace(&mut self.slab.get_mut(slot).node.weight, weight);
        self.totals.apply(Change::weight(old_weight, weight));
        self.weight = self.weight - u64::from(old_weight) + u64::from(weight);
        self.make_room(capacity, leaving);
        self.policy.attach(&mut self.slab, slot);
    }

    pub(super) fn set_expiry(&mut self, slot: u32, expires_at: Timestamp) {
        let old = std::mem::replace(&mut self.slab.get_mut(slot).expires_at, expires_at);
        self.expiring += usize::from(expires_at != Timestamp::NEVER);
        self.expiring -= usize::from(old != Timestamp::NEVER);
    }

    /// Sets when an entry dies; takes it out if that has passed.
    pub(super) fn reschedule(
        &mut self,
        slot: u32,
        expires_at: Timestamp,
        clock: &impl Clock,
        leaving: &mut Leaving<V>,
    ) {
        if clock.has_passed(expires_at) {
            self.expire_own(slot, leaving);
        } else {
            self.set_expiry(slot, expires_at);
        }
    }

    /// Evicts while the store is over its capacity, but not this key's entry; returns whether it evicted any.
    pub(super) fn make_room_beside(
        &mut self,
        key: Key<'_>,
        capacity: &Capacity,
        leaving: &mut Leaving<V>,
    ) -> bool {
        let slot = match self.find(key, &Timestamp::NEVER) {
            Found::Live(slot) | Found::Dead(slot) => Some(slot),
            Found::Nothing => None,
        };
        // Detached, it is nobody's victim.
        slot.inspect(|&slot| self.policy.detach(&mut self.slab, slot));
        let before = self.len();
        self.make_room(capacity, leaving);
        slot.inspect(|&slot| self.policy.attach(&mut self.slab, slot));
        self.len() < before
    }

    /// Evicts while the store is over its capacity, as far as this shard has entries that can leave.
    #[inline(never)]
    fn make_room(&mut self, capacity: &Capacity, leaving: &mut Leaving<V>) {
        while let Some(pressure) = capacity.exceeded_by(&self.totals) {
            if !self.evict(pressure, leaving) {
                break;
            }
        }
    }

    /// A slab out of slot numbers is full, whatever the capacity.
    #[inline]
    fn own_pressure(&self) -> Option<Pressure> {
        self.slab.is_full().then_some(Pressure::Entries)
    }

    /// Evicts one entry; returns false if there is none that can leave.
    pub(super) fn evict(&mut self, pressure: Pressure, leaving: &mut Leaving<V>) -> bool {
        let weight = self.evict_uncounted(pressure, leaving);
        weight.inspect(|&weight| self.totals.apply(Change::left(weight)));
        weight.is_some()
    }

    /// Evicts one entry, if there is one that can leave; returns its weight, which is not taken off the totals yet.
    fn evict_uncounted(&mut self, pressure: Pressure, leaving: &mut Leaving<V>) -> Option<u32> {
        if !leaving.has_room() {
            return None;
        }
        let slot = self.policy.victim(&mut self.slab, pressure)?;
        let hash = self.forget(slot);
        let entry = self.slab.remove(slot)?;
        let weight = entry.node.weight;
        self.stats.evictions += 1;
        self.policy.evicted(entry.node.queue(), hash);
        leaving.entry(entry);
        // By the next insertion it will be there.
        if let Some(next) = self.policy.next_victim() {
            self.slab.prefetch_around(next);
        }
        Some(weight)
    }

    /// Takes out dead entries among the next few slots, as part of a write.
    #[inline]
    pub(super) fn sweep(&mut self, clock: &impl Clock, leaving: &mut Leaving<V>) -> OtherShardDue {
        if self.expiring > 0 {
            self.sweep_slots(SWEEP_STEPS, clock.now(), leaving);
        }
        self.writes = self.writes.wrapping_add(1);
        OtherShardDue(self.writes.is_multiple_of(WRITES_PER_OTHER_SWEEP))
    }

    /// Takes out dead entries among so many slots; returns how many it looked at.
    #[inline(never)]
    pub(super) fn sweep_slots(&mut self, steps: usize, now: Timestamp, leaving: &mut Leaving<V>) -> usize {
        if self.expiring == 0 {
            return 0;
        }
        let steps = steps.min(self.slab.slots());
        for _ in 0..steps {
            let slot = if (self.hand as usize) < self.slab.slots() {
                self.hand
            } else {
                0
            };
            self.hand = slot + 1;
            if self
                .slab
                .occupied(slot)
                .is_some_and(|entry| entry.expires_at.is_over(now))
                && leaving.has_room()
            {
                self.expire(slot, leaving);
            }
        }
        steps
    }

    /// Empties the shard; its memory goes with what is returned.
    pub(super) fn take_all(&mut self) -> impl Sized + use<V> {
        self.totals.apply(Change::all_left(self.len(), self.weight));
        let fresh = Self {
            hits: self.hits,
            misses: self.misses,
            stats: self.stats,
            counting_since: self.counting_since,
            stamp: self.stamp,
            ..Self::new(self.eviction, Arc::clone(&self.totals), self.hasher.clone())
        };
        std::mem::replace(self, fresh)
    }

    /// Adds the keys of live entries in the next slots from `start` to `keys`, as many slots as it has room for.
    pub(super) fn copy_keys(
        &self,
        start: usize,
        keys: &mut Vec<Box<[u8]>>,
        now: Timestamp,
    ) -> Result<(), OutOfMemory> {
        let end = self.slab.slots().min(start.saturating_add(keys.capacity()));
        let taken = (start..end).filter_map(|slot| self.slab.occupied(u32::try_from(slot).ok()?));
        for entry in taken.filter(|entry| !entry.expires_at.is_over(now)) {
            keys.push(try_copy(entry.key.bytes())?);
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            hits: self.hits,
            misses: self.misses,
            entries: self.len() as u64,
            weight: self.weight,
            ..self.stats
        }
    }

    pub(super) fn reset_stats(&mut self) {
        (self.hits, self.misses) = (0, 0);
        self.stats = Stats::default();
        self.counting_since = Instant::now();
    }

    pub(super) fn age(&self) -> Duration {
        self.counting_since.elapsed()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let linked = self.policy.validate(&self.slab)?;
        let index = self.index.slots().count();
        if (linked, index) != (self.len(), self.len()) {
            let slab = self.len();
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
            expiring += usize::from(entry.expires_at != Timestamp::NEVER);
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
    match index.find(key.hash, &EntryOf(key.bytes, slab)) {
        Ok(found) => Some(found),
        Err(MayBeFurther(false)) => None,
        Err(MayBeFurther(true)) => look_further(index, slab, key.bytes, key.hash),
    }
}

/// Looks where the key's first bucket has spilled. (It takes the key in parts, which stay in registers until then.)
#[cold]
#[inline(never)]
fn look_further<'a, V>(
    index: &Index,
    slab: &'a Slab<V>,
    key: &[u8],
    hash: KeyHash,
) -> Option<(u32, &'a Entry<V>)> {
    index.find_spilled(hash, &EntryOf(key, slab))
}

/// The entry that has a key.
struct EntryOf<'a, 'k, V>(&'k [u8], &'a Slab<V>);

impl<'a, V> Wanted for EntryOf<'a, '_, V> {
    type Found = (u32, &'a Entry<V>);

    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn at(&self, slot: u32) -> Option<Self::Found> {
        let Self(key, slab) = self;
        let entry = slab.get(slot);
        entry.key.is(key).then_some((slot, entry))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use crate::local::lock::Lock;

    #[test]
    fn what_a_hit_touches_of_a_shard_lies_on_its_locks_cache_line() {
        let (lock, line) = (8, 64);
        assert_eq!(
            size_of::<Lock<Shard<u64>>>(),
            (lock + size_of::<Shard<u64>>()).next_multiple_of(line)
        );
        assert!(lock + offset_of!(Shard<u64>, misses) < line);
        assert!(lock + offset_of!(Shard<u64>, slab) + size_of::<Vec<u64>>() <= line);
    }
}
