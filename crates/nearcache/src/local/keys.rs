//! Iteration over keys: locks one shard at a time, for the keys of a few hundred slots.

use std::vec;

use super::raw_cache::{RawCache, lock};
use super::shard::Shard;
use crate::clock::Timestamp;
use crate::error::OutOfMemory;
use crate::memory::{try_copy, try_with_capacity};

/// How many slots are read under one lock.
const SLICE_SLOTS: usize = 256;

/// The position of an iteration over all slots.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    shard: usize,
    slot: usize,
}

/// Copied keys, and the position after them.
type Slice = (Vec<Box<[u8]>>, Position);

/// An iterator over the keys of live entries, which [`RawCache::keys`] and [`Cache::keys`](super::Cache::keys) return.
///
/// If there is no memory for the next keys, it returns an error, and tries again at the next call.
#[derive(Debug)]
pub struct Keys<'a, V> {
    cache: &'a RawCache<V>,
    now: Timestamp,
    /// Where the next slice begins.
    next: Position,
    slice: vec::IntoIter<Box<[u8]>>,
}

impl<V> RawCache<V> {
    /// Iterates over the keys of the entries that are live at `now`, in no order.
    ///
    /// Locks one shard at a time, and copies the keys of 256 slots under the lock. Returns a key that is in the cache all the while
    /// exactly once, and a key that is inserted or removed meanwhile at most once.
    pub fn keys(&self, now: Timestamp) -> Keys<'_, V> {
        Keys {
            cache: self,
            now,
            next: Position::default(),
            slice: Vec::new().into_iter(),
        }
    }

    /// Copies the live keys of the slots from a position on, and returns them with the position after them. Returns `None`
    /// after the last shard.
    fn copy_slice(
        &self,
        Position { shard, slot }: Position,
        now: Timestamp,
    ) -> Option<Result<Slice, OutOfMemory>> {
        let shard_lock = self.shards.get(shard)?;
        let mut keys = match try_with_capacity(SLICE_SLOTS) {
            Ok(keys) => keys,
            Err(error) => return Some(Err(error)),
        };
        let locked = lock(shard_lock);
        let copied = locked.copy_keys(slot, &mut keys, now);
        let next_slot = slot.saturating_add(SLICE_SLOTS);
        let next = if next_slot >= locked.slab.slots() {
            Position {
                shard: shard + 1,
                slot: 0,
            }
        } else {
            Position {
                shard,
                slot: next_slot,
            }
        };
        Some(copied.map(|()| (keys, next)))
    }
}

impl<V> Shard<V> {
    /// Adds the keys of the live entries in the slots from `start` on to `keys`, for as many slots as its capacity.
    fn copy_keys(&self, start: usize, keys: &mut Vec<Box<[u8]>>, now: Timestamp) -> Result<(), OutOfMemory> {
        let end = self.slab.slots().min(start.saturating_add(keys.capacity()));
        let entries = (start..end).filter_map(|slot| self.slab.occupied(u32::try_from(slot).ok()?));
        for entry in entries.filter(|entry| !entry.expires_at.is_over(now)) {
            keys.push(try_copy(entry.key.bytes())?);
        }
        Ok(())
    }
}

impl<V> Iterator for Keys<'_, V> {
    type Item = Result<Box<[u8]>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.slice.next() {
                return Some(Ok(key));
            }
            match self.cache.copy_slice(self.next, self.now)? {
                Ok((slice, next)) => {
                    self.slice = slice.into_iter();
                    self.next = next;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
