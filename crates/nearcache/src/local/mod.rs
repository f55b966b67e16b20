//! The in-process cache: sharded, bounded, with expiry.
//!
//! From the outside in:
//!
//! - [`Cache`]: a handle for Rust programs: a store, a clock, a capacity and a weigher.
//! - [`RawCache`]: the shared part. Every call is told the time and the capacity, so that handles with clocks and limits of
//!   their own can share one store.
//! - `Shard`: what one lock guards: an index of slot numbers, a slab of entries, a policy.
//!
//! Invariants:
//!
//! - No user code runs while a lock is held, but for `Clone` of a value and [`Clock::now`](crate::Clock::now).
//!   Values that leave (victims, replaced and expired ones) are dropped after the lock is released.
//! - No thread holds two shard locks, but for [`RawCache::freeze`], which takes them in order.
//! - After every write, the whole store is within the capacity of the handle that wrote.

mod builder;
mod cache;
mod capacity;
mod index;
mod keys;
mod leaving;
mod lock;
mod raw_cache;
mod shard;
mod slab;
mod stored_key;

pub use builder::Builder;
pub use cache::Cache;
pub use capacity::{Batch, Capacity};
pub use keys::Keys;
pub use raw_cache::{Frozen, NewEntry, RawCache};
