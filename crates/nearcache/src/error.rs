//! The errors of writes. A miss is `None`, not an error.

use std::collections::TryReserveError;

/// The value weighs more than the capacity, so it was not stored.
///
/// The entry that the key had before was removed, because a value that was to be replaced must not be returned any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value weighs {weight}, more than the cache's capacity of {capacity}")]
pub struct Rejected {
    /// The weight of the rejected entry.
    pub weight: u64,
    /// The greatest weight that is accepted.
    pub capacity: u64,
}

impl Rejected {
    /// Returns the weight as entries keep it, if it is within the capacity, and below 2^32 whatever the capacity.
    pub(crate) fn check(weight: u64, capacity: u64) -> Result<u32, Self> {
        let capacity = capacity.min(u64::from(u32::MAX));
        u32::try_from(weight)
            .ok()
            .filter(|_| weight <= capacity)
            .ok_or(Self { weight, capacity })
    }
}

/// An allocation failed, so the operation was not done.
///
/// The cache stays valid and usable. The operation may have removed entries of other keys, by eviction or expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

/// The reason why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The value weighs more than the capacity. The old entry was removed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// There was no memory for the entry. The key has no entry: replacing one needs no memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// The reason why [`update`](crate::local::Cache::update) did not store a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The new value weighs more than the capacity. The entry was removed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The function that computes the new value failed. The old value stays.
    #[error("{0}")]
    Function(E),
    /// The key was written during every attempt, by other writers or by the function itself. The latest value stays.
    #[error("gave up after {attempts} attempts, during each of which the key was written")]
    Overtaken {
        /// The number of attempts.
        attempts: u32,
    },
}
