//! What this process knows of the costs of computing the values of keys: a table of fixed size, without locks.
//!
//! A key has one place, by its hash, and a later key of the same place replaces it. A place is two words, the second of which
//! is mixed with the hash, so that two writers at the same time leave what belongs to no key.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nearcache_remote::near::BootTime;

const PLACES: usize = 1 << 14;

/// The costs, by key. Takes no memory before the first one is known.
#[derive(Default)]
pub(super) struct Costs {
    places: OnceLock<Box<[Place]>>,
}

/// The cost and the end, and the same mixed with the key's hash.
#[derive(Default)]
struct Place(AtomicU64, AtomicU64);

/// What computing the value of a key took, and when the value expires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) micros: u32,
    /// The low half of the [`BootTime`], which is enough for 49 days.
    end: u32,
}

impl Cost {
    /// Creates a cost of a value that expires at a time.
    #[allow(clippy::cast_possible_truncation)] // the low half is wanted
    pub(super) const fn new(micros: u32, end: BootTime) -> Self {
        Self {
            micros,
            end: end.as_millis() as u32,
        }
    }

    /// Returns when the value expires.
    #[allow(clippy::cast_possible_truncation)] // the low half is wanted
    pub(super) const fn end(self, now: BootTime) -> BootTime {
        let left = self.end.wrapping_sub(now.as_millis() as u32);
        // More than half of the circle is a time that has passed.
        let left = if left > u32::MAX / 2 { 0 } else { left };
        BootTime::from_millis(now.as_millis() + left as u64)
    }
}

impl Costs {
    /// Notes the cost of a key.
    pub(super) fn note(&self, key: &[u8], cost: Cost) {
        let places = self
            .places
            .get_or_init(|| std::iter::repeat_with(Place::default).take(PLACES).collect());
        let hash = hash(key);
        let word = u64::from(cost.micros) << 32 | u64::from(cost.end);
        let Place(first, second) = &places[place(hash)];
        first.store(word, Relaxed);
        second.store(word ^ hash, Relaxed);
    }

    /// Returns the cost of a key, if it is known.
    #[allow(clippy::cast_possible_truncation)] // the low half is wanted
    pub(super) fn get(&self, key: &[u8]) -> Option<Cost> {
        let places = self.places.get()?;
        let hash = hash(key);
        let Place(first, second) = &places[place(hash)];
        let word = first.load(Relaxed);
        (second.load(Relaxed) ^ hash == word).then_some(Cost {
            micros: (word >> 32) as u32,
            end: word as u32,
        })
    }
}

/// Returns a hash that is not 0, with which an empty place would belong to a key.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() | 1 << 63
}

#[allow(clippy::cast_possible_truncation)] // the low bits are wanted
const fn place(hash: u64) -> usize {
    hash as usize % PLACES
}
