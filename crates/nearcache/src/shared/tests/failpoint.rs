//! A failpoint: ends the process before one of its stores to a mapping.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of stores until the process ends; 0 if it does not.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Is called before every store.
pub(in crate::shared) fn before_store() {
    if LEFT.load(Ordering::Relaxed) != 0 && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        // SAFETY: takes no pointers. The signal kills this process, so nothing of it runs any longer.
        #[allow(unsafe_code)]
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
            libc::pause();
        }
    }
}

/// Makes this process die before the store with this number, counted from 1.
pub(super) fn die_before(store: u64) {
    LEFT.store(store, Ordering::Relaxed);
}

/// Lets this process live; returns whether it would have died later.
pub(super) fn live_on() -> bool {
    LEFT.swap(0, Ordering::Relaxed) > 0
}
