//! A store frozen around `fork` can be used at once by the child, whatever the other threads were doing.
#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nearcache::local::Cache;

const FORKS: u32 = 200;
/// A child that waits for a lock for good is killed after this, and so seen.
const CHILD_SECONDS: u32 = 10;

/// Uses the cache as a child does, and ends it: 0 if all was well.
fn child(cache: &Cache<u64>) -> ! {
    let works = || {
        cache.insert(b"child", 1, None).is_ok()
            && cache.get(b"child") == Some(1)
            && cache.raw().validate().is_ok()
            && (0..1000_u64).all(|key| cache.insert(&key.to_le_bytes(), key, None).is_ok())
    };
    // SAFETY: ends the process without running what belongs to the parent.
    #[allow(unsafe_code)]
    unsafe {
        libc::alarm(CHILD_SECONDS);
        libc::_exit(i32::from(!works()));
    }
}

/// Forks with the store at rest; returns the child's exit status.
fn fork_once(cache: &Cache<u64>) -> i32 {
    let frozen = cache.raw().freeze();
    // SAFETY: the child uses the cache, whose locks are this thread's to release, and the allocator, which glibc
    // and musl make usable after a fork; then it ends.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    drop(frozen);
    if pid == 0 {
        child(cache);
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` is there to be written.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

#[test]
fn child_of_a_frozen_store_is_not_kept_waiting() {
    let cache = Cache::builder().shards(4).max_entries(500).build();
    let (done, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..3_u64 {
            let (cache, done, writes) = (&cache, &done, &writes);
            scope.spawn(move || {
                let mut key = seed;
                while !done.load(Ordering::Relaxed) {
                    key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    cache.insert(&(key >> 54).to_le_bytes(), key, None).unwrap();
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let statuses: Vec<i32> = (0..FORKS).map(|_| fork_once(&cache)).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(statuses, vec![0; FORKS as usize]);
    });
    assert!(
        writes.into_inner() > u64::from(FORKS),
        "the other threads were at work"
    );
    assert_eq!(cache.get(b"child"), None, "what a child writes is its own");
}
