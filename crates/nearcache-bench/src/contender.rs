//! Caches behind one interface: ours by its policies, and other libraries' as black boxes. All in memory, bounded by entries.

use std::num::NonZeroU32;

use foyer_memory::{CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig};
use nearcache::Eviction;
use nearcache::local::{Batch, Cache};

/// A key as the libraries keep it: a byte string, as nearcache's keys are. They are asked with a borrowed
/// one; only mini-moka, which cannot be, has arrays.
type Key = Box<[u8]>;

/// A cache of `u64` by byte strings (of 16 bytes here), for any number of threads.
pub trait Contender: Send + Sync {
    /// Whether there is a value.
    fn get(&self, key: u64) -> bool;
    /// Inserts a value.
    fn insert(&self, key: u64);
}

/// How a contender is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// One shard and capacity kept at every moment, as far as it can be had: for hit ratios.
    Strict,
    /// As the library comes: for speed.
    Default,
}

/// Our policies, the default one first, and Django's `LocMemCache`: LRU that throws out a third at once.
pub const OURS: [&str; 4] = ["adaptive", "s3-fifo", "lru", "locmem"];
/// The other libraries' caches.
pub const RIVALS: [&str; 5] = ["moka", "mini-moka", "quick_cache", "foyer-s3fifo", "foyer-lfu"];

/// Makes the contender of that name; `None` if there is none.
#[must_use]
pub fn open(name: &str, capacity: u64, setup: Setup) -> Option<Box<dyn Contender>> {
    let entries = usize::try_from(capacity).unwrap_or(usize::MAX);
    Some(match name {
        "adaptive" => Box::new(ours(Eviction::Adaptive, Batch::One, capacity, setup)),
        "s3-fifo" => Box::new(ours(Eviction::S3Fifo, Batch::One, capacity, setup)),
        "lru" => Box::new(ours(Eviction::Lru, Batch::One, capacity, setup)),
        "locmem" => {
            let third = NonZeroU32::new(3).map_or(Batch::All, Batch::OneIn);
            Box::new(ours(Eviction::Lru, third, capacity, setup))
        }
        "moka" => Box::new(Moka {
            cache: moka::sync::Cache::new(capacity),
            flush: setup == Setup::Strict,
        }),
        "mini-moka" => Box::new(MiniMoka {
            cache: mini_moka::sync::Cache::new(capacity),
            flush: setup == Setup::Strict,
        }),
        "quick_cache" => Box::new(quick_cache(entries, capacity, setup)?),
        "foyer-s3fifo" => Box::new(foyer(entries, setup, S3FifoConfig::default())),
        "foyer-lfu" => Box::new(foyer(entries, setup, LfuConfig::default())),
        _ => return None,
    })
}

/// The bytes that stand for a number, scattered, so that no hash has an easy time.
fn key(number: u64) -> [u8; 16] {
    u128::from(number)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        .to_le_bytes()
}

fn ours(eviction: Eviction, batch: Batch, capacity: u64, setup: Setup) -> Cache<u64> {
    let builder = Cache::builder()
        .max_entries(capacity)
        .eviction(eviction)
        .batch(batch);
    match setup {
        Setup::Strict => builder.shards(1).build(),
        Setup::Default => builder.build(),
    }
}

impl Contender for Cache<u64> {
    fn get(&self, number: u64) -> bool {
        Cache::get(self, &key(number)).is_some()
    }

    fn insert(&self, number: u64) {
        // Cannot be rejected: the weight is not bounded.
        let _ = Cache::insert(self, &key(number), number, None);
    }
}

struct Moka {
    cache: moka::sync::Cache<Key, u64>,
    flush: bool,
}

impl Contender for Moka {
    fn get(&self, number: u64) -> bool {
        self.cache.get(key(number).as_slice()).is_some()
    }

    fn insert(&self, number: u64) {
        self.cache.insert(key(number).into(), number);
        if self.flush {
            self.cache.run_pending_tasks();
        }
    }
}

struct MiniMoka {
    cache: mini_moka::sync::Cache<[u8; 16], u64>,
    flush: bool,
}

impl Contender for MiniMoka {
    fn get(&self, number: u64) -> bool {
        self.cache.get(&key(number)).is_some()
    }

    fn insert(&self, number: u64) {
        self.cache.insert(key(number), number);
        if self.flush {
            mini_moka::sync::ConcurrentCacheExt::sync(&self.cache);
        }
    }
}

type QuickCache = quick_cache::sync::Cache<Key, u64>;

fn quick_cache(entries: usize, capacity: u64, setup: Setup) -> Option<QuickCache> {
    if setup == Setup::Default {
        return Some(QuickCache::new(entries));
    }
    let options = quick_cache::OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(entries)
        .weight_capacity(capacity)
        .build()
        .ok()?;
    Some(QuickCache::with_options(
        options,
        quick_cache::UnitWeighter,
        quick_cache::DefaultHashBuilder::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    ))
}

impl Contender for QuickCache {
    fn get(&self, number: u64) -> bool {
        QuickCache::get(self, key(number).as_slice()).is_some()
    }

    fn insert(&self, number: u64) {
        QuickCache::insert(self, key(number).into(), number);
    }
}

type Foyer = foyer_memory::Cache<Key, u64>;

fn foyer(entries: usize, setup: Setup, eviction: impl Into<EvictionConfig>) -> Foyer {
    let builder = CacheBuilder::new(entries).with_eviction_config(eviction);
    match setup {
        Setup::Strict => builder.with_shards(1).build(),
        Setup::Default => builder.build(),
    }
}

impl Contender for Foyer {
    fn get(&self, number: u64) -> bool {
        Foyer::get(self, key(number).as_slice()).is_some()
    }

    fn insert(&self, number: u64) {
        Foyer::insert(self, key(number).into(), number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_gives_back_what_it_was_given() {
        for name in OURS.into_iter().chain(RIVALS) {
            for setup in [Setup::Strict, Setup::Default] {
                let cache = open(name, 1_000, setup).unwrap();
                assert!(!cache.get(7), "{name}");
                cache.insert(7);
                assert!(cache.get(7), "{name}");
            }
        }
        assert!(open("none", 10, Setup::Strict).is_none());
    }
}
