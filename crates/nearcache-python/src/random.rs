//! Random numbers, for timeouts that must not all end at the same time.

use std::hash::{BuildHasher, RandomState};

/// Returns a number from 0 to 1, without 1.
pub(crate) fn random() -> f64 {
    fastrand::f64()
}

/// Lets this thread's numbers differ from those of other processes. A child of `fork` would draw its parent's.
#[cfg(unix)]
pub(crate) fn reseed() {
    fastrand::seed(RandomState::new().hash_one(std::process::id()));
}
