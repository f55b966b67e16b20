//! Eviction: S3-FIFO over records of any size.
//!
//! Each queue is a ring. Space is made at the tail of the ring that a new record goes to:
//!
//! - An unreferenced record is passed; so is an expired or torn one, after its slot is cleared.
//! - A *probationary* record (in small or main) that was read more than once becomes protected and moves to the head of
//!   main. Otherwise it is evicted, and its slot becomes a ghost.
//! - A *protected* record moves to the head of main again, with its frequency lowered, if the frequency is above 0.
//!   Otherwise it is evicted, unless main is open.
//!
//! Main is *open* while less than half of it is protected. Then it takes probationary entries too, so that a workload
//! without a stable set of popular entries has the whole cache, and not only the small queue.
//!
//! Copying is bounded: a write that has copied all it may evicts what comes to the tail whatever its frequency.

use std::sync::atomic::Ordering;

use super::counters::Counter;
use super::mapped_words::store;
use super::position::Position;
use super::record::{LEAD, Record};
use super::recount::Change;
use super::ring::Ring;
use super::shard::Entry;
use super::slot::{Slot, SlotState};
use super::writer::Writer;
use crate::clock::Clock;

/// A probationary entry whose frequency is above this becomes protected.
const PROBATION_FREQUENCY: u64 = 1;
/// A record larger than this share of the small ring goes straight to main.
const LARGE_SHARE: u64 = 4;
/// Main has space if this share of it is free.
const FREE_SHARE: u64 = 32;
/// Main is open if less than one of so many parts of it is protected.
const OPEN_SHARE: u64 = 2;
/// How many steps a slice of the making of space takes.
const STEPS_PER_SLICE: usize = 2048;
/// How many words that are no record one step passes.
const SCANNED_WORDS: u64 = 4096;
/// How many records at main's tail are passed to find out whether main has space.
pub(super) const PASSED_RECORDS: usize = 256;

/// What is at a position of a ring.
pub(super) enum RingContent {
    /// A record that a slot points to.
    Entry(Entry),
    /// A record of so many words that no slot points to.
    Unreferenced(u64),
    /// Words that cannot be believed to be a record.
    Damaged,
}

/// Where new records go.
impl<C: Clock> Writer<'_, C> {
    /// Chooses the queue for a record of a key without a ghost. The result is Small or Probationary.
    ///
    /// While main is open, both queues take new records, in proportion to the space that they have for them, so that
    /// probation takes as long in one as in the other. With fixed queues, main would keep forever what it was first filled
    /// with, and every later entry would have to prove itself in a tenth of the space.
    pub(super) fn state_of_new(&self, words: usize) -> SlotState {
        let (small, main) = (self.shard.small, self.shard.main);
        if words as u64 > small.limit() / LARGE_SHARE {
            return SlotState::Probationary;
        }
        let probationary = main.limit().saturating_sub(main.protected());
        let draw = self.shard.hashing.draw(small.head(), main.head());
        let is_for_small =
            !self.main_is_open() || (draw * (small.limit() + probationary)) >> 16 < small.limit();
        if is_for_small && (small.has_space(words) || !self.main_has_space(words)) {
            SlotState::Small
        } else {
            SlotState::Probationary
        }
    }

    /// Returns whether so little of main is protected that all of it can be kept.
    fn main_is_open(&self) -> bool {
        let main = self.shard.main;
        main.protected() < main.limit() / OPEN_SHARE
    }

    /// Returns whether main has space beside its entries. Passes a few unreferenced and expired records at its tail.
    fn main_has_space(&self, words: usize) -> bool {
        let main = self.shard.main;
        let wanted = main.limit() / FREE_SHARE + words as u64;
        for _ in 0..PASSED_RECORDS {
            if main.used().saturating_add(wanted) <= main.limit() {
                return true;
            }
            let tail = main.tail();
            let words = match self.content_at(&main, tail) {
                RingContent::Entry(entry) if self.remove_if_expired(&entry) => entry.record.allotted as u64,
                RingContent::Unreferenced(words) => words,
                RingContent::Entry(_) | RingContent::Damaged => return false,
            };
            main.move_tail(tail.advanced(words));
        }
        false
    }
}

