//! An open file: the map, what is known of it, and this process's place in it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::SharedError;
use super::file::boot_id;
use super::hashing::{Hashing, Keyed};
use super::index::Kind;
use super::layout::{EPOCH, Geometry, LOCK, MAIN, PROCESS_COUNTERS, SHARD, SMALL, WORD};
use super::lock;
use super::map::Map;
use super::process::{Place, Places};
use super::repair;
use super::ring::Ring;
use super::shard::Shard;
use super::words::{AtomicU64, add};
use super::writer::Writer;
use crate::clock::Clock;

/// What is counted, each in a word of the process's slot.
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

#[derive(Debug)]
pub(super) struct Store {
    pub(super) map: Map,
    pub(super) geometry: Geometry,
    pub(super) hashing: Hashing,
    pub(super) places: Places,
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

    #[inline]
    pub(super) fn place(&self) -> Result<&Place, SharedError> {
        match self.places.current() {
            Some(place) => Ok(place),
            None => Ok(repair::enter(self, boot_id())?),
        }
    }

    /// The counters of a process slot.
    #[inline]
    pub(super) fn counters(&self, slot: usize) -> &[AtomicU64] {
        &self.map.words()[self.geometry.process(slot) + PROCESS_COUNTERS..][..COUNTERS]
    }

    #[inline]
    pub(super) fn count(&self, what: Counter, more: u64) {
        // Without a place nothing is counted: that is told to who writes.
        if let Ok(place) = self.place() {
            add(&self.counters(place.slot)[what as usize], more, Ordering::Relaxed);
        }
    }

    /// Locks a shard for writing. Without patience, that it was not to be had is not counted as a wait in vain.
    #[inline]
    pub(super) fn lock_for<'a, C: Clock>(
        &'a self,
        shard: Shard<'a>,
        clock: &'a C,
        patience: Duration,
    ) -> Result<Writer<'a, C>, SharedError> {
        let place = self.place()?;
        let is_alive = |owner| self.places.is_alive(place, owner, &self.map, &self.geometry);
        let now = clock.now();
        match lock::acquire(&shard.control[LOCK], place.owner, is_alive, patience) {
            Ok(held) => {
                let counters = self.counters(place.slot);
                let writer = Writer::new(shard, held, counters, clock, now, self.geometry.max_record());
                Ok(writer)
            }
            Err(error) => {
                self.count(Counter::Timeouts, u64::from(!patience.is_zero()));
                Err(error)
            }
        }
    }
}
