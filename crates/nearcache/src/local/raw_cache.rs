//! The store: shards and what they hold together. Every call is told the time and the capacity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::capacity::{Capacity, Totals};
use super::index::Index;
use super::keys::Keys;
use super::leaving::Leaving;
use super::lock::{Guard, Lock};
use super::shard::{Found, OtherShardDue, Shard, Written};
use super::slab::Slab;
use crate::clock::{Clock, Timestamp};
use crate::condition::Condition;
use crate::error::{OutOfMemory, UpdateError, WriteError};
use crate::key::{Key, KeyHash, KeyHasher};
use crate::memory::try_with_capacity;
use crate::policy::{Eviction, Pressure, Stamp};
use crate::stats::Stats;

/// How many slots of other shards a write looks at, when that is due.
const OTHER_SWEEP_STEPS: usize = 256;
/// As how many of them a shard counts at least, since to lock it takes time too.
const MIN_SHARD_STEPS: usize = 16;

/// How often an update starts again because another writer was faster. By chance that does not happen.
const MAX_UPDATE_ATTEMPTS: u32 = 10_000;

/// Something to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<V> {
    /// The value.
    pub value: V,
    /// What the entry counts against [`Capacity::max_weight`].
    pub weight: u64,
    /// When it dies; [`Timestamp::NEVER`] if it does not.
    pub expires_at: Timestamp,
}

/// What an atomic change goes by.
struct Read<V> {
    value: V,
    expires_at: Timestamp,
    /// Its slot and stamp.
    place: (u32, Stamp),
}

/// The shared part of a cache, for those who bring their own time and limits with every call.
///
/// Most programs want [`Cache`](super::Cache). The store is for embedders whose handles have clocks and capacities of
/// their own, such as the Python package. Wherever a `clock` is asked for, a [`Timestamp`] will do.
#[derive(Debug)]
pub struct RawCache<V> {
    shards: Box<[Lock<Shard<V>>]>,
    hasher: KeyHasher,
    totals: Arc<Totals>,
    /// The shard that gives next where another is short of room.
    hand: AtomicUsize,
}

/// Where an iteration over all slots is: the shard and its slot.
pub(super) type Position = (usize, usize);

/// A slice of the keys, and where the next one begins.
type Slice = (Vec<Box<[u8]>>, Position);

/// A store that stands still: every other thread that wants it waits until this is dropped.
#[derive(Debug)]
#[must_use = "the store stands still only while this lives"]
pub struct Frozen<'a, V>(&'a [Lock<Shard<V>>]);

impl<V> Frozen<'_, V> {
    fn shards(&self) -> impl Iterator<Item = &Shard<V>> {
        // SAFETY: `freeze` has locked them all, and they stay locked until this is dropped.
        #[allow(unsafe_code)]
        self.0.iter().map(|shard| unsafe { shard.held() })
    }
}

impl<V> Drop for Frozen<'_, V> {
    fn drop(&mut self) {
        for shard in self.0 {
            // SAFETY: `freeze` has locked it and forgotten the guard; it is unlocked nowhere else.
            #[allow(unsafe_code)]
            unsafe {
                shard.unlock_forgotten();
            }
        }
    }
}

impl<V> RawCache<V> {
    /// A store of so many shards, rounded up to a power of two.
    ///
    /// One shard keeps the policy's order exact; more let more threads in at once.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none for the shards, which take a few hundred bytes each.
    pub fn new(eviction: Eviction, shards: usize) -> Result<Self, OutOfMemory> {
        let count = shards.max(1).checked_next_power_of_two().ok_or(OutOfMemory)?;
        let mut shards = try_with_capacity(count)?;
        let hasher = KeyHasher::default();
        // The one allocation that aborts the process if it fails: stable Rust has no fallible one for an `Arc`.
        let totals = Arc::new(Totals::new(count));
        shards.resize_with(count, || {
            Lock::new(Shard::new(eviction, Arc::clone(&totals), hasher.clone()))
        });
        Ok(Self {
            shards: shards.into_boxed_slice(),
            hasher,
            totals,
            hand: AtomicUsize::new(0),
        })
    }

