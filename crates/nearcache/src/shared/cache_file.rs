//! A cache file that this process has open: its mapping, its geometry, and the registration of this process in it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::adoption::{self, boot_id};
use super::counters::Counter;
use super::error::SharedError;
use super::file_state::FileState;
use super::hashing::{Hashing, Keyed};
use super::layout::{EPOCH, Geometry, LOCK, MAIN, PROCESS_PID, SHARD, SMALL, WORD};
use super::lock::{self, Owner};
use super::mapped_words::AtomicU64;
use super::mapping::Mapping;
use super::process_slot::ProcessSlot;
use super::registration::Registration;
use super::ring::Ring;
use super::shard::Shard;
use super::slot::Queue;
use super::writer::Writer;
use crate::clock::Clock;

/// An open cache file.
#[derive(Debug)]
pub(super) struct CacheFile {
    pub(super) mapping: Mapping,
    pub(super) geometry: Geometry,
    pub(super) hashing: Hashing,
    pub(super) registration: Registration,
}

impl CacheFile {
    /// Returns the word that counts how often the cache was cleared.
    #[inline]
    pub(super) fn epoch(&self) -> &AtomicU64 {
        &self.mapping.words()[EPOCH]
    }

    /// Returns the shard with this number, which must be below the number of shards.
    #[inline]
    pub(super) fn shard(&self, number: usize) -> Shard<'_> {
        let geometry = &self.geometry;
        let words = &self.mapping.words()[geometry.shard(number)..][..geometry.shard_words()];
        let (control, words) = words.split_at(SHARD);
        let (index, words) = words.split_at(geometry.slots());
        let (small, main) = words.split_at(geometry.small);
        let hashing = &self.hashing;
        Shard {
            control,
            index,
            small: Ring::new(Queue::Small, &control[SMALL..MAIN], small, hashing),
            main: Ring::new(Queue::Main, &control[MAIN..MAIN + WORD], main, hashing),
            hashing,
            epoch: self.epoch(),
        }
    }

    /// Returns the shard of a key.
    #[inline]
    pub(super) fn shard_of(&self, key: &Keyed<'_>) -> Shard<'_> {
        self.shard(key.shard(self.geometry.shards))
    }

    /// Locks a shard for writing. A timeout of zero is not counted as a wait that timed out.
    #[inline]
    pub(super) fn lock_for<'a, C: Clock>(
        &'a self,
        shard: Shard<'a>,
        clock: &'a C,
        timeout: Duration,
    ) -> Result<Writer<'a, C>, SharedError> {
        let slot = self.process_slot()?;
        let is_alive = |owner| self.is_alive(slot, owner);
        let now = clock.now();
        match lock::acquire(&shard.control[LOCK], slot.owner, is_alive, timeout) {
            Ok(guard) => {
                let counters = self.counters(slot.number);
                let writer = Writer::new(shard, guard, counters, clock, now, self.geometry.max_record());
                Ok(writer)
            }
            Err(error) if timeout.is_zero() => Err(error),
            Err(_) => {
                self.count(Counter::Timeouts, 1);
                Err(SharedError::Busy {
                    waited: timeout,
                    holder: self.pid_of(Owner::from_u64(shard.control[LOCK].load(Ordering::Relaxed))),
                })
            }
        }
    }
}

/// Processes.
impl CacheFile {
    /// Returns the slot of this process, taken if it has none.
    #[inline]
    pub(super) fn process_slot(&self) -> Result<&ProcessSlot, SharedError> {
        match self.registration.current() {
            Some(slot) => Ok(slot),
            None => Ok(adoption::register(self, boot_id())?),
        }
    }

    /// Returns the slot of this process after checking that it still holds the slot's lock, and whether it had lost it. A
    /// few system calls.
    pub(super) fn verified_process_slot(&self) -> Result<(&ProcessSlot, bool), SharedError> {
        let was_lost = self.registration.has_lost_slot(&self.mapping, &self.geometry);
        Ok((self.process_slot()?, was_lost))
    }

    /// Returns whether the owner of a lock is alive. `me` is the slot of this process.
    pub(super) fn is_alive(&self, me: &ProcessSlot, owner: Owner) -> bool {
        self.registration
            .is_alive(me, owner, &self.mapping, &self.geometry)
    }

    /// Returns the pid of the process that a lock word names.
    #[cold]
    fn pid_of(&self, owner: Owner) -> Option<u32> {
        let slot = owner.slot().filter(|slot| *slot < self.geometry.processes)?;
        let pid = &self.mapping.words()[self.geometry.process(slot) + PROCESS_PID];
        u32::try_from(pid.load(Ordering::Relaxed)).ok()
    }
}

/// The state of the file.
impl CacheFile {
    /// Returns what has become of the file. One system call.
    pub(super) fn state(&self) -> FileState {
        let state = self.registration.file_state(self.geometry.bytes);
        // The words of a truncated file must not be accessed.
        if state == FileState::Current && !self.has_mapped_header() {
            return FileState::Overwritten;
        }
        state
    }

    /// Returns whether the header still has the description and the seed of the file that was mapped.
    fn has_mapped_header(&self) -> bool {
        let described = self.geometry.described().into_iter().chain([self.hashing.seed()]);
        let words = self.mapping.words().iter();
        words
            .zip(described)
            .all(|(word, described)| word.load(Ordering::Relaxed) == described)
    }
}
