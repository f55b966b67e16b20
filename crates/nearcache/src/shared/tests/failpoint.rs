//! Ends the process before one of its stores to the map.

use std::sync::atomic::{AtomicU64, Ordering};

/// Stores until the process ends; 0: it does not.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Called before every store.
pub(in crate::shared) fn before_store() {
    if LEFT.load(Ordering::Relaxed) != 0 && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SAFETY: ends this process, as a killed one ends: nothing runs any more.
        #[allow(unsafe_code)]
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
            libc::pause();
        }
    }
}

/// Has this process die before the store with this number, counted from 1.
pub(super) fn die_before(store: u64) {
    LEFT.store(store, Ordering::Relaxed);
}

/// Has it live on; returns whether it would have died later.
pub(super) fn live_on() -> bool {
    LEFT.swap(0, Ordering::Relaxed) > 0
}