/// Making space.
impl<C: Clock> Writer<'_, C> {
    /// Advances the tail until a record of `words` words fits at the head.
    pub(super) fn make_space(&mut self, ring: &Ring<'_>, words: usize) {
        // Of two steps at least one frees a record's words or copies a record, and the number of copies is limited. More
        // steps than this mean that the ring is damaged.
        let most = 2 * (ring.capacity() / LEAD as u64) + u64::from(self.records_left);
        for _ in 0..=most {
            if ring.has_space(words) {
                return;
            }
            self.step(ring);
        }
        self.discard(ring);
    }

    /// Takes a limited number of steps; returns whether a record of `words` words fits at the head.
    pub(super) fn make_some_space(&mut self, ring: &Ring<'_>, words: usize) -> bool {
        for _ in 0..STEPS_PER_SLICE {
            if ring.has_space(words) {
                return true;
            }
            self.step(ring);
        }
        ring.has_space(words)
    }

    /// Advances the tail over one record, or over words that are none.
    fn step(&mut self, ring: &Ring<'_>) {
        let tail = ring.tail();
        match self.content_at(ring, tail) {
            RingContent::Entry(entry) => {
                let words = entry.record.allotted as u64;
                if !self.evict_or_keep(&entry) {
                    ring.move_tail(tail.advanced(words));
                }
            }
            RingContent::Unreferenced(words) => ring.move_tail(tail.advanced(words)),
            RingContent::Damaged => self.skip_damage(ring),
        }
    }

    /// Returns what is at a position between tail and head.
    pub(super) fn content_at(&self, ring: &Ring<'_>, position: Position) -> RingContent {
        let most = ring.max_words_at(position);
        let record = ring
            .record(position)
            .filter(|record| record.allotted >= LEAD && record.allotted as u64 <= most);
        let Some(record) = record else {
            return RingContent::Damaged;
        };
        match self.entry_of(ring, &record) {
            Some(entry) => RingContent::Entry(entry),
            None if ring.is_suspect(position) => RingContent::Damaged,
            None => RingContent::Unreferenced(record.allotted as u64),
        }
    }

    /// Returns the entry that a record belongs to, even if it has expired or is torn.
    pub(super) fn entry_of(&self, ring: &Ring<'_>, record: &Record) -> Option<Entry> {
        if record.slot >= self.shard.index.len() {
            return None;
        }
        let entry = self.entry_at(record.slot)?;
        let is_it = entry.state.queue() == Some(ring.queue) && entry.record.position == record.position;
        is_it.then_some(entry)
    }

    /// Advances the tail over words that are no record, up to the next record that a slot points to, but over no more than
    /// [`SCANNED_WORDS`].
    #[cold]
    fn skip_damage(&self, ring: &Ring<'_>) {
        let tail = ring.tail();
        if !ring.is_suspect(tail) {
            self.count(Counter::Damages, 1);
            ring.suspect_before(ring.head());
        }
        let most = ring.max_words_at(tail).min(SCANNED_WORDS);
        let next = (1..most).find(|words| {
            let content = self.content_at(ring, tail.advanced(*words));
            matches!(content, RingContent::Entry(_))
        });
        ring.move_tail(tail.advanced(next.unwrap_or(most)));
    }
}

/// What happens to the entry at a tail.
impl<C: Clock> Writer<'_, C> {
    /// Removes, evicts or keeps the entry at a ring's tail; returns whether the tail has been advanced already.
    fn evict_or_keep(&mut self, entry: &Entry) -> bool {
        if self.remove_if_expired(entry) {
            return false;
        }
        if entry.state == SlotState::Small {
            self.evict_or_promote(entry);
            return false;
        }
        self.evict_or_reinsert(entry)
    }

    /// Moves the entry at the small tail to main if it was read often enough; otherwise evicts it.
    fn evict_or_promote(&mut self, entry: &Entry) {
        let words = entry.record.allotted;
        if entry.slot.frequency() <= PROBATION_FREQUENCY || !self.may_copy(words) {
            self.count_eviction(entry);
            self.replace_by_ghost(entry);
            return;
        }
        let main = self.shard.main;
        self.make_space(&main, words);
        self.spend(words);
        self.copy_to_main(entry, &main, 0);
    }

    /// Moves the entry at the main tail to the head if it was read often enough; otherwise evicts it. Returns whether the
    /// tail has been advanced already.
    fn evict_or_reinsert(&mut self, entry: &Entry) -> bool {
        let words = entry.record.allotted;
        let kept = self.frequency_if_kept(entry).filter(|_| self.may_copy(words));
        let Some(frequency) = kept else {
            self.count_eviction(entry);
            if entry.state == SlotState::Probationary {
                self.replace_by_ghost(entry);
            } else {
                self.clear_slot(entry.at);
            }
            return false;
        };
        self.spend(words);
        let main = self.shard.main;
        let free = main.capacity().saturating_sub(main.used());
        let overlaps = free < words as u64;
        if overlaps {
            // The copy will overwrite the record. Readers that no longer find it start again.
            self.set_moving(entry.slot);
            main.move_tail(entry.record.position.advanced(words as u64));
        }
        self.copy_to_main(entry, &main, frequency);
        if overlaps {
            self.set_moving(Slot::EMPTY);
        }
        overlaps
    }

    /// Returns the frequency with which the entry at the main tail stays in main; `None` if it is to be evicted.
    fn frequency_if_kept(&self, entry: &Entry) -> Option<u64> {
        let frequency = entry.slot.frequency();
        if entry.state == SlotState::Probationary {
            return (frequency > PROBATION_FREQUENCY).then_some(0);
        }
        frequency
            .checked_sub(1)
            .or_else(|| self.main_is_open().then_some(0))
    }

    fn may_copy(&self, words: usize) -> bool {
        self.records_left > 0 && words <= self.words_left
    }

    /// Accounts for a copy of `words` words.
    fn spend(&mut self, words: usize) {
        self.records_left = self.records_left.saturating_sub(1);
        self.words_left = self.words_left.saturating_sub(words);
        self.count(Counter::Moved, words as u64);
    }

    /// Copies a live record to the head of main, as a protected one, and lets its slot point there.
    fn copy_to_main(&self, entry: &Entry, main: &Ring<'_>, frequency: u64) {
        let Some(from) = self.shard.ring_of(entry.state) else {
            return;
        };
        let position = main.head();
        main.copy_from(from, &entry.record, position);
        if self.is_scrubbing() {
            let start = main.index(position);
            main.clear_slack(&Record {
                position,
                start,
                ..entry.record
            });
        }
        main.move_head(position.advanced(entry.record.allotted as u64));
        let slot = Slot::pointing(
            entry.slot.fingerprint(),
            SlotState::Protected,
            frequency,
            position,
        );
        store(&self.shard.index[entry.at], slot.0, Ordering::Release);
        self.adjust_counts(entry.at, entry.state, &entry.record, Change::Removed);
        self.adjust_counts(entry.at, SlotState::Protected, &entry.record, Change::Added);
    }
}
