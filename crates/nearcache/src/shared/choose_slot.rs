//! Which index slot a new key takes.
//!
//! A key has two buckets of 8 slots. It takes the first of these: the slot of its own ghost, an empty slot, the oldest
//! ghost's, the slot of the entry with the lowest frequency. Nothing is ever displaced to another slot, so a record can
//! name its slot, and eviction needs neither the key nor its hash.

use super::hashing::Keyed;
use super::layout::BUCKET;
use super::slot::{POSITION_MASK, Slot, SlotState};
use super::writer::Writer;
use crate::clock::Clock;

/// A slot for a new key.
pub(super) struct ChosenSlot {
    pub(super) at: usize,
    /// Whether the slot holds a ghost of the key: it was evicted not long ago.
    pub(super) has_ghost: bool,
}

/// The costs of slots with a ghost lie between those of empty slots and this, less its age.
const GHOST_COST: u64 = 1 << 60;
const ENTRY_COST: u64 = 1 << 61;

impl<C: Clock> Writer<'_, C> {
    /// Chooses a slot for a new key.
    pub(super) fn choose_slot(&self, key: &Keyed<'_>) -> ChosenSlot {
        let buckets = key.buckets(self.shard.index.len() / BUCKET);
        let mut best = (u64::MAX, buckets[0] * BUCKET);
        for (rank, bucket) in buckets.into_iter().enumerate() {
            for at in bucket * BUCKET..(bucket + 1) * BUCKET {
                let slot = self.slot(at);
                let age = self.ghost_age(slot);
                if age.is_some() && slot.fingerprint() == key.fingerprint() {
                    return ChosenSlot { at, has_ghost: true };
                }
                best = best.min((self.cost(at, slot, age, rank as u64), at));
            }
        }
        ChosenSlot {
            at: best.1,
            has_ghost: false,
        }
    }

    /// Returns the age of a ghost by the ghost clock. Returns `None` if the slot has no ghost, or one that is older than
    /// the size of the main ring and therefore no longer counts.
    pub(super) fn ghost_age(&self, slot: Slot) -> Option<u64> {
        let age = self.ghost_clock().wrapping_sub(slot.position()) & POSITION_MASK;
        (slot.state() == Some(SlotState::Ghost) && age <= self.shard.main.capacity()).then_some(age)
    }

    /// Returns how much would be lost with the contents of a slot.
    fn cost(&self, at: usize, slot: Slot, ghost_age: Option<u64>, rank: u64) -> u64 {
        if let Some(age) = ghost_age {
            return GHOST_COST - age;
        }
        let entry = slot.state().filter(|state| {
            let ring = self.shard.ring_of(*state);
            ring.is_some_and(|ring| ring.position(slot).is_some())
        });
        match entry {
            None => rank * BUCKET as u64 + at as u64 % BUCKET as u64,
            Some(state) => ENTRY_COST + slot.frequency() * 2 + u64::from(state == SlotState::Protected),
        }
    }
}
