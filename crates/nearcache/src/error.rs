//! What can go wrong: very little. A miss is an `Option`, not an error.

/// The value weighs more than the whole cache may hold, so it was not stored.
///
/// Whatever was stored under the key before is gone all the same: after a write, the old value must not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value weighs {weight}, more than the cache's capacity of {capacity}")]
pub struct Rejected {
    /// What the entry would weigh.
    pub weight: u64,
    /// What the cache may hold in all.
    pub capacity: u64,
}

impl Rejected {
    /// The weight as entries keep it, if it fits the capacity (and into 4 GiB, whatever the capacity).
    pub(crate) fn check(weight: u64, capacity: u64) -> Result<u32, Self> {
        let capacity = capacity.min(u64::from(u32::MAX));
        u32::try_from(weight)
            .ok()
            .filter(|_| weight <= capacity)
            .ok_or(Self { weight, capacity })
    }
}

/// Why [`update`](crate::local::Cache::update) did not store a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The new value was too large; the old one is gone.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The function that should have made the new value failed; the old value stays.
    #[error("{0}")]
    Function(E),
    /// Other writers were faster every time, or the function itself writes the key; the latest value stays.
    #[error("other writers of the key were faster {attempts} times")]
    Overtaken {
        /// How often it was tried.
        attempts: u32,
    },
}
