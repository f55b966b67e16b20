//! The making of a cache.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::sync::Arc;
use std::thread::available_parallelism;

use super::cache::{Cache, Weigher};
use super::capacity::{Batch, Capacity};
use super::store::Store;
use crate::clock::{Clock, SystemClock};
use crate::error::OutOfMemory;
use crate::policy::Eviction;

/// A shard has room for this many entries at least, so that a small cache is not cut into pieces too small to tell a
/// good entry from a bad one: pieces of 125 cost 0.1 to 0.6 points of hits, pieces of 40 up to 1.4.
const MIN_SHARD_ENTRIES: u64 = 125;
/// Where only the weight is bounded, an entry is taken to be as heavy as this: a page's fragment, if that is bytes.
const LIKELY_WEIGHT: u64 = 1024;
/// So that two threads seldom meet in one: with four a core they did at every eighth read, on two cores.
const SHARDS_PER_CORE: usize = 16;

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
    /// Aborts the process if there is no memory for that, as the standard library's collections do. [`Store::new`]
    /// returns an error instead.
    #[must_use]
    pub fn build(self) -> Cache<V, C> {
        let shards = self.shards.unwrap_or_else(|| default_shards(&self.capacity));
        let store = Store::new(self.eviction, shards)
            .unwrap_or_else(|OutOfMemory| handle_alloc_error(Layout::new::<Store<V>>()));
        Cache::new(store, self.capacity, self.clock, self.weigher)
    }
}

fn default_shards(capacity: &Capacity) -> usize {
    let max_entries = capacity.max_entries.min(capacity.max_weight / LIKELY_WEIGHT);
    let by_cores = available_parallelism().map_or(1, usize::from) * SHARDS_PER_CORE;
    let by_size = usize::try_from(max_entries / MIN_SHARD_ENTRIES).unwrap_or(usize::MAX);
    // Rounded down here, since `Store::new` rounds up.
    let shards = by_cores.next_power_of_two().min(by_size.max(1));
    1 << shards.ilog2()
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
