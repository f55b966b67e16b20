//! The recount of a shard's entries and live words, a few slots at a time.
//!
//! A process that dies under the lock may leave the counts off by one record, and after a reboot nothing is known of them.
//! To go over the whole index under the lock would stop all writers of a large file for seconds. So a recount is spread
//! over many writes. Its state lies in the shard's control words: the next slot to count, and the sums over all slots
//! before that one. While it lasts, a change of a slot that was counted already changes the sums as well as the counts.
//! When the last slot has been counted, the sums are exact and replace the counts.
//!
//! The counts are statistics, and steer where new records go. No read or write depends on their being exact.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::index::Kind;
use super::layout::{MISCOUNTS, RECOUNT};
use super::record::{Record, is_torn};
use super::shard::Entry;
use super::words::{AtomicU64, put};
use super::writer::Writer;
use crate::clock::Clock;

/// How many slots each write counts while a recount lasts.
pub(super) const SLOTS_A_WRITE: usize = 64;
/// A slice of a recount ends after it has read so many bytes of values.
const BYTES_A_SLICE: usize = 64 << 10;
/// A scrub removes entries with longer keys: nothing may be allocated here, so it cannot tell whether such a key is in the
/// index twice.
const LONGEST_KEY: usize = 1024;

/// The recount's word: the next slot, plus one, and why it was started. 0: there is none.
const NEXT: u64 = u32::MAX as u64;
const SCRUB: u64 = 1 << 62;
const CHECK: u64 = 1 << 63;
const SUMS: usize = 4;

/// Why the entries of a shard are recounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The counts may be wrong, because a process died under the lock or a ring was emptied.
    Unsure,
    /// The counts should be right: if they are not, [`Writer::miscounts`] grows.
    Check,
}

/// Entries, and words of live records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    entries: u64,
    small: u64,
    main: u64,
    earned: u64,
}

impl Sums {
    const fn of(kind: Kind, words: u64) -> Self {
        let (small, main, earned) = match kind {
            Kind::Small => (words, 0, 0),
            Kind::Main => (0, words, words),
            Kind::Trial | Kind::Ghost => (0, words, 0),
        };
        Self {
            entries: 1,
            small,
            main,
            earned,
        }
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            entries: with(self.entries, other.entries),
            small: with(self.small, other.small),
            main: with(self.main, other.main),
            earned: with(self.earned, other.earned),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    fn minus(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }
}

/// Whether an entry appears or disappears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Removed,
}

/// Has writers recount a shard's entries, and remove damaged ones, from now on.
pub(super) fn start_scrub(control: &[AtomicU64]) {
    for sum in &control[RECOUNT + 1..][..SUMS] {
        put(sum, 0, Ordering::Relaxed);
    }
    put(&control[RECOUNT], SCRUB | 1, Ordering::Relaxed);
}

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

    /// Sets the counts of a shard that was emptied just now. There is nothing to count, but a scrub has to go over all slots
    /// all the same: after a reboot, some may point beyond the heads, to where new records are going to be.
    pub(super) fn recount_nothing(&self) {
        if self.is_scrubbing() {
            self.start_recount(Reason::Unsure);
        } else {
            self.set_recount(0);
        }
        self.store_counts(Sums::default());
    }

    /// Whether a recount has not ended yet.
    #[inline]
    pub(super) fn is_recounting(&self) -> bool {
        self.recount() != 0
    }

    /// Whether entries may be damaged, or twice in the index, because of a reboot.
    #[inline]
    pub(super) fn is_scrubbing(&self) -> bool {
        self.recount() & SCRUB != 0
    }

    /// How often a check found the counts wrong.
    pub(super) fn miscounts(&self) -> u64 {
        self.shard.control[MISCOUNTS].load(Ordering::Relaxed)
    }

    /// Counts up to so many slots more, fewer if they hold large values.
    #[cold]
    pub(super) fn continue_recount(&self, most_slots: usize) {
        let state = self.recount();
        let slots = self.shard.index.len();
        let mut at = self.next_to_recount().min(slots);
        let end = slots.min(at.saturating_add(most_slots));
        let (mut sums, mut bytes) = (self.sums(), 0);
        while at < end && bytes < BYTES_A_SLICE {
            if state & SCRUB != 0 {
                bytes += self.scrub(at);
            }
            if let Some(entry) = self.entry_at(at) {
                sums = sums.plus(Sums::of(entry.kind, entry.record.allotted as u64));
            }
            at += 1;
        }
        if at < slots {
            self.store_sums(sums);
            self.set_recount((state & !NEXT) | (at as u64 + 1));
            return;
        }
        if state & CHECK != 0 && sums != self.counts() {
            put(
                &self.shard.control[MISCOUNTS],
                self.miscounts().wrapping_add(1),
                Ordering::Relaxed,
            );
        }
        self.store_counts(sums);
        self.set_recount(0);
    }

    /// Takes an entry that appears in a slot, or disappears from it, into the counts.
    pub(super) fn tally(&self, at: usize, kind: Kind, record: &Record, change: Change) {
        let one = Sums::of(kind, record.allotted as u64);
        let changed = |sums: Sums| match change {
            Change::Added => sums.plus(one),
            Change::Removed => sums.minus(one),
        };
        self.store_counts(changed(self.counts()));
        if at < self.next_to_recount() {
            self.store_sums(changed(self.sums()));
        }
    }

    /// Removes the entry in a slot if it is damaged; returns how many bytes of its value were read.
    fn scrub(&self, at: usize) -> usize {
        if self.slot(at).kind().is_none_or(|kind| kind == Kind::Ghost) {
            return 0;
        }
        let Some(entry) = self.entry_at(at) else {
            self.vacate(at);
            return 0;
        };
        if is_torn(entry.record.first) || self.is_cut_off(&entry) || self.has_flaw(&entry) {
            self.vacate(at);
        }
        entry.record.value
    }

    /// Whether the ring does not hold all of an entry's record.
    pub(super) fn is_cut_off(&self, entry: &Entry) -> bool {
        let ring = self.shard.ring(entry.kind);
        ring.is_none_or(|ring| entry.record.allotted as u64 > ring.room_at(entry.record.position))
    }

    fn has_flaw(&self, entry: &Entry) -> bool {
        let mut room = [MaybeUninit::uninit(); LONGEST_KEY];
        let room = room.get_mut(..entry.record.key);
        room.is_none_or(|room| {
            let key = self.shard.copy_key(entry, room);
            self.shard.flaw(entry, key).is_some()
        })
    }

    #[inline]
    fn recount(&self) -> u64 {
        self.shard.control[RECOUNT].load(Ordering::Relaxed)
    }

    fn set_recount(&self, state: u64) {
        put(&self.shard.control[RECOUNT], state, Ordering::Relaxed);
    }

    /// The next slot to be counted; all before it have been, if there is a recount.
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
            earned: word(3),
        }
    }

    fn store_sums(&self, sums: Sums) {
        let values = [sums.entries, sums.small, sums.main, sums.earned];
        for (word, value) in self.sum_words().iter().zip(values) {
            put(word, value, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> Sums {
        let (small, main) = (&self.shard.small, &self.shard.main);
        Sums {
            entries: self.entries(),
            small: small.live(),
            main: main.live(),
            earned: main.earned(),
        }
    }

    fn store_counts(&self, counts: Sums) {
        self.set_entries(counts.entries);
        self.shard.small.set_live(counts.small);
        self.shard.main.set_live(counts.main);
        self.shard.main.set_earned(counts.earned);
    }
}
