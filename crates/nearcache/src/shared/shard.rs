//! A shard: its control words, its index and its two rings. `lookup.rs` reads from it, `writer.rs` writes to it.

use std::hint::black_box;
use std::sync::atomic::Ordering;

use super::extension::Extension;
use super::hashing::{Hashing, Keyed};
use super::layout::{BUCKET, ENTRIES, SHARD_EPOCH};
use super::mapped_words::{AtomicU64, replace};
use super::record::{Record, Stamp};
use super::ring::Ring;
use super::slot::{MAX_FREQUENCY, Queue, Slot, SlotState};

/// A shard's words, by their purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard<'a> {
    pub(super) control: &'a [AtomicU64],
    pub(super) index: &'a [AtomicU64],
    pub(super) small: Ring<'a>,
    pub(super) main: Ring<'a>,
    pub(super) hashing: &'a Hashing,
    /// The epoch of the cache, which `clear` increments.
    pub(super) epoch: &'a AtomicU64,
}

/// An entry: a slot, and the record that it points to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) state: SlotState,
    pub(super) slot: Slot,
    /// The number of the slot.
    pub(super) at: usize,
}

impl Entry {
    /// Returns the stamp of this write of the entry. `key` is the hash of its key.
    pub(super) const fn stamp(&self, key: u64) -> Stamp {
        self.record.stamp(self.state, key)
    }
}

impl<'a> Shard<'a> {
    /// Returns whether the cache was cleared and this shard has not been emptied yet.
    #[inline]
    pub(super) fn is_outdated(&self) -> bool {
        self.epoch() != self.epoch.load(Ordering::SeqCst)
    }

    /// Returns the epoch of the cache when the shard was last emptied.
    pub(super) fn epoch(&self) -> u64 {
        self.control[SHARD_EPOCH].load(Ordering::Acquire)
    }

    /// Returns the number of entries, including expired ones that have not been removed yet.
    pub(super) fn entries(&self) -> u64 {
        self.control[ENTRIES].load(Ordering::Relaxed)
    }

    /// Returns the ring of a queue.
    #[inline]
    pub(super) const fn ring(&self, queue: Queue) -> &Ring<'a> {
        match queue {
            Queue::Small => &self.small,
            Queue::Main => &self.main,
        }
    }

    /// Returns the ring that holds the record of a slot in this state; `None` for a ghost.
    #[inline]
    pub(super) const fn ring_of(&self, state: SlotState) -> Option<&Ring<'a>> {
        match state.queue() {
            Some(queue) => Some(self.ring(queue)),
            None => None,
        }
    }

    /// Reads the extension of an entry, if it has one. Without the lock, the result is to be validated.
    #[inline(always)]
    pub(super) fn extension(&self, entry: &Entry) -> Option<Extension> {
        if !entry.record.is_extended() {
            return None;
        }
        self.ring_of(entry.state)?.extension(&entry.record)
    }

    /// Loads the words that a write of the key is likely to need, so that memory and page faults are waited for before the
    /// lock is taken rather than while it is held.
    #[inline]
    pub(super) fn prefetch(&self, key: &Keyed<'_>) {
        let (buckets, _) = self.index.as_chunks::<BUCKET>();
        for bucket in key.buckets(buckets.len()) {
            black_box(buckets[bucket][0].load(Ordering::Relaxed));
        }
        self.small.prefetch();
        self.main.prefetch();
    }

    /// Increases an entry's frequency, up to [`MAX_FREQUENCY`]. Has no effect if the slot has changed.
    #[inline]
    pub(super) fn count_hit(&self, entry: &Entry) {
        if entry.slot.frequency() < MAX_FREQUENCY {
            replace(
                &self.index[entry.at],
                entry.slot.0,
                entry.slot.with_hit().0,
                Ordering::Relaxed,
            );
        }
    }
}
