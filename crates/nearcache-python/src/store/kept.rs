//! Objects that were read lately, to be handed out again while the file still holds the same value.
//!
//! A value of some size is copied, and its memory asked for and given back, at every read, though it is the same text each
//! time. The file is asked first, every time; only what it would have had copied is not copied again. Kept are objects that
//! nobody can change, few, and little of them: every process has its own.

use std::hash::BuildHasher;
use std::sync::Mutex;

use foldhash::fast::FixedState;
use nearcache::OutOfMemory;
use nearcache::shared::Stamp;
use pyo3::prelude::*;

use crate::values::raw::is_immutable;

/// Smaller values are made anew as quickly.
const LEAST_BYTES: usize = 256;
/// Of a file, one of so many bytes may be kept in a process.
const SHARE: u64 = 64;
const MOST_BYTES: u64 = 4 << 20;
/// No object takes more than one of so many parts of that.
const PARTS: usize = 8;
const SETS: usize = 256;
const WAYS: usize = 4;

/// What a process keeps of one file.
pub(super) struct Kept {
    bytes: usize,
    places: Mutex<Places>,
}

struct Places {
    sets: Box<[[Option<Place>; WAYS]]>,
    /// Bytes of all values.
    bytes: usize,
    /// Which place is emptied next, of all, if they are too many, and of a set, if that is full.
    hand: usize,
}

struct Place {
    stamp: Stamp,
    len: usize,
    value: Py<PyAny>,
}

impl Kept {
    /// Of a file of so many bytes.
    pub(super) fn new(file_bytes: u64) -> Result<Self, OutOfMemory> {
        let mut sets = Vec::new();
        sets.try_reserve_exact(SETS)?;
        sets.resize_with(SETS, || [const { None }; WAYS]);
        Ok(Self {
            bytes: usize::try_from((file_bytes / SHARE).min(MOST_BYTES)).unwrap_or_default(),
            places: Mutex::new(Places {
                sets: sets.into_boxed_slice(),
                bytes: 0,
                hand: 0,
            }),
        })
    }

    /// Whether a value of this kind and length may be kept.
    #[inline]
    pub(super) const fn may_keep(&self, kind: u8, len: usize) -> bool {
        len >= LEAST_BYTES && len <= self.bytes / PARTS && is_immutable(kind)
    }

    /// The object made of the value with this stamp.
    pub(super) fn find(&self, py: Python<'_>, stamp: &Stamp) -> Option<Py<PyAny>> {
        // The lock is held for a moment only; but after a fork, the thread that held it may not exist in the child.
        let places = self.places.try_lock().ok()?;
        let mut set = places.sets[set_of(stamp)].iter().flatten();
        set.find(|place| place.stamp == *stamp)
            .map(|place| place.value.clone_ref(py))
    }

    /// Keeps the object made of a value of this length, if there is memory for it. What has to go is dropped after the lock is.
    pub(super) fn keep(&self, stamp: Stamp, len: usize, value: Py<PyAny>) {
        let mut victims = Vec::new();
        // Room for one, which `put` relies on.
        if victims.try_reserve(1).is_err() {
            return;
        }
        let Ok(mut places) = self.places.try_lock() else {
            return;
        };
        places.put(Place { stamp, len, value }, self.bytes, &mut victims);
        drop(places);
        drop(victims);
    }
}

impl Places {
    fn put(&mut self, place: Place, most_bytes: usize, victims: &mut Vec<Place>) {
        self.hand = self.hand.wrapping_add(1);
        let set = &mut self.sets[set_of(&place.stamp)];
        let free = set.iter().position(Option::is_none);
        self.bytes += place.len;
        if let Some(victim) = set[free.unwrap_or(self.hand % WAYS)].replace(place) {
            self.bytes -= victim.len;
            victims.push(victim);
        }
        // If there is no memory to hand over more of them, the next one that is kept sees to it.
        while self.bytes > most_bytes && victims.try_reserve(1).is_ok() {
            self.hand = self.hand.wrapping_add(1);
            let (set, way) = (self.hand / WAYS % SETS, self.hand % WAYS);
            if let Some(victim) = self.sets[set][way].take() {
                self.bytes -= victim.len;
                victims.push(victim);
            }
        }
    }
}

fn set_of(stamp: &Stamp) -> usize {
    usize::try_from(FixedState::default().hash_one(stamp)).unwrap_or_default() % SETS
}
