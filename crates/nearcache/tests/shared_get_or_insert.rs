//! `get_or_insert_with`: one caller of all threads and processes computes.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nearcache::shared::{Claim, ClaimRequest, ComputeError, NewEntry, SharedCache, SharedError};
use support::{End, Scratch, shared_words, signal, spawn, wait};

const BYTES: u64 = 1 << 20;
const KEY: &[u8] = b"the key";
const VALUE: &[u8] = b"the value";
/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(1000);

fn open(scratch: &Scratch) -> SharedCache {
    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
    cache.with_flight_timeout(LONG)
}

fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

fn waits(cache: &SharedCache) -> u64 {
    cache.stats().counts.waits
}

#[test]
fn a_hit_computes_nothing_and_a_miss_stores_value_expiry_and_cost() {
    let scratch = Scratch::new("compute");
    let cache = open(&scratch);
    let ttl = Some(Duration::from_secs(60));
    let value = cache.get_or_insert_with(KEY, ttl, || {
        thread::sleep(Duration::from_millis(2));
        VALUE.to_vec()
    });
    assert_eq!(value.unwrap(), VALUE);
    let found = cache.peek(KEY).unwrap();
    assert!(found.cost >= Duration::from_millis(2));
    assert!(found.expires_at <= cache.expiry(ttl) && found.expires_at > cache.expiry(Some(Duration::ZERO)));
    let value = cache.get_or_insert_with(KEY, ttl, || unreachable!()).unwrap();
    assert_eq!(value, VALUE);
    let stats = cache.stats();
    assert_eq!(
        (stats.counts.hits, stats.counts.misses, stats.counts.flights),
        (1, 1, 1)
    );
    assert_eq!(stats.saved, found.cost);
}

#[test]
fn threads_and_processes_compute_each_key_once() {
    const PROCESSES: u64 = 4;
    const THREADS: u64 = 8;
    const KEYS: usize = 40;
    let scratch = Scratch::new("compute-once");
    let cache = open(&scratch);
    let computed = shared_words(KEYS);
    let work = || {
        let cache = open(&scratch);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for (number, computed) in computed.iter().enumerate() {
                        let key = number.to_ne_bytes();
                        let value = cache.get_or_insert_with(&key, None, || {
                            thread::sleep(Duration::from_millis(2));
                            computed.fetch_add(1, Ordering::SeqCst);
                            key.repeat(10)
                        });
                        assert_eq!(value.unwrap(), key.repeat(10));
                    }
                });
            }
        });
        0
    };
    let children: Vec<_> = (0..PROCESSES).map(|_| spawn(work)).collect();
    for child in children {
        assert_eq!(wait(child), End::Exit(0));
    }
    let counted: Vec<_> = computed
        .iter()
        .map(|count| count.load(Ordering::SeqCst))
        .collect();
    assert_eq!(counted, [1; KEYS]);
    let counts = cache.stats().counts;
    assert_eq!((counts.flights, counts.insertions), (KEYS as u64, KEYS as u64));
    assert!(counts.waits > 0 && counts.waits <= PROCESSES * THREADS * KEYS as u64);
    cache.validate().unwrap();
}

/// Runs a leader that computes when it is told to, and a waiter; returns what both got.
fn leader_and_waiter(cache: &SharedCache, meanwhile: impl FnOnce()) -> [Vec<u8>; 2] {
    let (leads, led) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    thread::scope(|scope| {
        let leader = scope.spawn(move || {
            let value = cache.get_or_insert_with(KEY, None, || {
                leads.send(()).unwrap();
                told.recv().unwrap();
                b"the leader's".to_vec()
            });
            value.unwrap()
        });
        led.recv().unwrap();
        let waiter = scope.spawn(|| {
            cache
                .get_or_insert_with(KEY, None, || b"the waiter's".to_vec())
                .unwrap()
        });
        wait_until(|| waits(cache) == 1);
        meanwhile();
        // After a removal, the waiter leads.
        wait_until(|| cache.flight(KEY).is_some() || waiter.is_finished());
        go_on.send(()).unwrap();
        [leader, waiter].map(|thread| thread.join().unwrap())
    })
}

