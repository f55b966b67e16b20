//! A bounded cache in the memory of one process.
//!
//! - [`Cache`] is the handle for most programs: a [`RawCache`] with a clock, a capacity and a weigher.
//! - [`RawCache`] has the shards. Callers pass the clock with every call and the capacity with every write, so that handles
//!   with clocks and capacities of their own can share one cache.
//! - A shard is what one lock guards: an index of slot numbers, a slab of entries, and a policy. A key's hash chooses its shard.
//!
//! **Invariants.**
//!
//! - After every write, the whole cache is within the capacity of the handle that wrote.
//! - An expired entry is never returned, and counts as absent.
//! - An operation that fails for lack of memory has stored nothing, and leaves the cache valid.
//!
//! **Concurrency.**
//!
//! - Each shard has one lock. No thread holds two, except in [`RawCache::freeze`], which takes all in order.
//! - No user code runs under a lock, except `Clone` of a value, the reader that is passed to [`RawCache::get_with`], and
//!   [`Clock`](crate::Clock). Values that are removed are dropped after unlocking.
//! - [`Cache::update`] and the conditional removals call the user's function between two lock acquisitions, and compare a
//!   stamp to see whether the value is still the one they read.
//! - Of the callers of [`Cache::get_or_insert_with`] that miss a key together, one computes and the others wait.
//! - A panic under a lock empties the shard.

mod builder;
mod cache;
mod capacity;
mod deferred_drops;
mod evict;
mod expire;
mod freeze;
mod get;
mod get_or_insert;
mod index;
mod insert;
mod keys;
mod lock;
mod raw_cache;
mod remove;
mod shard;
mod shard_writer;
mod single_flight;
mod slab;
mod stale;
mod stored_key;
mod sweep;
#[cfg(test)]
mod tests;
mod totals;
mod update;

pub use builder::Builder;
pub use cache::Cache;
pub use capacity::{Batch, Capacity};
pub use freeze::Frozen;
pub use insert::NewEntry;
pub use keys::Keys;
pub use raw_cache::RawCache;
pub use single_flight::{FlightId, Joined, Leader, Refresh, Waited, Waiter};
