//! What this process knows of the costs of computing the values of keys: a table of fixed size, without locks.
//!
//! A key has one place, by its hash, and a later key of the same place replaces it. A place is three words, the last of which
//! is the other two mixed with the hash, so that two writers at the same time leave what belongs to no key.
//!
//! A cost is forgotten when this process writes the key. The writes of others are not seen here, but a read that learns when
//! the entry expires corrects the end, and one that asks for the cost corrects both.

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

/// The cost, the end, and both mixed with the key's hash.
#[derive(Default)]
struct Place {
    micros: AtomicU64,
    end: AtomicU64,
    mixed: AtomicU64,
}

/// What computing the value of a key took, and when the value expires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) micros: u32,
    pub(super) end: BootTime,
}

impl Costs {
    /// Notes the cost of a key.
    pub(super) fn note(&self, key: &[u8], cost: Cost) {
        let places = self
            .places
            .get_or_init(|| std::iter::repeat_with(Place::default).take(PLACES).collect());
        let hash = hash(key);
        places[index(hash)].store(hash, cost);
    }

    /// Returns the cost of a key, if it is known.
    pub(super) fn get(&self, key: &[u8]) -> Option<Cost> {
        let hash = hash(key);
        self.places.get()?[index(hash)].load(hash)
    }

    /// Corrects when the value of a key expires, if its cost is known, which it returns.
    pub(super) fn renew(&self, key: &[u8], end: BootTime) -> Option<Cost> {
        let hash = hash(key);
        let place = &self.places.get()?[index(hash)];
        let cost = Cost {
            end,
            ..place.load(hash)?
        };
        place.store(hash, cost);
        Some(cost)
    }

    /// Forgets the cost of a key: its value is another one.
    pub(super) fn forget(&self, key: &[u8]) {
        if let Some(places) = self.places.get() {
            let hash = hash(key);
            let place = &places[index(hash)];
            if place.load(hash).is_some() {
                place.mixed.store(0, Relaxed);
            }
        }
    }

    /// Forgets all costs.
    pub(super) fn forget_all(&self) {
        for place in self.places.get().into_iter().flatten() {
            place.mixed.store(0, Relaxed);
        }
    }
}

impl Place {
    fn store(&self, hash: u64, cost: Cost) {
        let (micros, end) = (u64::from(cost.micros), cost.end.as_millis());
        self.micros.store(micros, Relaxed);
        self.end.store(end, Relaxed);
        self.mixed.store(micros ^ end ^ hash, Relaxed);
    }

    fn load(&self, hash: u64) -> Option<Cost> {
        let (micros, end) = (self.micros.load(Relaxed), self.end.load(Relaxed));
        let is_own = micros ^ end ^ hash == self.mixed.load(Relaxed);
        Some(Cost {
            micros: u32::try_from(micros).ok().filter(|_| is_own)?,
            end: BootTime::from_millis(end),
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
const fn index(hash: u64) -> usize {
    hash as usize % PLACES
}