    /// Bytes of bookkeeping an entry costs beside its key and value: its slot, the length of its key, its place in the
    /// index (at the mean load), its part of the ghosts, and what the slab has in reserve.
    pub const BOOKKEEPING: usize =
        Slab::<V>::BYTES_PER_ENTRY - size_of::<V>() + 1 + Index::BYTES_PER_ENTRY + Eviction::BYTES_PER_ENTRY;

    /// The value of a live entry. O(1), one shard lock; the value is cloned under it, so that should be cheap.
    pub fn get(&self, key: &[u8], clock: &impl Clock) -> Option<V>
    where
        V: Clone,
    {
        self.get_with(key, clock, V::clone)
    }

    /// What `read` makes of a live entry's value. Cost as `get`; `read` runs under the lock, so it has to be quick and
    /// must not use the store.
    pub fn get_with<T>(&self, key: &[u8], clock: &impl Clock, read: impl FnOnce(&V) -> T) -> Option<T> {
        let key = self.hasher.key(key);
        // A dead value is dropped here, unlocked.
        self.with(key.hash, move |shard| shard.ask(key, clock, read)).ok()
    }

    /// Whether there is a live entry. O(1), one shard lock; counts neither as a use nor in the statistics.
    pub fn contains(&self, key: &[u8], clock: &impl Clock) -> bool {
        self.expires_at(key, clock).is_some()
    }

    /// When a live entry dies, [`Timestamp::NEVER`] if it does not; `None` if there is no entry. Cost as `contains`.
    pub fn expires_at(&self, key: &[u8], clock: &impl Clock) -> Option<Timestamp> {
        let key = self.hasher.key(key);
        let shard = self.lock(key.hash);
        match shard.find(key, clock) {
            Found::Live(slot) => Some(shard.slab().get(slot).expires_at),
            Found::Dead(_) | Found::Nothing => None,
        }
    }

    /// Stores a value, whether or not there was one. O(1) amortized, one shard lock, a further one for each entry that
    /// has to be evicted elsewhere.
    ///
    /// A new that is dead already removes the entry.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if it weighs more than the capacity, or if there is no memory for it; the old value is removed then
    /// too.
    pub fn insert(
        &self,
        key: &[u8],
        new: NewEntry<V>,
        capacity: &Capacity,
        clock: &impl Clock,
    ) -> Result<(), WriteError> {
        self.insert_if(key, new, Condition::Always, capacity, clock)
            .map(drop)
    }

    /// Stores a value if the condition holds; returns whether it did. Atomic; cost as `insert`.
    ///
    /// # Errors
    ///
    /// As `insert`, if the condition holds.
    pub fn insert_if(
        &self,
        key: &[u8],
        new: NewEntry<V>,
        condition: Condition,
        capacity: &Capacity,
        clock: &impl Clock,
    ) -> Result<bool, WriteError> {
        let key = self.hasher.key(key);
        let mut leaving = Leaving::new();
        let Written {
            stored,
            owed,
            other_due,
        } = self.with(key.hash, |shard| {
            shard.write(key, new, condition, capacity, clock, &mut leaving)
        });
        drop(leaving);
        if stored != Ok(false) {
            self.settle(key, owed, capacity);
        }
        self.sweep_other(other_due, clock);
        stored
    }

