//! The objects that this process has read from a file: decoded values, in the engine's own cache.
//!
//! A read asks the file first, every time. If the file holds the value with the same stamp as at an earlier read, the value
//! is taken from here, in the form in which a `LocalCache` keeps it. So a value is never older than the file, and a value
//! that comes out never aliases the one inside.
//!
//! An immutable object is kept when it is read first, because that costs a reference. What has to be taken apart first is
//! kept when it is read for the second time, so that a value that is read once costs nothing more. While the cache is full
//! it is kept at the eighth read: where the values in use do not fit, most reads would otherwise take a value apart that is
//! evicted before it is read again. Values that are read as quickly as they would be found here are not kept, and neither is
//! what a `LocalCache` would keep as a pickle.
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
/// How many values have their reads counted. Of two that share a place, one is known.
const HISTORIES: usize = 4096;
/// The read at which a value is kept, and the one while the cache is full.
const KEPT_AT: u64 = 2;
const KEPT_AT_WHEN_FULL: u64 = 8;
/// In the place of the count: keeping the value is not worth it.
const WORTHLESS: u64 = 15;
/// The bits of a history that count.
const COUNT: u64 = 15;
/// The bit that says that another value wanted the place. The bits above are those of the hash.
const CONTESTED: u64 = 16;
/// With the GIL, one thread at a time reads.
const SHARDS: usize = if cfg!(Py_GIL_DISABLED) { 8 } else { 1 };
/// The clock of the entries, none of which expires here.
const NO_TIME: Timestamp = Timestamp::NEVER;

/// The decoded values that this process keeps of one path.
pub(crate) struct ObjectCache {
    objects: RawCache<Kept>,
    /// Hashes of stamps, with counts of reads in their lowest bits. Two threads that count at once may lose a read.
    histories: Box<[AtomicU64]>,
    hits: AtomicU64,
}

/// The two words before the value of a near copy, whose meaning `tiered` knows. In other records they are 0.
pub(crate) type Header = [u64; 2];

/// A decoded value, and the record that it was decoded from.
pub(crate) struct Kept {
    /// The number of the file that was mapped: the path may have named several.
    file: u64,
    stamp: Stamp,
    header: Header,
    stored: Stored,
}

/// Identifies one write of one entry of the files that this process has mapped.
#[derive(Clone, Copy, Hash)]
pub(crate) struct Source {
    pub(super) file: u64,
    pub(super) stamp: Stamp,
}

impl ObjectCache {
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        let mut histories = Vec::new();
        histories.try_reserve_exact(HISTORIES)?;
        histories.resize_with(HISTORIES, AtomicU64::default);
        Ok(Self {
            objects: RawCache::new(Eviction::Adaptive, SHARDS)?,
            histories: histories.into_boxed_slice(),
            hits: AtomicU64::new(0),
        })
    }

    /// Returns the decoded value of the record that a key has now.
    #[inline]
    pub(super) fn get(&self, py: Python<'_>, key: &[u8], source: &Source) -> Option<(Header, Stored)> {
        let found = self.objects.get_with(key, &NO_TIME, |kept| {
            let is_current = kept.stamp == source.stamp && kept.file == source.file;
            is_current.then(|| (kept.header, kept.stored.clone_ref(py)))
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
        let history = self.history(source);
        if read.rereading == Rereading::Cheap
            || !history.is_worth_keeping(read.rereading, self.is_full(capacity))
        {
            return Ok(());
        }
        let kept = match Encoded::new(read.value, read.pickle_protocol) {
            Ok(encoded) => self.insert(key, source, read.header, encoded, capacity),
            // The value itself is there, and the caller gets it: it only cannot be taken apart again.
            Err(raised) if raised.is_instance_of::<PyException>(read.value.py()) => false,
            Err(raised) => return Err(raised),
        };
        history.set(if kept { 0 } else { WORTHLESS });
        Ok(())
    }

    /// Returns whether something has to be evicted for another value.
    fn is_full(&self, capacity: u64) -> bool {
        self.objects.weight() > capacity - capacity / VALUE_DIVISOR
    }

    /// Returns whether the value was kept.
    fn insert(&self, key: &[u8], source: &Source, header: Header, value: Encoded, capacity: u64) -> bool {
        let weight = weight::<Kept>(key, value.size);
        if matches!(value.stored, Stored::Pickled(..)) || weight > capacity / VALUE_DIVISOR {
            return false;
        }
        let entry = NewEntry {
            value: Kept {
                file: source.file,
                stamp: source.stamp,
                header,
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

    fn history(&self, source: &Source) -> History<'_> {
        let hash = FixedState::default().hash_one(source);
        let place = usize::try_from(hash >> 32).unwrap_or_default() % HISTORIES;
        History {
            hash: hash & !(COUNT | CONTESTED),
            word: &self.histories[place],
        }
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

/// The reads of a value that is not kept.
struct History<'a> {
    hash: u64,
    word: &'a AtomicU64,
}

impl History<'_> {
    /// Counts a read; returns whether the value is to be kept now.
    fn is_worth_keeping(&self, rereading: Rereading, is_full: bool) -> bool {
        let word = self.word.load(Relaxed);
        let is_own = word & !(COUNT | CONTESTED) == self.hash;
        if !is_own && word & COUNT != 0 && word & CONTESTED == 0 {
            // The other value keeps the place once: two that are read in turn would never be counted otherwise.
            self.word.store(word | CONTESTED, Relaxed);
            return rereading == Rereading::Immutable;
        }
        let reads = if is_own { word & COUNT } else { 0 };
        if reads == WORTHLESS || rereading == Rereading::Immutable {
            return reads != WORTHLESS;
        }
        let reads = (reads + 1).min(KEPT_AT_WHEN_FULL);
        self.set(reads);
        reads >= if is_full { KEPT_AT_WHEN_FULL } else { KEPT_AT }
    }

    fn set(&self, count: u64) {
        self.word.store(self.hash | count, Relaxed);
    }
}

/// A value that was decoded.
pub(super) struct Read<'a, 'py> {
    pub(super) value: &'a Bound<'py, PyAny>,
    pub(super) rereading: Rereading,
    pub(super) header: Header,
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
