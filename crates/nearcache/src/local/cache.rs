//! The handle that Rust programs use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::capacity::Capacity;
use super::keys::Keys;
use super::raw_cache::{NewEntry, RawCache};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::condition::Condition;
use crate::error::{UpdateError, WriteError};
use crate::stats::Stats;

/// Tells what an entry weighs.
pub(super) type Weigher<V> = Arc<dyn Fn(&[u8], &V) -> u64 + Send + Sync>;

/// A bounded cache in this process's memory, for any number of threads.
///
/// Cloning gives another handle to the same entries. Values are cloned out: for large ones use an [`Arc`].
///
/// ```
/// use nearcache::local::Cache;
/// use std::time::Duration;
///
/// let cache = Cache::builder().max_entries(10_000).build();
/// cache.insert(b"answer", 42, None)?;
/// cache.insert(b"session", 7, Some(Duration::from_secs(300)))?;
/// assert_eq!(cache.get(b"answer"), Some(42));
/// # Ok::<(), nearcache::WriteError>(())
/// ```
pub struct Cache<V, C = SystemClock> {
    raw: Arc<RawCache<V>>,
    capacity: Capacity,
    clock: C,
    weigher: Weigher<V>,
}

impl<V> Cache<V> {
    /// Starts the making of a cache.
    pub fn builder() -> Builder<V> {
        Builder::new()
    }
}

impl<V, C: Clock> Cache<V, C> {
    pub(super) fn new(raw: RawCache<V>, capacity: Capacity, clock: C, weigher: Weigher<V>) -> Self {
        Self {
            raw: Arc::new(raw),
            capacity,
            clock,
            weigher,
        }
    }

    /// The value of a live entry. O(1), one shard lock; the value is cloned under it, so that should be cheap.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<V>
    where
        V: Clone,
    {
        self.raw.get(key, &self.clock)
    }

    /// Stores a value for `ttl`, or for good, whether or not there was one. O(1) amortized, one shard lock.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if it weighs more than the whole cache may hold, or if there is no memory for it; the old value is
    /// removed then too.
    pub fn insert(&self, key: &[u8], value: V, ttl: Option<Duration>) -> Result<(), WriteError> {
        let new = self.new_entry(key, value, ttl);
        self.raw.insert(key, new, &self.capacity, &self.clock)
    }

    /// Stores a value if there is no live entry; returns whether it did. Atomic; cost as [`insert`](Self::insert).
    ///
    /// ```
    /// # use nearcache::local::Cache;
    /// let cache = Cache::builder().max_entries(10).build();
    /// assert!(cache.insert_if_absent(b"leader", "a", None)?);
    /// assert!(!cache.insert_if_absent(b"leader", "b", None)?);
    /// assert_eq!(cache.get(b"leader"), Some("a"));
    /// # Ok::<(), nearcache::WriteError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`WriteError`] if it weighs more than the whole cache may hold, or if there is no memory for it.
    pub fn insert_if_absent(&self, key: &[u8], value: V, ttl: Option<Duration>) -> Result<bool, WriteError> {
        let new = self.new_entry(key, value, ttl);
        self.raw
            .insert_if(key, new, Condition::IfAbsent, &self.capacity, &self.clock)
    }

    /// Stores a value if there is a live entry to replace; returns whether it did. Atomic; cost as
    /// [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// [`WriteError`] if it weighs more than the whole cache may hold, or if there is no memory for it; the old value is
    /// removed then too.
    pub fn insert_if_present(&self, key: &[u8], value: V, ttl: Option<Duration>) -> Result<bool, WriteError> {
        let new = self.new_entry(key, value, ttl);
        self.raw
            .insert_if(key, new, Condition::IfPresent, &self.capacity, &self.clock)
    }

    /// Changes a value by a function of it, atomically, keeping its expiry; returns whether there was a live entry.
    ///
    /// The function runs with nothing locked, and again if another writer was faster. Two shard locks when none was.
    ///
    /// ```
    /// # use nearcache::local::Cache;
    /// # use std::convert::Infallible;
    /// let cache = Cache::builder().max_entries(10).build();
    /// cache.insert(b"views", 41, None)?;
    /// assert_eq!(cache.update(b"views", |views| Ok::<_, Infallible>(views + 1)), Ok(true));
    /// assert_eq!(cache.get(b"views"), Some(42));
    /// # Ok::<(), nearcache::WriteError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The function's error (the old value stays), [`UpdateError::Rejected`] (the old value is removed), or
    /// [`UpdateError::Overtaken`] by others ten thousand times, or by itself, if the function writes the key.
    pub fn update<E>(
        &self,
        key: &[u8],
        mut function: impl FnMut(V) -> Result<V, E>,
    ) -> Result<bool, UpdateError<E>>
    where
        V: Clone,
    {
        self.raw.update(key, &self.capacity, &self.clock, |old| {
            let new = function(old)?;
            let weight = (self.weigher)(key, &new);
            Ok((new, weight))
        })
    }

