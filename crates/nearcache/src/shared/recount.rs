//! Recounting a shard's entries and live words, a few slots at a time.
//!
//! A process that dies under the lock may leave the counts wrong by one record, and after a reboot they mean nothing. To
//! recount the whole index under the lock would stop all writers of a large file for seconds, so a recount is spread over
//! many writes. Its state is in the shard's control words: the next slot to count, and the sums over all slots before it.
//! While a recount lasts, a change of a slot that has been counted changes the sums as well as the counts. When the last
//! slot has been counted, the sums are exact and replace the counts.
//!
//! The counts are statistics, and they influence where new records go. No read or write depends on their being exact.
//!
//! After a reboot a recount is also a *scrub*: it removes entries that are damaged or duplicate.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::layout::{MISCOUNTS, RECOUNT};
use super::mapped_words::{AtomicU64, store};
use super::record::{Record, is_torn};
use super::shard::Entry;
use super::slot::SlotState;
use super::writer::Writer;
use crate::clock::Clock;

/// How many slots each write counts while a recount lasts.
pub(super) const SLOTS_PER_WRITE: usize = 64;
/// A slice of a scrub ends after it has read so many bytes of values.
const BYTES_PER_SLICE: usize = 64 << 10;
/// A scrub removes entries with longer keys. Nothing may be allocated under the lock, so it cannot tell whether such a key
/// is in the index twice.
const LONGEST_KEY: usize = 1024;

// The recount's word: the next slot, plus one, and the flags; 0 if there is no recount.
const NEXT: u64 = u32::MAX as u64;
const SCRUB: u64 = 1 << 62;
const CHECK: u64 = 1 << 63;
const SUMS: usize = 4;

/// Why a shard is recounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The counts may be wrong, because a process died under the lock or a ring was discarded.
    Unsure,
    /// The counts should be right. If they are not, [`Writer::miscounts`] increases.
    Check,
}

/// Numbers of entries, without placeholders, and of words in live records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    entries: u64,
    small: u64,
    main: u64,
    protected: u64,
}

impl Sums {
    fn of(state: SlotState, record: &Record) -> Self {
        let words = record.allotted as u64;
        let (small, main, protected) = match state {
            SlotState::Small => (words, 0, 0),
            SlotState::Protected => (0, words, words),
            SlotState::Probationary | SlotState::Ghost => (0, words, 0),
        };
        Self {
            entries: u64::from(!record.is_placeholder()),
            small,
            main,
            protected,
        }
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            entries: with(self.entries, other.entries),
            small: with(self.small, other.small),
            main: with(self.main, other.main),
            protected: with(self.protected, other.protected),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    fn minus(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }
}

/// Whether an entry is added to the index or removed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Removed,
}

/// Starts a scrub of a shard. Later writes carry it out.
pub(super) fn start_scrub(control: &[AtomicU64]) {
    for sum in &control[RECOUNT + 1..][..SUMS] {
        store(sum, 0, Ordering::Relaxed);
    }
    store(&control[RECOUNT], SCRUB | 1, Ordering::Relaxed);
}

