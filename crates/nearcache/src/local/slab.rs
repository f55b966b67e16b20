//! The entries of a shard: one vector, addressed by slot number. An entry keeps its slot for its whole life.

use super::stored_key::StoredKey;
use crate::clock::{Clock, Timestamp};
use crate::error::OutOfMemory;
use crate::policy::{NIL, Node, Nodes};
use crate::prefetch::prefetch;

#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) node: Node,
    pub(super) expires_at: Timestamp,
    pub(super) key: StoredKey,
    pub(super) value: V,
}

impl<V> Entry<V> {
    /// Whether its time is over. The clock is read only if it can be.
    #[inline]
    pub(super) fn is_dead(&self, clock: &impl Clock) -> bool {
        self.expires_at != Timestamp::NEVER && clock.has_passed(self.expires_at)
    }
}

/// A place for an entry. No larger than one: a key is never null, which tells the two apart.
#[derive(Debug)]
enum Slot<V> {
    Taken(Entry<V>),
    /// The next free slot.
    Free(u32),
}

/// The slab grows by a part of itself in so many. Not by doubling: half of it would lie idle. That it moves more often costs
/// little, since large blocks are moved by the page table.
const GROWTH: usize = 16;

/// The slots come first, to lie where the shard wants what a hit needs.
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
    /// What an entry takes, value included, and with its part of what is held in reserve.
    pub(super) const BYTES_PER_ENTRY: usize = size_of::<Slot<V>>() + size_of::<Slot<V>>() / (2 * GROWTH);

    /// How many slots there are, free ones included.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no further entry can be numbered.
    pub(super) fn is_full(&self) -> bool {
        self.free == NIL && self.slots.len() >= NIL as usize
    }

    /// The entry in a slot, if the slot exists and is taken.
    pub(super) fn occupied(&self, slot: u32) -> Option<&Entry<V>> {
        match self.slots.get(slot as usize)? {
            Slot::Taken(entry) => Some(entry),
            Slot::Free(_) => None,
        }
    }

    /// Has the key of the entry in a slot fetched, and its neighbour towards the head.
    pub(super) fn prefetch_around(&self, slot: u32) {
        if let Some(entry) = self.occupied(slot) {
            entry.key.prefetch();
            if let Some(before) = self.slots.get(entry.node.prev as usize) {
                prefetch(before);
            }
        }
    }

    /// The entry in a slot that is known to be taken.
    ///
    /// # Panics
    ///
    /// If it is not, which is a bug of the shard.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Entry<V> {
        match &self.slots[slot as usize] {
            Slot::Taken(entry) => entry,
            Slot::Free(_) => missing(slot),
        }
    }

    /// As [`get`](Self::get).
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Entry<V> {
        match &mut self.slots[slot as usize] {
            Slot::Taken(entry) => entry,
            Slot::Free(_) => missing(slot),
        }
    }

    /// All entries with their slots, in the slots' order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &Entry<V>)> {
        (0..).zip(&self.slots).filter_map(|(number, slot)| match slot {
            Slot::Taken(entry) => Some((number, entry)),
            Slot::Free(_) => None,
        })
    }

    /// Makes sure that there is a free slot for the next [`insert`](Self::insert).
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

    /// Puts an entry into a free slot; returns its number. [`try_reserve`](Self::try_reserve) has found one.
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
        #[allow(clippy::cast_possible_truncation)] // `try_grow` sees to it
        let slot = self.slots.len() as u32;
        self.slots.push(Slot::Taken(entry));
        slot
    }

    /// Frees a slot; returns the entry that was in it.
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
fn missing(slot: u32) -> ! {
    panic!("slot {slot} is taken for an entry's, but is free")
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
