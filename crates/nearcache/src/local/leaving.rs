//! What leaves a shard while it is locked, to be dropped when it is not.
//!
//! A value's destructor may use the cache, and to free memory takes as long as a look-up.

use super::slab::Entry;
use super::stored_key::StoredKey;

/// Values on their way out, with their keys where those leave too. The first takes no allocation: an insertion rarely drops
/// more.
#[derive(Debug)]
pub(super) struct Leaving<V> {
    last: Option<(V, Option<StoredKey>)>,
    before: Vec<(V, Option<StoredKey>)>,
}

impl<V> Leaving<V> {
    pub(super) const fn new() -> Self {
        Self {
            last: None,
            before: Vec::new(),
        }
    }

    pub(super) fn value(&mut self, value: V) {
        self.push(value, None);
    }

    pub(super) fn entry(&mut self, entry: Entry<V>) {
        self.push(entry.value, Some(entry.key));
    }

    fn push(&mut self, value: V, key: Option<StoredKey>) {
        if let Some(before) = self.last.replace((value, key)) {
            self.before.push(before);
        }
    }

    /// A key to be stored: in the memory of the last that left, if that is of its length, as most keys of a cache are. To
    /// allocate and to free one takes a quarter of an insertion.
    pub(super) fn key_anew(&mut self, bytes: &[u8]) -> StoredKey {
        if let Some((_, key)) = &mut self.last
            && let Some(reused) = key.take_if(|key| key.overwrite(bytes))
        {
            return reused;
        }
        StoredKey::new(bytes)
    }
}
