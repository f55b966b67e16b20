//! The child of a `fork` can use a cache that was frozen around it at once, whatever the other threads were doing.
#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nearcache::local::Cache;

const FORKS: u32 = 200;
/// A child that deadlocks is killed after this time, and the test fails.
const CHILD_SECONDS: u32 = 10;

/// Waits until something has happened.
fn until(has_happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !has_happened() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not happen");
        thread::yield_now();
    }
}

/// Uses the cache in the child, and returns whether every operation worked.
fn is_usable(cache: &Cache<u64>) -> bool {
    cache.insert(b"child", 1, None).is_ok()
        && cache.get(b"child") == Some(1)
        && cache.raw().validate().is_ok()
        && (0..1000_u64).all(|key| cache.insert(&key.to_le_bytes(), key, None).is_ok())
}

/// Runs in the child, and exits with 0 if the cache works.
fn child(cache: &Cache<u64>, works: impl FnOnce(&Cache<u64>) -> bool) -> ! {
    // SAFETY: both calls take plain integers. `_exit` ends the child without running the parent's destructors and exit handlers.
    #[allow(unsafe_code)]
    unsafe {
        libc::alarm(CHILD_SECONDS);
        libc::_exit(i32::from(!works(cache)));
    }
}

/// Forks while the cache is frozen, and returns the child's exit status: 0 if the cache works there.
fn fork_once(cache: &Cache<u64>, works: impl FnOnce(&Cache<u64>) -> bool) -> i32 {
    let frozen = cache.raw().freeze();
    // SAFETY: after a fork in a process with several threads, the child may use only what no other thread had locked. It uses the
    // cache, whose locks this thread holds and releases, and the allocator, which glibc and musl make usable in the child.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    drop(frozen);
    if pid == 0 {
        child(cache, works);
    }
    let mut status = 0;
    // SAFETY: `pid` is the child's, and `status` is a local variable that the call may write to.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

#[test]
fn the_child_of_a_frozen_cache_does_not_wait() {
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
        let statuses: Vec<i32> = (0..FORKS).map(|_| fork_once(&cache, is_usable)).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(statuses, vec![0; FORKS as usize]);
    });
    assert!(
        writes.into_inner() > u64::from(FORKS),
        "the other threads wrote meanwhile"
    );
    assert_eq!(
        cache.get(b"child"),
        None,
        "the parent does not see the child's writes"
    );
}

#[test]
fn the_child_does_not_wait_for_a_leader_of_its_parent() {
    let cache = Cache::builder().max_entries(500).build();
    let (leads, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            cache.get_or_insert_with(b"key", None, || {
                leads.store(true, Ordering::SeqCst);
                until(|| done.load(Ordering::SeqCst));
                1
            })
        });
        until(|| leads.load(Ordering::SeqCst));
        let waiter = scope.spawn(|| cache.get_or_insert_with(b"key", None, || 2));
        until(|| cache.stats().waits == 1);
        let status = fork_once(&cache, |cache| {
            cache.get_or_insert_with(b"key", None, || 3) == 3
                && cache.get(b"key") == Some(3)
                && is_usable(cache)
        });
        assert_eq!(status, 0);
        done.store(true, Ordering::SeqCst);
        assert_eq!((leader.join().unwrap(), waiter.join().unwrap()), (1, 1));
    });
    assert_eq!(cache.get(b"key"), Some(1));
}

#[test]
fn a_leader_may_fork() {
    let cache = Cache::builder().max_entries(500).build();
    let value = cache.get_or_insert_with(b"outer", None, || {
        let inner = cache.get_or_insert_with(b"inner", None, || {
            let status = fork_once(&cache, |cache| {
                // Neither computation is a flight of the child.
                ["outer", "inner"].into_iter().all(|key| {
                    let computed = cache.get_or_insert_with(key.as_bytes(), None, || 7);
                    computed == 7 && cache.get(key.as_bytes()) == Some(7)
                })
            });
            assert_eq!(status, 0);
            1
        });
        inner + 1
    });
    assert_eq!(
        (value, cache.get(b"outer"), cache.get(b"inner")),
        (2, Some(2), Some(1))
    );
}
