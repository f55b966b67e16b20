//! The handle that most programs use: a raw cache with a clock, a capacity and a weigher.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::capacity::Capacity;
use super::insert::NewEntry;
use super::keys::Keys;
use super::raw_cache::RawCache;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::condition::Condition;
use crate::error::{UpdateError, WriteError};
use crate::stats::Stats;

/// Computes the weight of an entry from its key and value.
pub(super) type Weigher<V> = Arc<dyn Fn(&[u8], &V) -> u64 + Send + Sync>;

/// A bounded cache in this process's memory, for any number of threads.
///
/// Cloning makes another handle to the same entries. Reads clone the value, so wrap values that are expensive to clone in an [`Arc`].
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
    pub(super) raw: Arc<RawCache<V>>,
    pub(super) capacity: Capacity,
    pub(super) clock: C,
    weigher: Weigher<V>,
}

impl<V> Cache<V> {
    /// Returns a builder with default settings.
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

    /// Returns the value of a live entry. Counts as a use and in the statistics.
    ///
    /// O(1), one shard lock. The value is cloned under the lock, so cloning should be cheap.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<V>
    where
        V: Clone,
    {
        self.raw.get(key, &self.clock)
    }

    /// Inserts a value, and replaces the one under the key, if any. It expires after `ttl`, or never if that is `None`.
    ///
    /// O(1) amortized, one shard lock, and one more for each entry that is evicted from another shard.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the entry weighs more than the capacity, or if there is no memory for it. The old entry is removed in
    /// both cases.
    pub fn insert(&self, key: &[u8], value: V, ttl: Option<Duration>) -> Result<(), WriteError> {
        let new = self.new_entry(key, value, ttl);
        self.raw.insert(key, new, &self.capacity, &self.clock)
    }

    /// Inserts a value if there is no live entry, and returns whether it did. Atomic; the cost is that of [`insert`](Self::insert).
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
    /// [`WriteError`] if the entry weighs more than the capacity, or if there is no memory for it.
    pub fn insert_if_absent(&self, key: &[u8], value: V, ttl: Option<Duration>) -> Result<bool, WriteError> {
        let new = self.new_entry(key, value, ttl);
        self.raw
            .insert_if(key, new, Condition::IfAbsent, &self.capacity, &self.clock)
    }

    /// Replaces the value of a live entry, and returns whether there was one. Atomic; the cost is that of
    /// [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the entry weighs more than the capacity, or if there is no memory for it. The old entry is removed in
    /// both cases.
    pub fn insert_if_present(&self, key: &[u8], value: V, ttl: Option<Duration>) -> Result<bool, WriteError> {
        let new = self.new_entry(key, value, ttl);
        self.raw
            .insert_if(key, new, Condition::IfPresent, &self.capacity, &self.clock)
    }

    /// Replaces a value by what `function` makes of it, and returns whether there was a live entry. Atomic; keeps the expiry.
    ///
    /// `function` runs with nothing locked, and again if another writer was faster. O(1) amortized, two shard locks an attempt.
    /// Counts as a use, but not as a hit.
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
    /// - [`UpdateError::Function`] if `function` fails; the old value stays.
    /// - [`UpdateError::Rejected`] if the new value weighs more than the capacity; the entry is removed.
    /// - [`UpdateError::Overtaken`] if the key was written during each of ten thousand attempts, by other writers or by `function`
    ///   itself.
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

    /// Removes an entry, and returns its value if it was live. O(1), one shard lock.
    pub fn remove(&self, key: &[u8]) -> Option<V> {
        self.raw.remove(key, &self.clock)
    }

    /// Removes a live entry if `condition` holds of its value, and returns the value in that case. Atomic.
    ///
    /// `condition` runs with nothing locked, and again if another writer was faster, up to ten thousand times; it must not write
    /// the key itself. O(1), two shard locks an attempt.
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

    /// Sets a live entry to expire after `ttl` from now, or never if that is `None`. Returns whether there was one.
    ///
    /// O(1), one shard lock. Not a use.
    pub fn touch(&self, key: &[u8], ttl: Option<Duration>) -> bool {
        self.expire_at(key, self.expiry(ttl))
    }

    /// Sets when a live entry expires, and returns whether there was one. A time that has passed removes the entry.
    ///
    /// O(1), one shard lock. Not a use.
    pub fn expire_at(&self, key: &[u8], expires_at: Timestamp) -> bool {
        self.raw.expire_at(key, expires_at, &self.clock)
    }

    /// Returns whether there is a live entry. O(1), one shard lock. Counts neither as a use nor in the statistics.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.raw.contains(key, &self.clock)
    }

    /// Returns when a live entry expires, or `None` if there is no live entry. [`Timestamp::NEVER`] means that it does not
    /// expire.
    ///
    /// O(1), one shard lock. Counts neither as a use nor in the statistics.
    #[must_use]
    pub fn expires_at(&self, key: &[u8]) -> Option<Timestamp> {
        self.raw.expires_at(key, &self.clock)
    }

    /// Removes all entries and frees their memory. O(1) under each shard's lock in turn; dropping the entries, O(n), happens
    /// outside of the locks.
    pub fn clear(&self) {
        self.raw.clear();
    }

    /// Returns the number of entries, including expired ones that have not been removed yet. O(1), no lock.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.raw.len()
    }

    /// Returns whether there are no entries. O(1), no lock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Returns the weight of all entries. O(1), no lock.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.raw.weight()
    }

    /// Iterates over the keys of live entries, in no order. See [`RawCache::keys`].
    pub fn keys(&self) -> Keys<'_, V> {
        self.raw.keys(self.clock.now())
    }

    /// Iterates over the keys of all entries, also of expired ones, and of all flights, for their removal. See
    /// [`RawCache::all_keys`].
    pub fn all_keys(&self) -> Keys<'_, V> {
        self.raw.all_keys()
    }

    /// Returns this handle's capacity.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Sets all counts of the statistics to zero. The entries stay. O(shards).
    pub fn reset_stats(&self) {
        self.raw.reset_stats();
    }

    /// Returns how long the cache has been counting: since it was made or last [reset](Self::reset_stats). O(shards).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.raw.age()
    }

    /// Returns the statistics since the cache was made or last [reset](Self::reset_stats). O(shards).
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.raw.stats()
    }

    /// Returns the cache that all clones of this handle share.
    #[must_use]
    pub fn raw(&self) -> &RawCache<V> {
        &self.raw
    }

    /// Makes the entry to be stored.
    pub(super) fn new_entry(&self, key: &[u8], value: V, ttl: Option<Duration>) -> NewEntry<V> {
        NewEntry {
            weight: (self.weigher)(key, &value),
            expires_at: self.expiry(ttl),
            value,
        }
    }

    /// Returns when an entry expires that is stored now for `ttl`.
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
