//! An open file: the map, its geometry, and this process's registration in it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::error::SharedError;
use super::file::boot_id;
use super::hashing::{Hashing, Keyed};
use super::index::Kind;
use super::layout::{
    EPOCH, Geometry, LOCK, MAIN, PROCESS_COUNTERS, PROCESS_PID, PROCESS_READS, READ_STRIPE, READ_STRIPES,
    SHARD, SMALL, WORD,
};
use super::lock::{self, Owner};
use super::map::Map;
use super::process::{FileState, ProcessSlot, Registration};
use super::repair;
use super::ring::Ring;
use super::shard::Shard;
use super::words::{AtomicU64, add};
use super::writer::Writer;
use crate::clock::Clock;

/// What is counted, each in a word of the process's slot; hits and misses in a word of each of its stripes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Hits,
    Misses,
    Insertions,
    Removals,
    Evictions,
    Expirations,
    Rejections,
    /// Words of records copied within the rings.
    Moved,
    /// Words of records written.
    Written,
    /// Locks taken over from the dead.
    Recoveries,
    /// Damage met.
    Damages,
    /// Waits for a lock given up.
    Timeouts,
    /// Values that were found and meant nothing to the reader.
    Unreadable,
}

/// How many there are.
pub(super) const COUNTERS: usize = Counter::Unreadable as usize + 1;
/// Hits and misses, which come first.
pub(super) const READ_COUNTERS: usize = Counter::Misses as usize + 1;

thread_local! {
    /// The stripe of this thread, plus one; 0 before its first read.
    static STRIPE: Cell<usize> = const { Cell::new(0) };
}

/// The stripe in which this thread counts its reads. Threads take them in turns, so that two seldom write one cache line.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // A thread that is ending has none any longer.
    let assigned = STRIPE.try_with(Cell::get).unwrap_or(1);
    if assigned != 0 {
        return assigned - 1;
    }
    let stripe = NEXT.fetch_add(1, Ordering::Relaxed) % READ_STRIPES;
    STRIPE.try_with(|cell| cell.set(stripe + 1)).ok();
    stripe
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) map: Map,
    pub(super) geometry: Geometry,
    pub(super) hashing: Hashing,
    pub(super) registration: Registration,
}

impl Store {
    #[inline]
    pub(super) fn epoch(&self) -> &AtomicU64 {
        &self.map.words()[EPOCH]
    }

    /// The shard with this number, which is below the number of shards.
    #[inline]
    pub(super) fn shard(&self, number: usize) -> Shard<'_> {
        let geometry = &self.geometry;
        let words = &self.map.words()[geometry.shard(number)..][..geometry.shard_words()];
        let (control, words) = words.split_at(SHARD);
        let (index, words) = words.split_at(geometry.slots());
        let (small, main) = words.split_at(geometry.small);
        let hashing = &self.hashing;
        Shard {
            control,
            index,
            small: Ring::new(Kind::Small, &control[SMALL..MAIN], small, hashing),
            main: Ring::new(Kind::Main, &control[MAIN..MAIN + WORD], main, hashing),
            hashing,
            epoch: self.epoch(),
        }
    }

    #[inline]
    pub(super) fn shard_of(&self, key: &Keyed<'_>) -> Shard<'_> {
        self.shard(key.shard(self.geometry.shards))
    }

    /// The slot of this process, taken if it has none.
    #[inline]
    pub(super) fn process_slot(&self) -> Result<&ProcessSlot, SharedError> {
        match self.registration.current() {
            Some(slot) => Ok(slot),
            None => Ok(repair::enter(self, boot_id())?),
        }
    }

    /// The slot of this process, whose lock it certainly holds; and whether it had lost it before. A few system calls.
    pub(super) fn certain_slot(&self) -> Result<(&ProcessSlot, bool), SharedError> {
        let was_lost = self.registration.has_lost_slot(&self.map, &self.geometry);
        Ok((self.process_slot()?, was_lost))
    }

    /// What has become of the file. One system call.
    pub(super) fn file_state(&self) -> FileState {
        let state = self.registration.file_state(self.geometry.bytes);
        // A file that is too short has no words that may be read.
        if state == FileState::Current && !self.is_as_mapped() {
            return FileState::Overwritten;
        }
        state
    }

    /// Whether the header still describes the file that was mapped, and has its seed.
    fn is_as_mapped(&self) -> bool {
        let described = self.geometry.described().into_iter().chain([self.hashing.seed()]);
        let words = self.map.words().iter();
        words
            .zip(described)
            .all(|(word, described)| word.load(Ordering::Relaxed) == described)
    }

    /// The hits and misses that a stripe of a process slot counts.
    #[inline]
    pub(super) fn read_counters(&self, slot: usize, stripe: usize) -> &[AtomicU64] {
        let start = self.geometry.process(slot) + PROCESS_READS + stripe * READ_STRIPE;
        &self.map.words()[start..][..READ_COUNTERS]
    }

    /// The other counters of a process slot; its words for hits and misses are unused.
    #[inline]
    pub(super) fn counters(&self, slot: usize) -> &[AtomicU64] {
        &self.map.words()[self.geometry.process(slot) + PROCESS_COUNTERS..][..COUNTERS]
    }

    #[inline]
    pub(super) fn count(&self, what: Counter, more: u64) {
        match self.registration.current() {
            Some(slot) => self.count_in(slot, what, more),
            None => self.count_unregistered(what, more),
        }
    }

    #[inline]
    fn count_in(&self, slot: &ProcessSlot, what: Counter, more: u64) {
        let words = match what {
            Counter::Hits | Counter::Misses => self.read_counters(slot.number, stripe()),
            _ => self.counters(slot.number),
        };
        add(&words[what as usize], more, Ordering::Relaxed);
    }

    /// Counts if this process can take a slot. If not, nothing is counted: writes report the error.
    #[cold]
    fn count_unregistered(&self, what: Counter, more: u64) {
        if !self.registration.may_try() {
            return;
        }
        if let Ok(slot) = self.process_slot() {
            self.count_in(slot, what, more);
        }
    }

    /// The pid of a process that a lock word names.
    #[cold]
    fn pid_of(&self, owner: Owner) -> Option<u32> {
        let slot = owner.slot().filter(|slot| *slot < self.geometry.processes)?;
        let pid = &self.map.words()[self.geometry.process(slot) + PROCESS_PID];
        u32::try_from(pid.load(Ordering::Relaxed)).ok()
    }

    /// Locks a shard for writing. Without patience, that it was not to be had is not counted as a wait in vain.
    #[inline]
    pub(super) fn lock_for<'a, C: Clock>(
        &'a self,
        shard: Shard<'a>,
        clock: &'a C,
        patience: Duration,
    ) -> Result<Writer<'a, C>, SharedError> {
        let slot = self.process_slot()?;
        let is_alive = |owner| self.registration.is_alive(slot, owner, &self.map, &self.geometry);
        let now = clock.now();
        match lock::acquire(&shard.control[LOCK], slot.owner, is_alive, patience) {
            Ok(held) => {
                let counters = self.counters(slot.number);
                let writer = Writer::new(shard, held, counters, clock, now, self.geometry.max_record());
                Ok(writer)
            }
            Err(error) if patience.is_zero() => Err(error),
            Err(_) => {
                self.count(Counter::Timeouts, 1);
                Err(SharedError::Busy {
                    waited: patience,
                    holder: self.pid_of(Owner::from_u64(shard.control[LOCK].load(Ordering::Relaxed))),
                })
            }
        }
    }
}
