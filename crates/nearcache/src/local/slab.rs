//! The slab of a shard: all its entries in one vector, addressed by slot number.
//!
//! **Invariants.** An entry keeps its slot until it is removed. Every free slot is on the free list, which starts at `free` and ends
//! with [`NIL`]. Fewer than [`NIL`] slots exist, so that `NIL` is no slot.
//!
//! **Concurrency.** None of its own: the shard's lock guards it.

use super::stored_key::StoredKey;
use crate::clock::{Clock, Timestamp};
use crate::error::OutOfMemory;
use crate::intrinsics::prefetch;
use crate::policy::{NIL, Node, Nodes};

/// What the cache holds under a key.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) node: Node,
    pub(super) expires_at: Timestamp,
    pub(super) key: StoredKey,
    pub(super) value: V,
}

impl<V> Entry<V> {
    /// Returns whether the entry has expired. Reads the clock only if it can expire.
    #[inline]
    pub(super) fn has_expired(&self, clock: &impl Clock) -> bool {
        self.expires_at != Timestamp::NEVER && clock.has_passed(self.expires_at)
    }
}

/// A place for an entry. As large as an entry, because an entry's key is never null, which distinguishes the variants.
#[derive(Debug)]
enum Slot<V> {
    Taken(Entry<V>),
    /// The next free slot.
    Free(u32),
}

/// The slab grows by one part in so many. Doubling would leave half of it unused. Growing more often costs little, because the
/// allocator moves large blocks by remapping their pages.
const GROWTH: usize = 16;

/// All entries of a shard. `slots` comes first, because a hit needs it on the cache line of the shard's lock.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slab<V> {
    slots: Vec<Slot<V>>,
    free: u32,
    len: usize,
}

impl<V> Default for Slab<V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
        }
    }
}

impl<V> Slab<V> {
    /// The bytes that an entry takes: its value, and its part of the slots that are reserved for growth.
    pub(super) const BYTES_PER_ENTRY: usize = size_of::<Slot<V>>() + size_of::<Slot<V>>() / (2 * GROWTH);

    /// Returns the number of slots, free ones included.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether all slot numbers are taken.
    pub(super) fn is_full(&self) -> bool {
        self.free == NIL && self.slots.len() >= NIL as usize
    }

    /// Returns the entry in a slot, if the slot exists and is taken.
    pub(super) fn occupied(&self, slot: u32) -> Option<&Entry<V>> {
        match self.slots.get(slot as usize)? {
            Slot::Taken(entry) => Some(entry),
            Slot::Free(_) => None,
        }
    }

    /// Prefetches the key of the entry in a slot, and the entry before it in its queue.
    pub(super) fn prefetch_around(&self, slot: u32) {
        if let Some(entry) = self.occupied(slot) {
            entry.key.prefetch();
            if let Some(before) = self.slots.get(entry.node.prev as usize) {
                prefetch(before);
            }
        }
    }

    /// Returns the entry in a slot that the caller knows to be taken.
    ///
    /// # Panics
    ///
    /// If the slot is free, which is a bug in the shard.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Entry<V> {
        match &self.slots[slot as usize] {
            Slot::Taken(entry) => entry,
            Slot::Free(_) => no_entry(slot),
        }
    }

    /// Returns the entry in a slot as [`get`](Self::get) does.
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Entry<V> {
        match &mut self.slots[slot as usize] {
            Slot::Taken(entry) => entry,
            Slot::Free(_) => no_entry(slot),
        }
    }

    /// Iterates over all entries with their slots, in the order of slots.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &Entry<V>)> {
        (0..).zip(&self.slots).filter_map(|(number, slot)| match slot {
            Slot::Taken(entry) => Some((number, entry)),
            Slot::Free(_) => None,
        })
    }

    /// Reserves a free slot for the next [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory or no slot number for it.
    #[inline]
    pub(super) fn try_reserve(&mut self) -> Result<(), OutOfMemory> {
        if self.free == NIL && self.slots.len() == self.slots.capacity() {
            self.try_grow()?;
        }
        Ok(())
    }

    #[cold]
    fn try_grow(&mut self) -> Result<(), OutOfMemory> {
        if self.is_full() {
            return Err(OutOfMemory);
        }
        let more = 4 + self.slots.len() / GROWTH;
        Ok(self.slots.try_reserve_exact(more)?)
    }

    /// Puts an entry into a free slot and returns the slot. The caller has called [`try_reserve`](Self::try_reserve).
    pub(super) fn insert(&mut self, entry: Entry<V>) -> u32 {
        self.len += 1;
        let slot = self.free;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            if let Slot::Free(next) = *place {
                self.free = next;
            }
            *place = Slot::Taken(entry);
            return slot;
        }
        #[allow(clippy::cast_possible_truncation)] // `try_grow` keeps it below `NIL`
        let slot = self.slots.len() as u32;
        self.slots.push(Slot::Taken(entry));
        slot
    }

    /// Frees a slot and returns its entry, or `None` if the slot is free.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry<V>> {
        let place = &mut self.slots[slot as usize];
        if matches!(place, Slot::Free(_)) {
            return None;
        }
        let Slot::Taken(entry) = std::mem::replace(place, Slot::Free(self.free)) else {
            return None;
        };
        self.free = slot;
        self.len -= 1;
        Some(entry)
    }
}

#[cold]
fn no_entry(slot: u32) -> ! {
    panic!("slot {slot} is free, expected an entry")
}

impl<V> Nodes for Slab<V> {
    fn node(&self, slot: u32) -> &Node {
        &self.get(slot).node
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node {
        &mut self.get_mut(slot).node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_value_and_32_bytes() {
        assert_eq!(size_of::<Slot<u64>>(), 32 + 8);
        assert_eq!(size_of::<Slot<Box<[u8]>>>(), 32 + 16);
    }
}
