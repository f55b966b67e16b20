//! Iteration over keys: locks one shard at a time, for the keys of a few hundred slots.
//!
//! The keys of a shard's flights are copied with its first slots. So a computation that ends meanwhile is found as a flight,
//! or by the entry that it stored.

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

/// Which keys an iteration returns.
#[derive(Clone, Copy, Debug)]
enum Scope {
    /// Those of the entries that are live at this time.
    Live(Timestamp),
    /// Those of all entries and flights.
    All,
}

/// An iterator over keys, which the methods `keys` and `all_keys` of [`RawCache`] and [`Cache`](super::Cache) return.
///
/// If there is no memory for the next keys, it returns an error, and tries again at the next call.
#[derive(Debug)]
pub struct Keys<'a, V> {
    cache: &'a RawCache<V>,
    scope: Scope,
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
        self.keys_in(Scope::Live(now))
    }

    /// Iterates over the keys of all entries, also of expired ones, and of all flights, in no order.
    ///
    /// A caller that [removes](Self::remove) each key that it wants to be rid of leaves neither a stale value nor a computation
    /// that began before and would store its value. A key may be returned twice. Locks as [`keys`](Self::keys) does.
    pub fn all_keys(&self) -> Keys<'_, V> {
        self.keys_in(Scope::All)
    }

    fn keys_in(&self, scope: Scope) -> Keys<'_, V> {
        Keys {
            cache: self,
            scope,
            next: Position::default(),
            slice: Vec::new().into_iter(),
        }
    }

    /// Copies the keys of the slots from a position on, and returns them with the position after them. Returns `None` after the
    /// last shard.
    fn copy_slice(
        &self,
        Position { shard, slot }: Position,
        scope: Scope,
    ) -> Option<Result<Slice, OutOfMemory>> {
        let shard_lock = self.shards.get(shard)?;
        let mut keys = match try_with_capacity(SLICE_SLOTS) {
            Ok(keys) => keys,
            Err(error) => return Some(Err(error)),
        };
        let locked = lock(shard_lock);
        let copied = locked.copy_keys(slot, &mut keys, scope);
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
    /// Adds the keys of a slice that begins at the slot `start` to `keys`, which has room for as many.
    fn copy_keys(&self, start: usize, keys: &mut Vec<Box<[u8]>>, scope: Scope) -> Result<(), OutOfMemory> {
        let end = self.slab.slots().min(start.saturating_add(SLICE_SLOTS));
        let entries = (start..end).filter_map(|slot| self.slab.occupied(u32::try_from(slot).ok()?));
        for entry in entries.filter(|entry| scope.includes(entry.expires_at)) {
            keys.push(try_copy(entry.key.bytes())?);
        }
        if matches!(scope, Scope::All) && start == 0 {
            self.flights.copy_keys(keys)?;
        }
        Ok(())
    }
}

impl Scope {
    /// Returns whether the key of an entry that expires at this time is one of them.
    fn includes(self, expires_at: Timestamp) -> bool {
        match self {
            Self::Live(now) => !expires_at.is_over(now),
            Self::All => true,
        }
    }
}

impl<V> Iterator for Keys<'_, V> {
    type Item = Result<Box<[u8]>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.slice.next() {
                return Some(Ok(key));
            }
            match self.cache.copy_slice(self.next, self.scope)? {
                Ok((slice, next)) => {
                    self.slice = slice.into_iter();
                    self.next = next;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
