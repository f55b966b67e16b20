//! The objects that this process has read from a file: decoded values, in the engine's own cache.
//!
//! A read asks the file first, every time. If the file holds the value with the same stamp as at an earlier read, the value
//! is taken from here, in the form in which a `LocalCache` keeps it. So a value is never older than the file, and a value
//! that comes out never aliases the one inside.
//!
//! An immutable object is kept when it is read first, because that costs a reference. What has to be taken apart first is
//! kept when it is read for the second time, so that a value that is read once costs nothing more, and after its eviction
//! when it is read twice again. Values that are read as quickly as they would be found here are not kept, and neither is what
//! a `LocalCache` would keep as a pickle.
//!
//! The locks are those of the engine's cache, and are held around a fork like those of a `LocalCache` (`registry`). A child
//! keeps what it inherits: the values in here never change.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use foldhash::fast::FixedState;
use nearcache::local::{Batch, Capacity, Frozen, NewEntry, RawCache};
use nearcache::shared::{EntryInfo, Stamp};
use nearcache::{Eviction, OutOfMemory, Timestamp};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::super::stats::ObjectCounts;
use super::super::weight::weight;
use crate::values::bytes::{Rereading, rereading};
use crate::values::{Encoded, Stored};

/// An entry may take this part of the capacity.
const VALUE_DIVISOR: u64 = 8;
/// How many values are known to have been read once. Two that share a place forget each other.
const READ_ONCE: usize = 4096;
/// With the GIL, one thread at a time reads.
const SHARDS: usize = if cfg!(Py_GIL_DISABLED) { 8 } else { 1 };
/// The clock of the entries, none of which expires here.
const NO_TIME: Timestamp = Timestamp::NEVER;

/// The decoded values that this process keeps of one path.
pub(crate) struct ObjectCache {
    objects: RawCache<Kept>,
    /// Hashes of stamps, each with a [`History`] in its lowest bit. 0 is none.
    read_once: Box<[AtomicU64]>,
    hits: AtomicU64,
}

/// The words before the value in a record of a near copy. In other records they are 0.
pub(crate) type Words = [u64; 2];

/// A decoded value, and the record that it was decoded from.
pub(crate) struct Kept {
    /// The number of the file that was mapped: the path may have named several.
    file: u64,
    stamp: Stamp,
    words: Words,
    stored: Stored,
}

/// Identifies one write of one entry of the files that this process has mapped.
#[derive(Clone, Copy, Hash)]
pub(crate) struct Source {
    pub(super) file: u64,
    pub(super) stamp: Stamp,
}

/// What is known about a value that is not kept.
enum History {
    Unread,
    ReadOnce,
    /// Keeping it is not worth it.
    Worthless,
}

impl ObjectCache {
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let mut read_once = Vec::new();
        read_once.try_reserve_exact(READ_ONCE)?;
        read_once.resize_with(READ_ONCE, AtomicU64::default);
        Ok(Self {
            objects: RawCache::new(Eviction::Adaptive, SHARDS)?,
            read_once: read_once.into_boxed_slice(),
            hits: AtomicU64::new(0),
        })
    }

    /// Returns the decoded value of the record that a key has now.
    #[inline]
    pub(super) fn get(&self, py: Python<'_>, key: &[u8], source: &Source) -> Option<(Words, Stored)> {
        let found = self.objects.get_with(key, &NO_TIME, |kept| {
            let is_current = kept.stamp == source.stamp && kept.file == source.file;
            is_current.then(|| (kept.words, kept.stored.clone_ref(py)))
        });
        found.flatten()
    }

    /// Counts that a value was used.
    #[inline]
    pub(crate) fn count_hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    /// Keeps a value that was read, if that is worth it. The caller has the only reference to what can change in it.
    ///
    /// Fails with what interrupts Python while the value is taken apart.
    pub(super) fn keep(
        &self,
        key: &[u8],
        source: &Source,
        read: &Read<'_, '_>,
        capacity: u64,
    ) -> PyResult<()> {
        let hash = FixedState::default().hash_one(source);
        match (read.rereading, self.history(hash)) {
            (Rereading::Cheap, _) | (_, History::Worthless) => return Ok(()),
            (Rereading::Expensive, History::Unread) => {
                self.set_history(hash, &History::ReadOnce);
                return Ok(());
            }
            _ => {}
        }
        let kept = match Encoded::new(read.value, read.pickle_protocol) {
            Ok(encoded) => self.insert(key, source, read.words, encoded, capacity),
            // The value itself is there, and the caller gets it: it only cannot be taken apart again.
            Err(raised) if raised.is_instance_of::<PyException>(read.value.py()) => false,
            Err(raised) => return Err(raised),
        };
        // If it is evicted, it has to be read twice again: taking it apart at every read would double the cost of a read.
        let history = if kept { History::Unread } else { History::Worthless };
        self.set_history(hash, &history);
        Ok(())
    }

    /// Returns whether the value was kept.
    fn insert(&self, key: &[u8], source: &Source, words: Words, value: Encoded, capacity: u64) -> bool {
        let weight = weight::<Kept>(key, value.size);
        if matches!(value.stored, Stored::Pickled(_)) || weight > capacity / VALUE_DIVISOR {
            return false;
        }
        let entry = NewEntry {
            value: Kept {
                file: source.file,
                stamp: source.stamp,
                words,
                stored: value.stored,
            },
            weight,
            expires_at: Timestamp::NEVER,
        };
        let capacity = Capacity {
            max_entries: u64::MAX,
            max_weight: capacity,
            batch: Batch::One,
        };
        self.objects.insert(key, entry, &capacity, &NO_TIME).is_ok()
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        let place = usize::try_from(hash >> 32).unwrap_or_default() % READ_ONCE;
        &self.read_once[place]
    }

    fn history(&self, hash: u64) -> History {
        match self.place(hash).load(Relaxed) ^ (hash | 1) {
            0 => History::Worthless,
            1 => History::ReadOnce,
            _ => History::Unread,
        }
    }

    fn set_history(&self, hash: u64, history: &History) {
        let word = match history {
            History::Unread => 0,
            History::ReadOnce => hash & !1,
            History::Worthless => hash | 1,
        };
        self.place(hash).store(word, Relaxed);
    }

    /// Drops all values.
    pub(super) fn clear(&self) {
        self.objects.clear();
    }

    /// Acquires the locks, for a fork.
    pub(crate) fn freeze(&self) -> Frozen<'_, Kept> {
        self.objects.freeze()
    }

    pub(crate) fn counts(&self) -> ObjectCounts {
        ObjectCounts {
            hits: self.hits.load(Relaxed),
            entries: self.objects.len(),
            weight: self.objects.weight(),
        }
    }

    pub(super) fn reset_counts(&self) {
        self.hits.store(0, Relaxed);
    }
}

/// A value that was decoded.
pub(super) struct Read<'a, 'py> {
    pub(super) value: &'a Bound<'py, PyAny>,
    pub(super) rereading: Rereading,
    pub(super) words: Words,
    pub(super) pickle_protocol: Option<i32>,
}

/// Returns whether a value of this kind and length may be kept.
#[inline]
pub(super) fn may_be_kept(kind: u8, len: usize, capacity: u64) -> bool {
    rereading(kind, len) != Rereading::Cheap && len as u64 <= capacity / VALUE_DIVISOR
}

impl Source {
    pub(super) const fn new(file: u64, entry: &EntryInfo) -> Self {
        Self {
            file,
            stamp: entry.stamp,
        }
    }
}