/// Starting and continuing a recount.
impl<C: Clock> Writer<'_, C> {
    /// Starts a recount. A scrub that has not ended starts again, whatever the reason.
    #[cold]
    pub(super) fn start_recount(&self, reason: Reason) {
        let flag = match reason {
            _ if self.is_scrubbing() => SCRUB,
            Reason::Unsure => 0,
            Reason::Check => CHECK,
        };
        // If this process dies here, the next owner of the lock starts the recount again.
        self.set_recount(1 | flag);
        self.store_sums(Sums::default());
    }

    /// Resets the counts of a shard that was just emptied. No recount is needed, but a scrub has to examine all slots all
    /// the same: after a reboot, some may point beyond the heads, to where new records will be.
    pub(super) fn reset_counts(&self) {
        if self.is_scrubbing() {
            self.start_recount(Reason::Unsure);
        } else {
            self.set_recount(0);
        }
        self.store_counts(Sums::default());
    }

    /// Returns whether a recount is in progress.
    #[inline]
    pub(super) fn is_recounting(&self) -> bool {
        self.recount() != 0
    }

    /// Returns whether a scrub is in progress: entries may be damaged, or twice in the index, because of a reboot.
    #[inline]
    pub(super) fn is_scrubbing(&self) -> bool {
        self.recount() & SCRUB != 0
    }

    /// Returns how often a check found wrong counts.
    pub(super) fn miscounts(&self) -> u64 {
        self.shard.control[MISCOUNTS].load(Ordering::Relaxed)
    }

    /// Counts up to `most_slots` more slots, fewer if a scrub reads large values.
    #[cold]
    pub(super) fn continue_recount(&self, most_slots: usize) {
        let state = self.recount();
        let slots = self.shard.index.len();
        let mut at = self.next_to_recount().min(slots);
        let end = slots.min(at.saturating_add(most_slots));
        let (mut sums, mut bytes) = (self.sums(), 0);
        while at < end && bytes < BYTES_PER_SLICE {
            if state & SCRUB != 0 {
                bytes += self.scrub(at);
            }
            if let Some(entry) = self.entry_at(at) {
                sums = sums.plus(Sums::of(entry.state, &entry.record));
            }
            at += 1;
        }
        if at < slots {
            self.store_sums(sums);
            self.set_recount((state & !NEXT) | (at as u64 + 1));
            return;
        }
        if state & CHECK != 0 && sums != self.counts() {
            store(
                &self.shard.control[MISCOUNTS],
                self.miscounts().wrapping_add(1),
                Ordering::Relaxed,
            );
        }
        self.store_counts(sums);
        self.set_recount(0);
    }

    /// Counts an entry that is added to a slot or removed from it.
    pub(super) fn adjust_counts(&self, at: usize, state: SlotState, record: &Record, change: Change) {
        let one = Sums::of(state, record);
        let changed = |sums: Sums| match change {
            Change::Added => sums.plus(one),
            Change::Removed => sums.minus(one),
        };
        self.store_counts(changed(self.counts()));
        if at < self.next_to_recount() {
            self.store_sums(changed(self.sums()));
        }
    }

    /// Clears a slot that holds no valid entry and no ghost; returns how many bytes of the entry's value were read.
    fn scrub(&self, at: usize) -> usize {
        if self.slot(at).has_no_record() {
            return 0;
        }
        let Some(entry) = self.entry_at(at) else {
            self.clear_slot(at);
            return 0;
        };
        if is_torn(entry.record.first) || self.is_cut_off(&entry) || self.has_flaw(&entry) {
            self.clear_slot(at);
        }
        entry.record.value
    }

    /// Returns whether an entry's record crosses the head of its ring, or the end of the suspect words.
    pub(super) fn is_cut_off(&self, entry: &Entry) -> bool {
        let ring = self.shard.ring_of(entry.state);
        ring.is_none_or(|ring| entry.record.allotted as u64 > ring.max_words_at(entry.record.position))
    }

    fn has_flaw(&self, entry: &Entry) -> bool {
        let mut buffer = [MaybeUninit::uninit(); LONGEST_KEY];
        let Some(buffer) = buffer.get_mut(..entry.record.key) else {
            return true;
        };
        let Some(ring) = self.shard.ring_of(entry.state) else {
            return true;
        };
        let key = ring.key(&entry.record).read(buffer);
        self.shard.flaw(entry, key).is_some()
    }
}

/// The recount's state and the counts.
impl<C: Clock> Writer<'_, C> {
    #[inline]
    fn recount(&self) -> u64 {
        self.shard.control[RECOUNT].load(Ordering::Relaxed)
    }

    fn set_recount(&self, state: u64) {
        store(&self.shard.control[RECOUNT], state, Ordering::Relaxed);
    }

    /// Returns the next slot to be counted; 0 if there is no recount.
    #[inline]
    fn next_to_recount(&self) -> usize {
        let next = self.recount() & NEXT;
        usize::try_from(next.saturating_sub(1)).unwrap_or_default()
    }

    fn sum_words(&self) -> &[AtomicU64] {
        &self.shard.control[RECOUNT + 1..][..SUMS]
    }

    fn sums(&self) -> Sums {
        let word = |at: usize| self.sum_words()[at].load(Ordering::Relaxed);
        Sums {
            entries: word(0),
            small: word(1),
            main: word(2),
            protected: word(3),
        }
    }

    fn store_sums(&self, sums: Sums) {
        let values = [sums.entries, sums.small, sums.main, sums.protected];
        for (word, value) in self.sum_words().iter().zip(values) {
            store(word, value, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> Sums {
        let (small, main) = (&self.shard.small, &self.shard.main);
        Sums {
            entries: self.entries(),
            small: small.live(),
            main: main.live(),
            protected: main.protected(),
        }
    }

    fn store_counts(&self, counts: Sums) {
        self.set_entries(counts.entries);
        self.shard.small.set_live(counts.small);
        self.shard.main.set_live(counts.main);
        self.shard.main.set_protected(counts.protected);
    }
}
