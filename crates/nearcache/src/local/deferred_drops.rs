//! Values and entries that were taken out of a locked shard, to be dropped after it is unlocked.
//!
//! A value's destructor may use the cache, and freeing memory takes as long as a lookup, so neither happens under a lock.
//! Handing an entry over needs no allocation that could fail: see [`has_room`](DeferredDrops::has_room).

use super::slab::Entry;
use super::stored_key::StoredKey;
use crate::error::OutOfMemory;

/// A removed value with its key, unless a new entry reuses the key's memory.
type Removed<V> = (V, Option<StoredKey>);

/// Collects what one operation removes, and drops it when it is dropped itself.
#[derive(Debug)]
pub(super) struct DeferredDrops<V> {
    /// The replaced value, or the new value if it was not stored.
    value: Option<V>,
    /// The removed entry of the operation's own key.
    own_entry: Option<Removed<V>>,
    /// The entry of another key that was removed last. Needs no allocation: an insertion rarely evicts more than one entry.
    last: Option<Removed<V>>,
    /// The entries of other keys that were removed before `last`.
    earlier: Vec<Removed<V>>,
}

impl<V> DeferredDrops<V> {
    pub(super) const fn new() -> Self {
        Self {
            value: None,
            own_entry: None,
            last: None,
            earlier: Vec::new(),
        }
    }

    /// Takes the replaced value, or the new value that was not stored. An operation has at most one of them.
    pub(super) fn push_value(&mut self, value: V) {
        self.value = Some(value);
    }

    /// Takes the removed entry of the operation's own key. An operation has at most one.
    pub(super) fn push_own_entry(&mut self, entry: Entry<V>) {
        self.own_entry = Some((entry.value, Some(entry.key)));
    }

    /// Returns whether [`push_entry`](Self::push_entry) can take one more entry. If there is no memory for it, the caller
    /// leaves the entry in the shard, for a later operation to evict or expire.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.last.is_none() || self.earlier.try_reserve(1).is_ok()
    }

    /// Takes the removed entry of another key. The caller has checked [`has_room`](Self::has_room).
    pub(super) fn push_entry(&mut self, entry: Entry<V>) {
        if let Some(before) = self.last.replace((entry.value, Some(entry.key))) {
            self.earlier.push(before);
        }
    }

    /// Makes a key to be stored. Reuses the memory of a removed entry's key of the same length, which most keys of a cache
    /// have: allocating and freeing a key takes a quarter of an insertion.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the key needs an allocation that fails.
    pub(super) fn new_key(&mut self, bytes: &[u8]) -> Result<StoredKey, OutOfMemory> {
        for (_, key) in [&mut self.last, &mut self.own_entry].into_iter().flatten() {
            if let Some(reused) = key.take_if(|key| key.overwrite(bytes)) {
                return Ok(reused);
            }
        }
        StoredKey::new(bytes)
    }
}
