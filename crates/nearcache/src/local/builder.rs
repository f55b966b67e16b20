//! The making of a cache.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::sync::Arc;

use super::cache::{Cache, Weigher};
use super::capacity::{Batch, Capacity};
use super::raw_cache::RawCache;
use crate::clock::{Clock, SystemClock};
use crate::error::OutOfMemory;
use crate::policy::Eviction;

/// Sets up a [`Cache`]. Everything has a default; the bounds' is that there is none.
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
#[must_use = "nothing is made before `build`"]
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
    /// At most this many entries (at least 1).
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.capacity.max_entries = entries;
        self
    }

    /// At most this much weight in all. An entry weighs 1 if no [`weigher`](Self::weigher) says otherwise.
    pub const fn max_weight(mut self, weight: u64) -> Self {
        self.capacity.max_weight = weight;
        self
    }

    /// What an entry weighs, from its key and value. Called once a write, with nothing locked.
    pub fn weigher(mut self, weigher: impl Fn(&[u8], &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Arc::new(weigher);
        self
    }

    /// How many entries are evicted at once when there are too many.
    pub const fn batch(mut self, batch: Batch) -> Self {
        self.capacity.batch = batch;
        self
    }

    /// Which entries are given up.
    pub const fn eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    /// Into how many separately locked parts the cache is cut, rounded up to a power of two. By default sixteen a core,
    /// but no more than leave each part 125 entries, of 1,024 where only the weight is bounded.
    pub const fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Where the cache reads the time.
    pub fn clock<D: Clock>(self, clock: D) -> Builder<V, D> {
        Builder {
            capacity: self.capacity,
            eviction: self.eviction,
            shards: self.shards,
            clock,
            weigher: self.weigher,
        }
    }

    /// Makes the cache. Allocates a few hundred bytes a shard; more memory is taken as entries come.
    ///
    /// Aborts the process if there is no memory for that, as the standard library's collections do. [`RawCache::new`]
    /// returns an error instead.
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
