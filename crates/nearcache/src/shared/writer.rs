//! A shard whose lock is held: finding entries and changing slots. The operations are in files of their own: `insert.rs`,
//! `incr.rs`, `remove.rs`, `expire.rs`; `evict.rs` makes space for new records.
//!
//! Invariants:
//!
//! - The process may be killed before any store, so the shard is valid after each of them. `docs/design/shared.md` explains
//!   why. Only the counts may be wrong afterwards; a recount corrects them.
//! - The work under the lock is bounded. Nothing is allocated, and no code of the caller runs except its clock.
//! - The tail never passes a record that a slot points to without changing the slot. So the counts stay right.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::counters::Counter;
use super::entry::FlightId;
use super::hashing::Keyed;
use super::layout::{BUCKET, ENTRIES, GHOST_CLOCK, LOCK, MOVING, SHARD_EPOCH};
use super::lock::{self, Guard};
use super::mapped_words::{AtomicU64, add, store};
use super::record::{Record, Stamp, is_torn};
use super::recount::{Change, Reason, SLOTS_PER_WRITE};
use super::ring::Ring;
use super::shard::{Entry, Shard};
use super::slot::{Queue, Slot, SlotState};
use super::time::{has_expired, has_expired_at, is_retained, to_millis};
use crate::clock::{Clock, Timestamp};
use crate::condition::Condition;

/// How many words of records one write may copy within the rings.
const MOVED_WORDS: usize = 65_536;
/// How many records one write may copy within the rings.
pub(super) const MOVED_RECORDS: u32 = 256;
/// A sleeping process wakes and takes the lock in less time.
const PAUSE: Duration = Duration::from_micros(100);

/// What a write requires of the entry under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    Condition(Condition),
    /// The entry still has this stamp.
    Unchanged(Stamp),
    /// This flight for the key is still in progress.
    Flight(FlightId),
}

impl Requirement {
    pub(super) const NONE: Self = Self::Condition(Condition::Always);

    /// `shard` is the shard in which the key was found.
    pub(super) fn is_met(self, key: &Keyed<'_>, found: &Found, shard: &Shard<'_>) -> bool {
        match self {
            Self::Condition(condition) => condition.allows(found.live().is_some()),
            Self::Unchanged(stamp) => found.live().is_some_and(|entry| entry.stamp(key.hash) == stamp),
            Self::Flight(flight) => found.flight(shard) == Some(flight),
        }
    }
}

/// What a writer finds under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Live(Entry),
    /// An expired entry in its stale time, or one for whose key a flight is in progress.
    Retained(Entry),
    Nothing,
}

impl Found {
    pub(super) const fn live(&self) -> Option<&Entry> {
        match self {
            Self::Live(entry) => Some(entry),
            Self::Retained(_) | Self::Nothing => None,
        }
    }

    /// Returns the entry, live or retained.
    pub(super) const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Live(entry) | Self::Retained(entry) => Some(entry),
            Self::Nothing => None,
        }
    }

    /// Returns the flight in progress for the key.
    pub(super) fn flight(&self, shard: &Shard<'_>) -> Option<FlightId> {
        shard.extension(self.entry()?)?.flight()
    }
}

/// A shard whose lock this process holds.
#[derive(Debug)]
pub(super) struct Writer<'a, C> {
    pub(super) shard: Shard<'a>,
    counters: &'a [AtomicU64],
    pub(super) clock: &'a C,
    /// The time when the lock was taken, in milliseconds.
    pub(super) now: u64,
    /// The size of the largest record in words.
    pub(super) max_record: usize,
    /// How many words this write may still copy within the rings.
    pub(super) words_left: usize,
    /// How many records this write may still copy within the rings.
    pub(super) records_left: u32,
    // The last field, so that the lock is released after everything else is dropped.
    _guard: Guard<'a>,
}