#[test]
fn a_waiter_gets_the_leaders_value() {
    let scratch = Scratch::new("compute-wait");
    let cache = open(&scratch);
    let values = leader_and_waiter(&cache, || ());
    assert_eq!(values, [b"the leader's".to_vec(), b"the leader's".to_vec()]);
}

#[test]
fn a_value_whose_key_was_written_or_removed_is_returned_and_not_stored() {
    let scratch = Scratch::new("compute-overtaken");
    let cache = open(&scratch);
    let [leader, waiter] = leader_and_waiter(&cache, || cache.insert(KEY, VALUE, None).unwrap());
    assert_eq!(
        (leader.as_slice(), waiter.as_slice()),
        (&b"the leader's"[..], VALUE)
    );
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
    cache.remove(KEY).unwrap();
    cache.reset_stats();
    let [leader, waiter] = leader_and_waiter(&cache, || {
        cache.remove(KEY).unwrap();
        wait_until(|| cache.contains(KEY));
    });
    assert_eq!(
        (leader.as_slice(), waiter.as_slice()),
        (&b"the leader's"[..], &b"the waiter's"[..])
    );
    assert_eq!(cache.get(KEY).as_deref(), Some(&b"the waiter's"[..]));
}

#[test]
fn a_panic_or_an_error_ends_the_flight() {
    let scratch = Scratch::new("compute-panic");
    let cache = open(&scratch);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_insert_with(KEY, None, || panic!("meant"))
    }));
    assert!(panicked.is_err());
    assert_eq!((cache.flight(KEY), cache.contains(KEY)), (None, false));
    let failed = cache.try_get_or_insert_with(KEY, None, || Err("no"));
    assert!(matches!(failed, Err(ComputeError::Function("no"))));
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert_eq!((cache.flight(KEY), cache.contains(KEY)), (None, false));
    let value = cache.try_get_or_insert_with(KEY, None, || Ok::<_, ()>(VALUE.to_vec()));
    assert_eq!(value.unwrap(), VALUE);
    assert_eq!(cache.stats().counts.flights, 3);
}

#[test]
fn the_waiters_of_a_leader_that_fails_lead_one_after_the_other() {
    let scratch = Scratch::new("compute-fail");
    let cache = open(&scratch);
    let (barrier, tries) = (Barrier::new(8), AtomicU64::new(0));
    let errors: u64 = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let value = cache.try_get_or_insert_with(KEY, None, || {
                        match tries.fetch_add(1, Ordering::SeqCst) {
                            0..5 => Err(()),
                            _ => Ok(VALUE.to_vec()),
                        }
                    });
                    u64::from(value.is_err())
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!((errors, tries.into_inner()), (5, 6));
}

#[test]
fn a_computation_may_ask_for_its_own_key_and_for_others() {
    let scratch = Scratch::new("compute-recursion");
    let cache = open(&scratch);
    let inner = || cache.get_or_insert_with(KEY, None, || b"inner".to_vec()).unwrap();
    let middle = || cache.get_or_insert_with(b"middle", None, inner).unwrap();
    let value = cache.get_or_insert_with(KEY, None, || [middle(), b", outer".to_vec()].concat());
    assert_eq!(value.unwrap(), b"inner, outer");
    assert_eq!(cache.get(KEY).as_deref(), Some(&b"inner, outer"[..]));
    assert_eq!(cache.get(b"middle").as_deref(), Some(&b"inner"[..]));
    assert_eq!(waits(&cache), 0);
}