    /// Changes a value by a function of it, atomically, keeping its expiry; returns whether there was a live entry.
    ///
    /// The function runs unlocked, and again if another writer was faster. Two shard locks when none was. Counts as a
    /// use, not as a hit. It gives the new value and its weight.
    ///
    /// # Errors
    ///
    /// The function's error (the old value stays), [`UpdateError::Rejected`] (the old value is removed), or
    /// [`UpdateError::Overtaken`] by others ten thousand times, or by itself, if the function writes the key.
    pub fn update<E>(
        &self,
        key: &[u8],
        capacity: &Capacity,
        clock: &impl Clock,
        mut function: impl FnMut(V) -> Result<(V, u64), E>,
    ) -> Result<bool, UpdateError<E>>
    where
        V: Clone,
    {
        let key = self.hasher.key(key);
        for _ in 0..MAX_UPDATE_ATTEMPTS {
            let Some(read) = self.read(key, clock) else {
                return Ok(false);
            };
            let new = function(read.value).map_err(UpdateError::Function)?;
            let mut leaving = Leaving::new();
            let mut shard = self.lock(key.hash);
            let done = shard.replace_stamped(read.place, new, capacity, &mut leaving);
            let other_due = shard.sweep(clock, &mut leaving);
            drop(shard);
            drop(leaving);
            self.sweep_other(other_due, clock);
            if done? {
                self.settle(key, 0, capacity);
                return Ok(true);
            }
        }
        Err(UpdateError::Overtaken {
            attempts: MAX_UPDATE_ATTEMPTS,
        })
    }

    /// Takes an entry out if `condition` holds of its value; the value, if it did. Atomic.
    ///
    /// The condition is asked with nothing locked, and again if another writer was faster (at most ten thousand times: it
    /// must not write the key itself). Two shard locks when none was.
    pub fn remove_if(
        &self,
        key: &[u8],
        clock: &impl Clock,
        mut condition: impl FnMut(&V) -> bool,
    ) -> Option<V>
    where
        V: Clone,
    {
        let key = self.hasher.key(key);
        for _ in 0..MAX_UPDATE_ATTEMPTS {
            let read = self.read(key, clock).filter(|read| condition(&read.value))?;
            let mut shard = self.lock(key.hash);
            if let Some(slot) = shard.still(read.place) {
                shard.stats.removals += 1;
                let removed = shard.unlink(slot);
                drop(shard);
                return removed.map(|entry| entry.value);
            }
        }
        None
    }

    /// Sets when a live entry dies to what `expiry` makes of its value and present expiry, unless that is `None`; returns
    /// whether it was set. Atomic, and asked as the condition of [`remove_if`](Self::remove_if).
    pub fn expire_if(
        &self,
        key: &[u8],
        clock: &impl Clock,
        mut expiry: impl FnMut(&V, Timestamp) -> Option<Timestamp>,
    ) -> bool
    where
        V: Clone,
    {
        let key = self.hasher.key(key);
        for _ in 0..MAX_UPDATE_ATTEMPTS {
            let read = self.read(key, clock);
            let wanted = read.and_then(|read| Some((read.place, expiry(&read.value, read.expires_at)?)));
            let Some((place, expires_at)) = wanted else {
                return false;
            };
            let mut leaving = Leaving::new();
            let mut shard = self.lock(key.hash);
            if let Some(slot) = shard.still(place) {
                shard.reschedule(slot, expires_at, clock, &mut leaving);
                drop(shard);
                return true;
            }
        }
        false
    }