/// Taking and releasing the lock.
impl<'a, C: Clock> Writer<'a, C> {
    /// Prepares a shard for writing: completes a `clear`, repairs what a dead owner left, and continues a recount.
    pub(super) fn new(
        shard: Shard<'a>,
        guard: Guard<'a>,
        counters: &'a [AtomicU64],
        clock: &'a C,
        now: Timestamp,
        max_record: usize,
    ) -> Self {
        let owner_died = guard.owner_died;
        let writer = Self {
            shard,
            counters,
            clock,
            now: to_millis(now),
            max_record,
            words_left: MOVED_WORDS,
            records_left: MOVED_RECORDS,
            _guard: guard,
        };
        if owner_died {
            writer.count(Counter::Recoveries, 1);
            // A record that the dead owner was copying over itself is lost.
            writer.set_moving(Slot::EMPTY);
            writer.start_recount(Reason::Unsure);
        }
        writer.complete_clear();
        writer.restart_invalid_rings();
        if writer.is_recounting() {
            writer.continue_recount(SLOTS_PER_WRITE);
        }
        writer
    }

    /// Releases the lock between two slices of work. If other processes wait for it, sleeps until one of them has it:
    /// otherwise this process would take it again before they wake.
    pub(super) fn pause(self) {
        let has_waiters = lock::has_waiters(&self.shard.control[LOCK]);
        drop(self);
        if has_waiters {
            thread::sleep(PAUSE);
        }
    }

    /// Empties the shard if the cache was cleared since the last write.
    fn complete_clear(&self) {
        let epoch = self.shard.epoch.load(Ordering::SeqCst);
        let own = &self.shard.control[SHARD_EPOCH];
        if own.load(Ordering::Relaxed) != epoch {
            self.shard.small.clear();
            self.shard.main.clear();
            self.reset_counts();
            store(own, epoch, Ordering::Release);
        }
    }

    fn restart_invalid_rings(&self) {
        for ring in [&self.shard.small, &self.shard.main] {
            if !ring.is_valid() {
                ring.restart();
                self.discard(ring);
            }
        }
    }

    /// Empties a damaged ring.
    #[cold]
    pub(super) fn discard(&self, ring: &Ring<'_>) {
        self.count(Counter::Damages, 1);
        ring.clear();
        self.start_recount(Reason::Unsure);
    }
}

/// Control words and slots.
impl<C: Clock> Writer<'_, C> {
    pub(super) fn count(&self, what: Counter, more: u64) {
        add(&self.counters[what as usize], more, Ordering::Relaxed);
    }

    /// Tells readers which slot's record is being copied over itself.
    pub(super) fn set_moving(&self, slot: Slot) {
        store(&self.shard.control[MOVING], slot.0, Ordering::Release);
    }

    pub(super) fn entries(&self) -> u64 {
        self.shard.control[ENTRIES].load(Ordering::Relaxed)
    }

    pub(super) fn set_entries(&self, entries: u64) {
        store(&self.shard.control[ENTRIES], entries, Ordering::Relaxed);
    }

    /// Returns the number of words in all records that were ever replaced by ghosts. Ghosts measure their age by it.
    pub(super) fn ghost_clock(&self) -> u64 {
        self.shard.control[GHOST_CLOCK].load(Ordering::Relaxed)
    }

    pub(super) fn slot(&self, at: usize) -> Slot {
        Slot(self.shard.index[at].load(Ordering::Relaxed))
    }

    /// Returns the entry in a slot: the slot points to a record, and the record names the slot.
    pub(super) fn entry_at(&self, at: usize) -> Option<Entry> {
        let slot = self.slot(at);
        let state = slot.state()?;
        let ring = self.shard.ring_of(state)?;
        let record = ring.record(ring.position(slot)?)?;
        (record.slot == at).then_some(Entry {
            record,
            state,
            slot,
            at,
        })
    }

    /// Replaces a slot. `removed` is the entry that was in it; `added` is the record that it points to now.
    pub(super) fn replace_slot(
        &self,
        at: usize,
        slot: Slot,
        removed: Option<&Entry>,
        added: Option<(SlotState, &Record)>,
    ) {
        store(&self.shard.index[at], slot.0, Ordering::Release);
        if let Some(entry) = removed {
            self.adjust_counts(at, entry.state, &entry.record, Change::Removed);
            if entry.state.queue() == Some(Queue::Main) {
                self.remember_free_space(&entry.record);
            }
        }
        if let Some((state, record)) = added {
            self.adjust_counts(at, state, record, Change::Added);
        }
    }

    /// Empties a slot.
    pub(super) fn clear_slot(&self, at: usize) {
        self.replace_slot(at, Slot::EMPTY, self.entry_at(at).as_ref(), None);
    }

    /// Replaces an entry by its ghost, and advances the ghost clock.
    pub(super) fn replace_by_ghost(&self, entry: &Entry) {
        let now = self.ghost_clock().wrapping_add(entry.record.allotted as u64);
        store(&self.shard.control[GHOST_CLOCK], now, Ordering::Relaxed);
        let ghost = Slot::new(entry.slot.fingerprint(), SlotState::Ghost, 0, now);
        self.replace_slot(entry.at, ghost, Some(entry), None);
    }
}