#[test]
fn a_computation_that_forks_and_waits_for_the_child_does_not_hang() {
    let scratch = Scratch::new("compute-fork");
    let cache = open(&scratch);
    let value = cache.get_or_insert_with(KEY, None, || {
        let child = spawn(|| {
            let value = cache.get_or_insert_with(KEY, None, || b"the child's".to_vec());
            i32::from(value.unwrap() != b"the child's")
        });
        assert_eq!(wait(child), End::Exit(0));
        VALUE.to_vec()
    });
    assert_eq!(value.unwrap(), VALUE);
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
}

#[test]
fn a_waiter_overtakes_a_leader_that_takes_too_long() {
    let scratch = Scratch::new("compute-timeout");
    let cache = open(&scratch);
    let leader = SharedCache::open(scratch.path(), BYTES).unwrap();
    assert_eq!(leader.claim(KEY, ClaimRequest::new(1)).unwrap(), Claim::Leader);
    let hasty = cache.with_flight_timeout(Duration::from_millis(20));
    assert_eq!(
        (hasty.flight_timeout(), cache.flight_timeout()),
        (Duration::from_millis(20), LONG)
    );
    let value = hasty.get_or_insert_with(KEY, None, || VALUE.to_vec());
    assert_eq!(value.unwrap(), VALUE);
    assert!(!leader.complete(KEY, 1, NewEntry::new(b"late")).unwrap());
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
    assert_eq!(waits(&cache), 1);
}

#[test]
fn the_waiters_of_a_killed_leader_compute_once() {
    let scratch = Scratch::new("compute-killed");
    let cache = open(&scratch);
    let words = shared_words(1);
    let child = spawn(|| {
        let value = cache.get_or_insert_with(KEY, None, || {
            words[0].store(1, Ordering::SeqCst);
            thread::sleep(LONG);
            b"never".to_vec()
        });
        i32::from(value.is_ok())
    });
    wait_until(|| words[0].load(Ordering::SeqCst) == 1);
    let computed = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let value = cache.get_or_insert_with(KEY, None, || {
                    computed.fetch_add(1, Ordering::SeqCst);
                    VALUE.to_vec()
                });
                assert_eq!(value.unwrap(), VALUE);
            });
        }
        wait_until(|| waits(&cache) == 8);
        assert_eq!(computed.load(Ordering::SeqCst), 0);
        signal(child, libc::SIGKILL);
        // The kernel releases the lock of the process when it has ended.
        assert_eq!(wait(child), End::Killed(libc::SIGKILL));
    });
    assert_eq!(computed.into_inner(), 1);
}

#[test]
fn a_value_that_cannot_be_stored_is_returned() {
    let scratch = Scratch::new("compute-large");
    let cache = open(&scratch);
    let value = cache.get_or_insert_with(KEY, None, || vec![1; 600_000]).unwrap();
    assert_eq!(value.len(), 600_000);
    assert_eq!((cache.contains(KEY), cache.flight(KEY)), (false, None));
    assert_eq!(cache.stats().counts.rejections, 1);
    let refused = cache.get_or_insert_with(&vec![0; 70_000], None, || unreachable!());
    assert!(matches!(refused, Err(SharedError::KeyTooLong { .. })));
}

/// The time of computing is stored in words that the largest value leaves no room for.
#[test]
fn the_largest_value_is_stored_without_its_cost() {
    let scratch = Scratch::new("compute-largest");
    let cache = open(&scratch);
    let most = cache.max_value_bytes(KEY.len());
    for (len, has_cost) in [(most, false), (most - 23, false), (most - 24, true)] {
        let value = cache.get_or_insert_with(KEY, None, || {
            thread::sleep(Duration::from_millis(1));
            vec![1; len]
        });
        assert_eq!(value.unwrap().len(), len);
        let stored = cache.peek(KEY).unwrap();
        assert_eq!(
            (cache.get(KEY).unwrap().len(), !stored.cost.is_zero()),
            (len, has_cost)
        );
        assert!(cache.remove(KEY).unwrap());
    }
    assert_eq!(cache.stats().counts.rejections, 0);
}