    /// A live value, when it dies, and by what it is known to be still there.
    fn read(&self, key: Key<'_>, clock: &impl Clock) -> Option<Read<V>>
    where
        V: Clone,
    {
        let shard = self.lock(key.hash);
        let Found::Live(slot) = shard.find(key, clock) else {
            return None;
        };
        let entry = shard.slab().get(slot);
        Some(Read {
            value: entry.value.clone(),
            expires_at: entry.expires_at,
            place: (slot, entry.node.stamp()),
        })
    }

    /// Takes an entry out; its value, if it was alive. O(1), one shard lock.
    pub fn remove(&self, key: &[u8], clock: &impl Clock) -> Option<V> {
        let key = self.hasher.key(key);
        let mut leaving = Leaving::new();
        let mut shard = self.lock(key.hash);
        let removed = match shard.find(key, clock) {
            Found::Live(slot) => {
                shard.stats.removals += 1;
                shard.unlink(slot)
            }
            Found::Dead(slot) => {
                shard.expire_own(slot, &mut leaving);
                None
            }
            Found::Nothing => None,
        };
        let other_due = shard.sweep(clock, &mut leaving);
        drop(shard);
        self.sweep_other(other_due, clock);
        removed.map(|entry| entry.value)
    }

    /// Sets when a live entry dies; returns whether there was one. O(1), one shard lock.
    ///
    /// A time that has passed removes it. Not a use: the policy does not hear of it.
    pub fn expire_at(&self, key: &[u8], expires_at: Timestamp, clock: &impl Clock) -> bool {
        let key = self.hasher.key(key);
        let mut leaving = Leaving::new();
        let mut shard = self.lock(key.hash);
        let found = shard.find(key, clock);
        match found {
            Found::Live(slot) => shard.reschedule(slot, expires_at, clock, &mut leaving),
            Found::Dead(slot) => shard.expire_own(slot, &mut leaving),
            Found::Nothing => {}
        }
        let other_due = shard.sweep(clock, &mut leaving);
        drop(shard);
        self.sweep_other(other_due, clock);
        matches!(found, Found::Live(_))
    }

    /// Takes out everything and gives its memory back. O(1) under each shard's lock in turn; the entries, O(n), are
    /// dropped outside of it.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = locked(shard);
            shard.stats.removals += shard.len() as u64;
            let all = shard.take_all();
            drop(shard);
            drop(all);
        }
    }

    /// How many entries there are, dead ones included that have not been noticed yet. O(1), no lock.
    pub fn len(&self) -> u64 {
        self.totals.entries()
    }

    /// Whether there are none. O(1), no lock.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the entries weigh together. O(1), no lock.
    pub fn weight(&self) -> u64 {
        self.totals.weight()
    }

    /// The keys of entries alive at `now`, in no order. Locks one shard at a time, for a few hundred slots each time.
    ///
    /// A key that is there all the while is met exactly once; one that comes or goes meanwhile may be met or not.
    pub fn keys(&self, now: Timestamp) -> Keys<'_, V> {
        Keys::new(self, now)
    }

    /// The next slots' live keys for an iterator that is at `(shard, slot)`; `None` past the last shard.
    pub(super) fn some_keys(
        &self,
        (shard, slot): Position,
        count: usize,
        now: Timestamp,
    ) -> Option<Result<Slice, OutOfMemory>> {
        let shard_lock = self.shards.get(shard)?;
        let mut keys = match try_with_capacity(count) {
            Ok(keys) => keys,
            Err(error) => return Some(Err(error)),
        };
        let locked = locked(shard_lock);
        let copied = locked.copy_keys(slot, &mut keys, now);
        let next = slot.saturating_add(count);
        let shard_ends = next >= locked.slab().slots();
        let next = if shard_ends { (shard + 1, 0) } else { (shard, next) };
        Some(copied.map(|()| (keys, next)))
    }

    /// Starts counting anew, from zero. What the store holds stays. One shard lock after the other.
    pub fn reset_stats(&self) {
        for shard in &self.shards {
            locked(shard).reset_stats();
        }
    }

    /// For how long the store has been counting: since it was made, or since the last [`reset_stats`](Self::reset_stats).
    pub fn age(&self) -> Duration {
        let ages = self.shards.iter().map(|shard| locked(shard).age());
        ages.max().unwrap_or_default()
    }

    /// What was counted since the store was made or last told to count anew. One shard lock after the other; so a sum over moments close together.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            sum += locked(shard).stats();
        }
        sum
    }

    /// Takes all locks, so that the store is at rest until the returned value is dropped.
    ///
    /// For use around `fork`: taken before, dropped after by parent and child, no lock is left behind locked. The
    /// thread must not use the store meanwhile: it would wait for itself.
    ///
    /// It allocates nothing, so that it cannot fail within `fork`.
    pub fn freeze(&self) -> Frozen<'_, V> {
        for shard in &self.shards {
            std::mem::forget(locked(shard));
        }
        Frozen(&self.shards)
    }

    /// Checks all invariants; for tests. O(n), with all locks held.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        let frozen = self.freeze();
        let mut stats = Stats::default();
        for shard in frozen.shards() {
            shard.validate()?;
            stats += shard.stats();
        }
        let (counted, totals) = ((stats.entries, stats.weight), (self.len(), self.weight()));
        if counted == totals {
            Ok(())
        } else {
            Err(format!(
                "shards have (entries, weight) {counted:?}, the totals say {totals:?}"
            ))
        }
    }

    #[allow(clippy::cast_possible_truncation)] // the lowest bits are what is wanted
    fn shard_of(&self, hash: KeyHash) -> usize {
        // The number of shards is a power of two, and a division a tenth of a get.
        hash.shard_bits() as usize & (self.shards.len() - 1)
    }

    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn lock(&self, hash: KeyHash) -> Guard<'_, Shard<V>> {
        locked(&self.shards[self.shard_of(hash)])
    }

    /// What `work` makes of a key's shard, locked.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn with<T>(&self, hash: KeyHash, work: impl FnOnce(&mut Shard<V>) -> T) -> T {
        self.shards[self.shard_of(hash)].with(empty, work)
    }

    /// Lets other shards give what the writing one did not: the rest of a batch, and what is over the capacity.
    #[inline]
    fn settle(&self, written: Key<'_>, owed: u64, capacity: &Capacity) {
        if owed > 0 || capacity.exceeded_by(&self.totals).is_some() {
            self.collect(written, owed, capacity);
        }
    }

    /// Takes from the shards in turn what is owed; if the others have nothing left, from the writing one after all.
    #[cold]
    fn collect(&self, written: Key<'_>, mut owed: u64, capacity: &Capacity) {
        let writer = self.shard_of(written.hash);
        let mut empty = 0;
        while empty + 1 < self.shards.len() {
            let pressure = match capacity.exceeded_by(&self.totals) {
                Some(pressure) => pressure,
                None if owed > 0 => Pressure::Entries,
                None => return,
            };
            let next = self.hand.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            if next == writer {
                continue;
            }
            let mut leaving = Leaving::new();
            if locked(&self.shards[next]).evict(pressure, &mut leaving) {
                owed = owed.saturating_sub(1);
                empty = 0;
            } else {
                empty += 1;
            }
        }
        // More than once if there is no memory to hand over all victims at a time.
        while capacity.exceeded_by(&self.totals).is_some() {
            let mut leaving = Leaving::new();
            let mut shard = self.lock(written.hash);
            if !shard.make_room_beside(written, capacity, &mut leaving) {
                break;
            }
            drop(shard);
        }
    }

    /// Sweeps another shard if a write found that due.
    #[inline]
    fn sweep_other(&self, OtherShardDue(due): OtherShardDue, clock: &impl Clock) {
        if due && self.shards.len() > 1 {
            self.sweep_next(clock.now());
        }
    }

    /// Sweeps the next shards, as many as have a number of slots together.
    #[cold]
    fn sweep_next(&self, now: Timestamp) {
        let mut left = OTHER_SWEEP_STEPS;
        while left > 0 {
            let next = self.hand.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let mut leaving = Leaving::new();
            let swept = locked(&self.shards[next]).sweep_slots(left, now, &mut leaving);
            left = left.saturating_sub(swept.max(MIN_SHARD_STEPS));
        }
    }
}

/// Locks a shard. One that a panic left half changed is emptied first: a cache may forget, but must not be wrong.
#[allow(clippy::inline_always)] // for `get`
#[inline(always)]
fn locked<V>(shard: &Lock<Shard<V>>) -> Guard<'_, Shard<V>> {
    shard.lock(empty)
}

/// Makes a shard anew that a panic left half changed.
fn empty<V>(shard: &mut Shard<V>) {
    // Not dropped: the entries may be in any state, and dropping could run user code under the lock.
    std::mem::forget(shard.take_all());
}
