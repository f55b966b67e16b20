//! Freezing: all locks of a cache held at once, for `fork` and for tests.

use super::lock::GuardOfAll;
use super::raw_cache::RawCache;
use super::shard::{Shard, rebuild};
use super::single_flight;
use crate::stats::Stats;

/// A cache with all its locks held. Every other thread that uses the cache waits until this is dropped.
///
/// It can be sent to another thread, but not shared between threads:
///
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<nearcache::local::Frozen<'static, u64>>();
/// ```
#[derive(Debug)]
#[must_use = "the cache is frozen only until this is dropped"]
pub struct Frozen<'a, V> {
    shards: GuardOfAll<'a, Shard<V>>,
    /// The process that froze the cache.
    pid: u32,
}

impl<V> Drop for Frozen<'_, V> {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            return;
        }
        // The leaders are the parent's threads. Leaked, because dropping wakers and values could run user code under the locks.
        for shard in self.shards.values_mut() {
            std::mem::forget(std::mem::take(&mut shard.flights));
        }
        single_flight::forget_circles();
    }
}

impl<V> RawCache<V> {
    /// Takes all locks and holds them until the returned value is dropped.
    ///
    /// For use around `fork`: taken before it, and dropped after it by parent and child, so that the child inherits no locked
    /// lock, and waits for no computation of a thread that it does not have. The thread must not use the cache while it is frozen: it would deadlock. O(shards). Allocates nothing, so that it cannot
    /// fail within `fork`.
    pub fn freeze(&self) -> Frozen<'_, V> {
        Frozen {
            shards: GuardOfAll::new(&self.shards, rebuild),
            pid: std::process::id(),
        }
    }

    /// Checks all invariants, for tests. O(n), with all locks held.
    ///
    /// # Errors
    ///
    /// A description of the violated invariant.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        let frozen = self.freeze();
        let mut stats = Stats::default();
        for shard in frozen.shards.values() {
            shard.validate()?;
            stats += shard.stats();
        }
        let (counted, totals) = ((stats.entries, stats.weight), (self.len(), self.weight()));
        if counted == totals {
            Ok(())
        } else {
            Err(format!(
                "(entries, weight) are {counted:?} in the shards, but {totals:?} in the totals"
            ))
        }
    }
}
