//! A small cache of the Python objects that were read last from a file, in each process.
//!
//! Building a large object at every read costs a copy, an allocation and a deallocation. A read still asks the file first,
//! every time: if it holds the value with the same stamp, the object built earlier is returned. Only objects that cannot
//! change are kept.

use std::hash::BuildHasher;
use std::sync::Mutex;

use foldhash::fast::FixedState;
use nearcache::OutOfMemory;
use nearcache::shared::Stamp;
use pyo3::prelude::*;

use crate::values::bytes::is_immutable;

/// The shortest value that is kept. Shorter ones are built as quickly as they are found here.
const MIN_BYTES: usize = 256;
/// The capacity is the size of the file divided by this ...
const FILE_DIVISOR: u64 = 64;
/// ... and at most this.
const MAX_CAPACITY: u64 = 4 << 20;
/// The longest value that is kept is the capacity divided by this.
const VALUE_DIVISOR: usize = 8;
/// Set-associative: a stamp's hash selects a set, and an object is in one of its ways.
const SETS: usize = 256;
const WAYS: usize = 4;

/// The two words before the value of a near copy, whose meaning `tiered` knows. Zeros for the value of a `SharedCache`.
pub(crate) type Header = [u64; 2];

/// The objects that a process keeps of one file.
pub(super) struct ObjectCache {
    /// In bytes of values.
    capacity: usize,
    entries: Mutex<Entries>,
}

struct Entries {
    sets: Box<[[Option<Entry>; WAYS]]>,
    /// The bytes of all values.
    bytes: usize,
    /// The next victim, of all entries if the capacity is exceeded, and of a set if the set is full.
    hand: usize,
}

struct Entry {
    stamp: Stamp,
    header: Header,
    len: usize,
    object: Py<PyAny>,
}

impl ObjectCache {
    /// Creates the cache for a file of this size.
    pub(super) fn new(file_bytes: u64) -> Result<Self, OutOfMemory> {
        let mut sets = Vec::new();
        sets.try_reserve_exact(SETS)?;
        sets.resize_with(SETS, || [const { None }; WAYS]);
        Ok(Self {
            capacity: usize::try_from((file_bytes / FILE_DIVISOR).min(MAX_CAPACITY)).unwrap_or_default(),
            entries: Mutex::new(Entries {
                sets: sets.into_boxed_slice(),
                bytes: 0,
                hand: 0,
            }),
        })
    }

    /// Returns whether an object of this kind and length is kept.
    #[inline]
    pub(super) const fn accepts(&self, kind: u8, len: usize) -> bool {
        len >= MIN_BYTES && len <= self.capacity / VALUE_DIVISOR && is_immutable(kind)
    }

    /// Returns the object built from the value with this stamp, and the words before it.
    pub(super) fn get(&self, py: Python<'_>, stamp: &Stamp) -> Option<(Header, Py<PyAny>)> {
        // `try_lock`: after a fork, the thread that held the lock may not exist in the child.
        let entries = self.entries.try_lock().ok()?;
        let mut set = entries.sets[set_index(stamp)].iter().flatten();
        set.find(|entry| entry.stamp == *stamp)
            .map(|entry| (entry.header, entry.object.clone_ref(py)))
    }

    /// Keeps an object built from a value of this length, if there is memory. Evicted objects are dropped after unlocking.
    pub(super) fn insert(&self, stamp: Stamp, header: Header, len: usize, object: Py<PyAny>) {
        let mut victims = Vec::new();
        // `Entries::insert` relies on room for one.
        if victims.try_reserve(1).is_err() {
            return;
        }
        let Ok(mut entries) = self.entries.try_lock() else {
            return;
        };
        let entry = Entry {
            stamp,
            header,
            len,
            object,
        };
        entries.insert(entry, self.capacity, &mut victims);
        drop(entries);
        drop(victims);
    }
}

impl Entries {
    fn insert(&mut self, entry: Entry, capacity: usize, victims: &mut Vec<Entry>) {
        self.hand = self.hand.wrapping_add(1);
        let set = &mut self.sets[set_index(&entry.stamp)];
        let free = set.iter().position(Option::is_none);
        self.bytes += entry.len;
        if let Some(victim) = set[free.unwrap_or(self.hand % WAYS)].replace(entry) {
            self.bytes -= victim.len;
            victims.push(victim);
        }
        // If there is no memory for more victims, the next insertion evicts the rest.
        while self.bytes > capacity && victims.try_reserve(1).is_ok() {
            self.hand = self.hand.wrapping_add(1);
            let (set, way) = (self.hand / WAYS % SETS, self.hand % WAYS);
            if let Some(victim) = self.sets[set][way].take() {
                self.bytes -= victim.len;
                victims.push(victim);
            }
        }
    }
}

fn set_index(stamp: &Stamp) -> usize {
    usize::try_from(FixedState::default().hash_one(stamp)).unwrap_or_default() % SETS
}
