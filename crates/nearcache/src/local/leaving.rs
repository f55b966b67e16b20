//! What leaves a shard while it is locked, to be dropped when it is not.
//!
//! A value's destructor may use the cache, and to free memory takes as long as a look-up. Entries are handed over
//! without an allocation that could fail: see [`has_room`](Leaving::has_room).

use super::slab::Entry;
use super::stored_key::StoredKey;
use crate::error::OutOfMemory;

/// A value that leaves, with its key unless a new entry took that over.
type Left<V> = (V, Option<StoredKey>);

/// Values and entries on their way out of a shard.
#[derive(Debug)]
pub(super) struct Leaving<V> {
    /// The value that was replaced or not stored.
    value: Option<V>,
    /// The entry of the operation's own key.
    own: Option<Left<V>>,
    /// The last of the other entries. It takes no allocation: an insertion rarely evicts more than one.
    last: Option<Left<V>>,
    before: Vec<Left<V>>,
}

impl<V> Leaving<V> {
    pub(super) const fn new() -> Self {
        Self {
            value: None,
            own: None,
            last: None,
            before: Vec::new(),
        }
    }

    /// Takes the value that was replaced, or the new one that was not stored; an operation has one at most.
    pub(super) fn value(&mut self, value: V) {
        self.value = Some(value);
    }

    /// Takes the entry of the operation's own key; an operation has one at most.
    pub(super) fn own_entry(&mut self, entry: Entry<V>) {
        self.own = Some((entry.value, Some(entry.key)));
    }

    /// Whether [`entry`](Self::entry) can take another one. If memory is short it cannot; then the caller leaves the
    /// entry where it is, for a later operation to evict or expire.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.last.is_none() || self.before.try_reserve(1).is_ok()
    }

    /// Takes the entry of another key; there has to be room.
    pub(super) fn entry(&mut self, entry: Entry<V>) {
        if let Some(before) = self.last.replace((entry.value, Some(entry.key))) {
            self.before.push(before);
        }
    }

    /// A key to be stored, in the memory of an entry that left, if that one's key is as long, as most keys of a cache
    /// are: to allocate and to free one takes a quarter of an insertion.
    pub(super) fn new_key(&mut self, bytes: &[u8]) -> Result<StoredKey, OutOfMemory> {
        for (_, key) in [&mut self.last, &mut self.own].into_iter().flatten() {
            if let Some(reused) = key.take_if(|key| key.overwrite(bytes)) {
                return Ok(reused);
            }
        }
        StoredKey::new(bytes)
    }
}