/// Finding entries.
impl<C: Clock> Writer<'_, C> {
    /// Finds the entry of a key, expired or not. On the way, removes torn entries and, after a reboot, a second entry of
    /// the key.
    pub(super) fn find(&self, key: &Keyed<'_>) -> Option<Entry> {
        let fingerprint = key.fingerprint();
        let mut found: Option<Entry> = None;
        for bucket in key.buckets(self.shard.index.len() / BUCKET) {
            for at in bucket * BUCKET..(bucket + 1) * BUCKET {
                // Both buckets may be the same.
                if self.slot(at).fingerprint() != fingerprint || found.is_some_and(|found| found.at == at) {
                    continue;
                }
                let Some(entry) = self.entry_at(at) else {
                    continue;
                };
                // To write to a record that is not wholly between tail and head would damage others.
                if is_torn(entry.record.first) || self.is_scrubbing() && self.is_cut_off(&entry) {
                    self.clear_slot(at);
                } else if self.has_key(&entry, key.bytes) {
                    if found.is_some() {
                        self.clear_slot(at);
                        continue;
                    }
                    if !self.is_scrubbing() {
                        return Some(entry);
                    }
                    found = Some(entry);
                }
            }
        }
        found
    }

    fn has_key(&self, entry: &Entry, key: &[u8]) -> bool {
        let ring = self.shard.ring_of(entry.state);
        ring.is_some_and(|ring| ring.key_is(&entry.record, key))
    }

    /// Finds the live or retained entry of a key. Another expired one is removed.
    pub(super) fn find_present(&self, key: &Keyed<'_>) -> Found {
        let Some(entry) = self.find(key) else {
            return Found::Nothing;
        };
        if !has_expired(&entry.record, self.clock) {
            return Found::Live(entry);
        }
        if is_retained(&entry.record, self.shard.extension(&entry), self.now) {
            return Found::Retained(entry);
        }
        self.remove_expired(&entry);
        Found::Nothing
    }

    /// Finds the live entry of a key. An expired one is removed, unless it is retained.
    pub(super) fn find_live(&self, key: &Keyed<'_>) -> Option<Entry> {
        match self.find_present(key) {
            Found::Live(entry) => Some(entry),
            Found::Retained(_) | Found::Nothing => None,
        }
    }

    /// Removes an expired entry.
    pub(super) fn remove_expired(&self, entry: &Entry) {
        self.count_expiration(entry);
        self.clear_slot(entry.at);
    }

    /// Counts an evicted entry. The placeholder of a flight never was one.
    pub(super) fn count_eviction(&self, entry: &Entry) {
        if !entry.record.is_placeholder() {
            self.count(Counter::Evictions, 1);
        }
    }

    /// Counts the end of an expired entry. The placeholder of a flight never was one.
    pub(super) fn count_expiration(&self, entry: &Entry) {
        if !entry.record.is_placeholder() {
            self.count(Counter::Expirations, 1);
        }
    }

    /// Removes an entry that has expired and is not retained, or that is torn because its writer died; returns whether it
    /// did.
    pub(super) fn remove_if_expired(&self, entry: &Entry) -> bool {
        if is_torn(entry.record.first) {
            self.clear_slot(entry.at);
            return true;
        }
        let is_over = has_expired_at(&entry.record, self.now)
            && !is_retained(&entry.record, self.shard.extension(entry), self.now);
        if is_over {
            self.remove_expired(entry);
        }
        is_over
    }
}
