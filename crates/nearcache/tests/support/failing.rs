//! An allocator that fails when it is told to.
#![allow(unsafe_code, dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Use it as the global allocator of a test binary.
pub(crate) struct Failing;

/// Which allocations of this thread fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    /// The one with this number, from 1 on.
    Only(usize),
    /// That one and all that come after it.
    From(usize),
}

thread_local! {
    static PLAN: Cell<Option<Fails>> = const { Cell::new(None) };
    /// How many allocations there were since the plan was made.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn fails() -> bool {
    let Some(plan) = PLAN.get() else {
        return false;
    };
    let number = COUNT.get() + 1;
    COUNT.set(number);
    match plan {
        Fails::Only(only) => number == only,
        Fails::From(first) => number >= first,
    }
}

// SAFETY: every call is the system allocator's, or fails.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

/// Runs something with allocations that fail; returns its result and whether any did.
pub(crate) fn with_failures<T>(plan: Fails, run: impl FnOnce() -> T) -> (T, bool) {
    COUNT.set(0);
    PLAN.set(Some(plan));
    let result = run();
    PLAN.set(None);
    let (Fails::Only(first) | Fails::From(first)) = plan;
    (result, COUNT.get() >= first)
}

/// Runs something of the test's own, in between, whose allocations do not fail.
pub(crate) fn without_failures<T>(run: impl FnOnce() -> T) -> T {
    let plan = PLAN.take();
    let result = run();
    PLAN.set(plan);
    result
}

/// Calls `check` with every plan, until one has no allocation left to fail. `check` returns whether one did.
pub(crate) fn for_every_allocation(mut check: impl FnMut(Fails) -> bool) {
    for plan in [Fails::Only, Fails::From] {
        let mut number = 1;
        while check(plan(number)) {
            number += 1;
            assert!(number < 10_000, "there is no end to the allocations");
        }
    }
}
