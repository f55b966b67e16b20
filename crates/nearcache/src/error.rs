//! Why a write was not done. A miss is an `Option`, not an error.

use std::collections::TryReserveError;

/// The value weighs more than the whole cache may hold, so it was not stored.
///
/// The entry that the key had before is removed: after a write, the old value must not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value weighs {weight}, more than the cache's capacity of {capacity}")]
pub struct Rejected {
    /// The weight of the rejected entry.
    pub weight: u64,
    /// The weight that the cache may hold in all.
    pub capacity: u64,
}

impl Rejected {
    /// Returns the weight as entries keep it, if it fits the capacity (and into 4 GiB, whatever the capacity).
    pub(crate) fn check(weight: u64, capacity: u64) -> Result<u32, Self> {
        let capacity = capacity.min(u64::from(u32::MAX));
        u32::try_from(weight)
            .ok()
            .filter(|_| weight <= capacity)
            .ok_or(Self { weight, capacity })
    }
}

/// The allocator had no memory for the operation, so it was not done.
///
/// The cache is valid and can be used. Entries of other keys may have been evicted or expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The value is too large; the old one is removed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// There was no memory for the entry; the key has no entry (there was none to replace).
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Why [`update`](crate::local::Cache::update) did not store a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The new value is too large; the old one is removed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The function that computes the new value failed; the old value stays.
    #[error("{0}")]
    Function(E),
    /// Other writers were faster every time, or the function itself writes the key; the latest value stays.
    #[error("other writers of the key were faster {attempts} times")]
    Overtaken {
        /// The number of attempts.
        attempts: u32,
    },
}
