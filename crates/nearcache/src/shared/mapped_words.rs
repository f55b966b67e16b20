//! The words of a mapped file, and the functions that store to them.
//!
//! Every store to the mapping goes through this module, so that a test can end the process before any of them.

use std::sync::atomic::Ordering;

// The loom model checker has its own atomics, which track what each thread may see.
#[cfg(nearcache_loom)]
pub(super) use loom::sync::atomic::{AtomicU64, fence};
#[cfg(not(nearcache_loom))]
pub(super) use std::sync::atomic::{AtomicU64, fence};

/// Stores a value in a word.
#[inline(always)]
pub(super) fn store(word: &AtomicU64, value: u64, order: Ordering) {
    before_store();
    word.store(value, order);
}

/// Adds to a word, wrapping around; returns the previous value.
#[inline(always)]
pub(super) fn add(word: &AtomicU64, more: u64, order: Ordering) -> u64 {
    before_store();
    word.fetch_add(more, order)
}

/// Stores a value in a word; returns the previous value.
#[inline(always)]
pub(super) fn swap(word: &AtomicU64, value: u64, order: Ordering) -> u64 {
    before_store();
    word.swap(value, order)
}

/// Stores `new` in a word if its value is `old`; returns whether it was.
#[inline(always)]
pub(super) fn replace(word: &AtomicU64, old: u64, new: u64, order: Ordering) -> bool {
    before_store();
    word.compare_exchange(old, new, order, Ordering::Relaxed).is_ok()
}

#[cfg(not(test))]
#[inline(always)]
const fn before_store() {}

#[cfg(test)]
use super::tests::failpoint::before_store;
