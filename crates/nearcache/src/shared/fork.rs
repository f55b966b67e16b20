//! What a fork changes for the child: which process it is, which descriptors it may keep, and whether a lock that was held
//! still has a holder.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{descriptors, os};

/// The number of forks between the first process and this one.
static DEPTH: AtomicU64 = AtomicU64::new(0);
/// The number of forks that this process has begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Returns the fork depth, which identifies this process among its ancestors: a child has another depth than its parent.
#[inline]
pub(super) fn depth() -> u64 {
    DEPTH.load(Ordering::Relaxed)
}

/// Returns how many forks this process has begun.
pub(super) fn begun() -> u64 {
    BEGUN.load(Ordering::SeqCst)
}

extern "C" fn before_fork() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    DEPTH.fetch_add(1, Ordering::SeqCst);
    descriptors::reopen_in_child();
}

/// Makes the handlers run at every fork from now on. Calls after the first have no effect.
pub(super) fn install_handlers() -> io::Result<()> {
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    match *INSTALLED.get_or_init(|| os::at_fork(before_fork, in_child)) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// A mutex for the threads of one process. In a child of `fork` it is free, even if a thread of the parent held it: that
/// thread does not exist in the child.
///
/// Its word is the fork depth of the holder plus one, or 0.
#[derive(Debug, Default)]
pub(super) struct ThreadLock(AtomicU64);

impl ThreadLock {
    /// Waits until no other thread of this process holds the lock, and takes it.
    pub(super) fn lock(&self) -> ThreadLockGuard<'_> {
        let mine = depth() + 1;
        loop {
            let found = self.0.load(Ordering::Relaxed);
            let taken = found != mine
                && self
                    .0
                    .compare_exchange(found, mine, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok();
            if taken {
                return ThreadLockGuard(&self.0);
            }
            thread::yield_now();
        }
    }
}

/// Releases a [`ThreadLock`] when dropped.
#[derive(Debug)]
pub(super) struct ThreadLockGuard<'a>(&'a AtomicU64);

impl Drop for ThreadLockGuard<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
