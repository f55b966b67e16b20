//! The builder of a cache.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::sync::Arc;

use super::cache::{Cache, Weigher};
use super::capacity::{Batch, Capacity};
use super::raw_cache::RawCache;
use crate::clock::{Clock, SystemClock};
use crate::error::OutOfMemory;
use crate::policy::Eviction;

/// Builds a [`Cache`]. Every setting has a default; by default there are no limits.
///
/// ```
/// use nearcache::Eviction;
/// use nearcache::local::Cache;
///
/// let cache = Cache::builder()
///     .max_weight(1 << 20)
///     .weigher(|key, page: &String| (key.len() + page.len()) as u64)
///     .eviction(Eviction::Lru)
///     .build();
/// cache.insert(b"/", String::from("<html>"), None)?;
/// assert_eq!(cache.weight(), 7);
/// # Ok::<(), nearcache::WriteError>(())
/// ```
#[must_use = "a builder does nothing before `build`"]
pub struct Builder<V, C = SystemClock> {
    capacity: Capacity,
    eviction: Eviction,
    shards: Option<usize>,
    clock: C,
    weigher: Weigher<V>,
}

impl<V> Builder<V> {
    pub(super) fn new() -> Self {
        Self {
            capacity: Capacity::UNBOUNDED,
            eviction: Eviction::default(),
            shards: None,
            clock: SystemClock,
            weigher: Arc::new(|_, _| 1),
        }
    }
}

impl<V, C: Clock> Builder<V, C> {
    /// Limits the number of entries. 0 counts as 1.
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.capacity.max_entries = entries;
        self
    }

    /// Limits the weight of all entries together. Without a [`weigher`](Self::weigher) each entry weighs 1.
    pub const fn max_weight(mut self, weight: u64) -> Self {
        self.capacity.max_weight = weight;
        self
    }

    /// Sets the function that computes an entry's weight from its key and value. Every write calls it once, with nothing locked.
    pub fn weigher(mut self, weigher: impl Fn(&[u8], &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Arc::new(weigher);
        self
    }

    /// Sets how many entries are evicted at once when the number of entries reaches its limit.
    pub const fn batch(mut self, batch: Batch) -> Self {
        self.capacity.batch = batch;
        self
    }

    /// Sets the eviction policy.
    pub const fn eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    /// Sets the number of shards, rounded up to a power of two. Each has a lock and an eviction order of its own.
    ///
    /// The default is sixteen a core, but no more than leave each shard 125 entries ([`Capacity::default_shards`]).
    pub const fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets the clock.
    pub fn clock<D: Clock>(self, clock: D) -> Builder<V, D> {
        Builder {
            capacity: self.capacity,
            eviction: self.eviction,
            shards: self.shards,
            clock,
            weigher: self.weigher,
        }
    }

    /// Builds the cache. O(shards): allocates a few hundred bytes for each. Memory for entries is allocated as they are inserted.
    ///
    /// If there is no memory, the process is aborted, as by the standard library's collections. [`RawCache::new`] returns an error
    /// instead.
    #[must_use]
    pub fn build(self) -> Cache<V, C> {
        let shards = self.shards.unwrap_or_else(|| self.capacity.default_shards());
        let raw = RawCache::new(self.eviction, shards)
            .unwrap_or_else(|OutOfMemory| handle_alloc_error(Layout::new::<RawCache<V>>()));
        Cache::new(raw, self.capacity, self.clock, self.weigher)
    }
}

impl<V, C> fmt::Debug for Builder<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("eviction", &self.eviction)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