    /// Takes an entry out; its value, if it was alive. O(1), one shard lock.
    pub fn remove(&self, key: &[u8]) -> Option<V> {
        self.raw.remove(key, &self.clock)
    }

    /// Takes an entry out if `condition` holds of its value; the value, if it did. Atomic: what was looked at is what is
    /// taken out.
    ///
    /// The condition is asked with nothing locked, and again if another writer was faster. Two shard locks when none was.
    ///
    /// ```
    /// # use nearcache::local::Cache;
    /// let cache = Cache::builder().max_entries(10).build();
    /// cache.insert(b"lock", "mine", None)?;
    /// assert_eq!(cache.remove_if(b"lock", |&owner| owner == "yours"), None);
    /// assert_eq!(cache.remove_if(b"lock", |&owner| owner == "mine"), Some("mine"));
    /// # Ok::<(), nearcache::WriteError>(())
    /// ```
    pub fn remove_if(&self, key: &[u8], condition: impl FnMut(&V) -> bool) -> Option<V>
    where
        V: Clone,
    {
        self.raw.remove_if(key, &self.clock, condition)
    }

    /// Lets a live entry live for `ttl` from now, or for good; returns whether there was one. O(1), one shard lock.
    pub fn touch(&self, key: &[u8], ttl: Option<Duration>) -> bool {
        self.expire_at(key, self.expiry(ttl))
    }

    /// Sets when a live entry dies; returns whether there was one. A time that has passed removes it. O(1), one lock.
    pub fn expire_at(&self, key: &[u8], expires_at: Timestamp) -> bool {
        self.raw.expire_at(key, expires_at, &self.clock)
    }

    /// Whether there is a live entry. O(1), one shard lock; not a use, and not counted.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.raw.contains(key, &self.clock)
    }

    /// When a live entry dies, [`Timestamp::NEVER`] if it does not; `None` if there is no entry. O(1), one shard lock.
    #[must_use]
    pub fn expires_at(&self, key: &[u8]) -> Option<Timestamp> {
        self.raw.expires_at(key, &self.clock)
    }

    /// Takes out everything and gives its memory back. O(n), but O(1) under each shard's lock.
    pub fn clear(&self) {
        self.raw.clear();
    }

    /// How many entries there are, dead ones included that have not been noticed yet. O(1), no lock.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.raw.len()
    }

    /// Whether there are none. O(1), no lock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// What the entries weigh together. O(1), no lock.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.raw.weight()
    }

    /// The keys of live entries, in no order. See [`RawCache::keys`].
    pub fn keys(&self) -> Keys<'_, V> {
        self.raw.keys(self.clock.now())
    }

    /// What the cache may hold.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Starts counting anew, from zero. O(shards).
    pub fn reset_stats(&self) {
        self.raw.reset_stats();
    }

    /// For how long the cache has been counting: since it was made, or since the last
    /// [`reset_stats`](Self::reset_stats).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.raw.age()
    }

    /// What was counted since the cache was made or last told to count anew. O(shards).
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.raw.stats()
    }

    /// Returns the cache that all clones of this handle share.
    #[must_use]
    pub fn raw(&self) -> &RawCache<V> {
        &self.raw
    }

    fn new_entry(&self, key: &[u8], value: V, ttl: Option<Duration>) -> NewEntry<V> {
        NewEntry {
            weight: (self.weigher)(key, &value),
            expires_at: self.expiry(ttl),
            value,
        }
    }

    fn expiry(&self, ttl: Option<Duration>) -> Timestamp {
        ttl.map_or(Timestamp::NEVER, |ttl| self.clock.expiry(ttl))
    }
}

impl<V, C: Clone> Clone for Cache<V, C> {
    fn clone(&self) -> Self {
        Self {
            raw: Arc::clone(&self.raw),
            capacity: self.capacity,
            clock: self.clock.clone(),
            weigher: Arc::clone(&self.weigher),
        }
    }
}

impl<V, C> fmt::Debug for Cache<V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.raw.len())
            .field("weight", &self.raw.weight())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
