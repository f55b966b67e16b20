//! Single flight: of all callers that miss a key together, one computes. Threads; tasks are in `single_flight_async.rs`.
//!
//! No test depends on time: a leader computes until the statistics say that everybody else waits.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nearcache::local::{Cache, Capacity, Joined, Leader, NewEntry, Waited, Waiter};
use nearcache::{Stats, SystemClock, Timestamp, WriteError};

const THREADS: u64 = 64;
const KEY: &[u8] = b"key";

fn cache() -> Cache<u64> {
    Cache::builder().max_entries(100).build()
}

/// Waits until the statistics are as they are expected to become.
fn until<V>(cache: &Cache<V>, condition: impl Fn(&Stats) -> bool) {
    let begin = Instant::now();
    while !condition(&cache.stats()) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", cache.stats());
        thread::yield_now();
    }
}

/// Waits until so many callers have begun to wait for others' computations.
fn until_waiting<V>(cache: &Cache<V>, waits: u64) {
    until(cache, |stats| stats.waits >= waits);
}

/// Asks for one key in many threads at once, and returns their answers.
fn ask<T: Send>(threads: u64, caller: impl Fn(u64) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let caller = &caller;
        let threads: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || caller(number)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn lead<'a>(cache: &'a Cache<u64>, key: &[u8]) -> Leader<'a, u64> {
    match cache.raw().join(key, &SystemClock) {
        Joined::Leader(leader) => leader,
        other => panic!("{other:?}"),
    }
}

fn wait<'a>(cache: &'a Cache<u64>, key: &[u8]) -> Waiter<'a, u64> {
    match cache.raw().join(key, &SystemClock) {
        Joined::Waiter(waiter) => waiter,
        other => panic!("{other:?}"),
    }
}

fn store(leader: Leader<'_, u64>, value: u64) -> Result<bool, WriteError> {
    let new = NewEntry {
        value,
        weight: 1,
        expires_at: Timestamp::NEVER,
    };
    leader.complete(new, &Capacity::UNBOUNDED, &SystemClock)
}

/// Runs with nobody left in a flight: the next caller that misses leads, and no invariant is violated.
fn check_that_all_left(cache: &Cache<u64>) {
    cache.raw().validate().unwrap();
    let flights = cache.stats().flights;
    assert_eq!(cache.get_or_insert_with(b"another", None, || 7), 7);
    assert_eq!(cache.stats().flights, flights + 1);
}

#[test]
fn sixty_four_threads_compute_once() {
    let (cache, computed) = (cache(), AtomicU64::new(0));
    let answers = ask(THREADS, |_| {
        cache.get_or_insert_with(KEY, None, || {
            until_waiting(&cache, THREADS - 1);
            computed.fetch_add(1, Ordering::Relaxed) + 42
        })
    });
    assert_eq!(answers, vec![42; 64]);
    assert_eq!(computed.into_inner(), 1);
    let stats = cache.stats();
    assert_eq!((stats.flights, stats.waits, stats.insertions), (1, 63, 1));
    assert_eq!(cache.get(KEY), Some(42));
    check_that_all_left(&cache);
}

#[test]
fn a_hit_computes_nothing() {
    let cache = cache();
    cache.insert(KEY, 1, None).unwrap();
    assert_eq!(cache.get_or_insert_with(KEY, None, || unreachable!()), 1);
    let stats = cache.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.flights, stats.waits),
        (1, 0, 0, 0)
    );
}

#[test]
fn a_value_lives_for_its_ttl() {
    let clock = Arc::new(nearcache::ManualClock::default());
    let cache = Cache::builder().clock(Arc::clone(&clock)).build();
    let second = Some(Duration::from_secs(1));
    assert_eq!(cache.get_or_insert_with(KEY, second, || 1), 1);
    assert_eq!(cache.get_or_insert_with(KEY, second, || 2), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get_or_insert_with(KEY, second, || 3), 3);
}

#[test]
fn a_value_that_is_too_heavy_is_returned_to_all() {
    let cache = Cache::builder().max_weight(10).weigher(|_, value| *value).build();
    let answers = ask(8, |_| {
        cache.get_or_insert_with(KEY, None, || {
            until_waiting(&cache, 7);
            11
        })
    });
    assert_eq!(answers, vec![11; 8]);
    assert_eq!((cache.get(KEY), cache.stats().rejections), (None, 1));
}

#[test]
fn the_error_of_a_leader_goes_to_its_waiters() {
    let (cache, computed) = (cache(), AtomicU64::new(0));
    let answers = ask(THREADS, |_| {
        cache.try_get_or_insert_with(KEY, None, || {
            until_waiting(&cache, THREADS - 1);
            computed.fetch_add(1, Ordering::Relaxed);
            Err::<u64, _>(String::from("the database is down"))
        })
    });
    let errors: Vec<_> = answers.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    assert_eq!(computed.into_inner(), 1);
    assert_eq!(
        cache.try_get_or_insert_with(KEY, None, || Ok::<_, String>(3)),
        Ok(3)
    );
    check_that_all_left(&cache);
}

#[test]
fn a_waiter_with_another_type_of_error_computes() {
    let cache = cache();
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            cache.try_get_or_insert_with(KEY, None, || {
                until_waiting(&cache, 1);
                Err::<u64, _>("text")
            })
        });
        until(&cache, |stats| stats.flights > 0);
        assert_eq!(cache.get_or_insert_with(KEY, None, || 5), 5);
        assert_eq!(leader.join().unwrap(), Err(Arc::new("text")));
    });
    assert_eq!(cache.get(KEY), Some(5));
}

#[test]
fn after_a_panic_the_next_waiter_leads() {
    let (cache, computed) = (cache(), AtomicU64::new(0));
    let answers = ask(THREADS, |_| {
        let compute = || {
            let attempt = computed.fetch_add(1, Ordering::Relaxed);
            if attempt == 0 {
                until_waiting(&cache, THREADS - 1);
            }
            if attempt < 3 {
                resume_unwind(Box::new("the leader panics"));
            }
            42
        };
        catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(KEY, None, compute)))
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 3);
    assert_eq!(
        answers.iter().filter(|answer| matches!(answer, Ok(42))).count(),
        61
    );
    assert_eq!(computed.into_inner(), 4);
    assert_eq!(
        (cache.stats().flights, cache.stats().waits),
        (1, 63),
        "one flight, handed on"
    );
    check_that_all_left(&cache);
}

#[test]
fn a_leader_may_ask_for_its_own_key() {
    let cache = cache();
    let value = cache.get_or_insert_with(KEY, None, || {
        let inner = cache.get_or_insert_with(KEY, None, || cache.get_or_insert_with(KEY, None, || 1) + 1);
        assert_eq!(cache.get(KEY), None, "only the outermost value is stored");
        inner + 1
    });
    assert_eq!((value, cache.get(KEY)), (3, Some(3)));
    check_that_all_left(&cache);
}

#[test]
fn a_computation_may_need_other_keys() {
    let cache = cache();
    let value = cache.get_or_insert_with(b"a", None, || {
        cache.get_or_insert_with(b"b", None, || cache.get_or_insert_with(b"c", None, || 1) + 1) + 1
    });
    let stored = [b"a", b"b", b"c"].map(|key| cache.get(key));
    assert_eq!((value, stored), (3, [Some(3), Some(2), Some(1)]));
}

/// A caller that computes several values at once asks for one of them meanwhile.
#[test]
fn values_that_are_computed_together_do_not_wait_for_each_other() {
    let cache = cache();
    let raw = cache.raw();
    let lead = |key: &[u8]| match raw.join(key, &SystemClock) {
        Joined::Leader(leader) => leader,
        other => panic!("{other:?}"),
    };
    let (first, mut second) = (lead(b"first"), lead(b"second"));
    let ask = || first.id().within(|| raw.join(b"second", &SystemClock));
    assert!(matches!(ask(), Joined::Waiter(_)));
    second.compute_with(first.id());
    assert!(matches!(ask(), Joined::Leader(_)));
    // Others wait as before.
    assert!(matches!(raw.join(b"second", &SystemClock), Joined::Waiter(_)));
}

/// A flight that began outside of the computation that needs it asks for the key of that computation.
#[test]
fn circles_through_flights_that_began_elsewhere_are_found() {
    let cache = cache();
    let raw = cache.raw();
    let lead = |key: &[u8]| match raw.join(key, &SystemClock) {
        Joined::Leader(leader) => leader,
        other => panic!("{other:?}"),
    };
    let (outer, mut inner) = (lead(b"outer"), raw.overtake(b"inner"));
    let ask = || inner.id().within(|| raw.join(b"outer", &SystemClock));
    assert!(matches!(ask(), Joined::Waiter(_)));
    inner.needed_by(outer.id());
    let ask = || inner.id().within(|| raw.join(b"outer", &SystemClock));
    assert!(matches!(ask(), Joined::Leader(_)));
}

/// Whether a caller computes for itself is decided when it begins, and not by what overtakes its flight later.
#[test]
fn only_a_caller_that_would_wait_for_itself_leads_alone() {
    let cache = cache();
    let raw = cache.raw();
    let lead = || match raw.join(KEY, &SystemClock) {
        Joined::Leader(leader) => leader,
        other => panic!("{other:?}"),
    };
    let first = lead();
    let within = first.id().within(lead);
    assert!(!first.is_alone() && within.is_alone());
    assert!(first.is_current() && !within.is_current());
    let second = raw.overtake(KEY);
    assert!(!first.is_alone() && !second.is_alone());
    assert!(!first.is_current() && second.is_current());
}

/// Lets `threads` threads compute a key each, and then ask for the next one's, which closes a circle.
fn circle(caches: &[Cache<u64>]) {
    let computed = AtomicU64::new(0);
    let all_lead = Barrier::new(caches.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..caches.len())
            .map(|number| {
                let (computed, all_lead) = (&computed, &all_lead);
                let next = (number + 1) % caches.len();
                scope.spawn(move || {
                    caches[number].get_or_insert_with(&[u8::try_from(number).unwrap()], None, || {
                        all_lead.wait();
                        10 + caches[next].get_or_insert_with(&[u8::try_from(next).unwrap()], None, || {
                            computed.fetch_add(1, Ordering::Relaxed);
                            1
                        })
                    })
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap() >= 11);
        }
    });
    assert!(computed.into_inner() >= 1, "a waiter of the circle computes");
    for cache in caches {
        cache.raw().validate().unwrap();
    }
}

#[test]
fn circles_of_threads_are_found() {
    for _ in 0..200 {
        let cache = cache();
        circle(&[cache.clone(), cache.clone()]);
        check_that_all_left(&cache);
        circle(&vec![self::cache(); 5]);
    }
}

#[test]
fn circles_through_several_caches_are_found() {
    for _ in 0..50 {
        circle(&[cache(), cache(), cache()]);
    }
}

/// Writes to the key while a leader computes and others wait; returns what callers before and after the write have.
fn overtaken(write: impl Fn(&Cache<u64>) + Sync) -> (Cache<u64>, Vec<u64>, u64) {
    let (cache, after) = (cache(), AtomicU64::new(0));
    let before = ask(8, |_| {
        cache.get_or_insert_with(KEY, None, || {
            until_waiting(&cache, 7);
            write(&cache);
            let new = cache.get_or_insert_with(KEY, None, || 2);
            after.store(new, Ordering::Relaxed);
            1
        })
    });
    check_that_all_left(&cache);
    (cache, before, after.into_inner())
}

#[test]
fn a_key_that_is_removed_meanwhile_does_not_get_the_old_value() {
    let removals: [fn(&Cache<u64>); 2] = [|cache| assert_eq!(cache.remove(KEY), None), Cache::clear];
    for removal in removals {
        let (cache, before, after) = overtaken(removal);
        assert_eq!(before, vec![1; 8], "who asked before has the leader's value");
        assert_eq!(after, 2, "callers from after the removal do not");
        assert_eq!(cache.get(KEY), Some(2));
    }
}

#[test]
fn a_removal_alone_leaves_the_key_absent() {
    let cache = cache();
    let value = cache.get_or_insert_with(KEY, None, || {
        cache.remove(KEY);
        1
    });
    assert_eq!((value, cache.get(KEY)), (1, None));
}

#[test]
fn all_keys_are_those_of_entries_and_of_current_flights() {
    let cache = cache();
    cache.insert(b"entry", 1, None).unwrap();
    let all = || {
        let mut keys: Vec<_> = cache.all_keys().map(Result::unwrap).collect();
        keys.sort();
        keys
    };
    let entry: Box<[u8]> = Box::from(*b"entry");
    cache.get_or_insert_with(KEY, None, || {
        let keys = all();
        assert_eq!(keys, [entry.clone(), Box::from(KEY)]);
        for key in &keys {
            cache.remove(key);
        }
        assert!(all().is_empty(), "the flight is not current any more");
        2
    });
    assert!(cache.is_empty());
}

#[test]
fn a_removal_of_another_key_changes_nothing() {
    let cache = Cache::builder().shards(1).build();
    cache.get_or_insert_with(KEY, None, || {
        cache.remove(b"other");
        cache.insert(b"other", 2, None).unwrap();
        1
    });
    assert_eq!(cache.get(KEY), Some(1));
}

#[test]
fn a_value_that_is_written_meanwhile_stays() {
    let writes: [fn(&Cache<u64>); 2] = [
        |cache| cache.insert(KEY, 3, None).unwrap(),
        |cache| assert!(cache.insert_if_absent(KEY, 3, None).unwrap()),
    ];
    for write in writes {
        let (cache, before, after) = overtaken(write);
        assert_eq!((before, after, cache.get(KEY)), (vec![1; 8], 3, Some(3)));
    }
}

#[test]
fn a_write_that_stores_nothing_does_not_overtake() {
    let cache = cache();
    cache.get_or_insert_with(KEY, None, || {
        assert!(!cache.insert_if_present(KEY, 3, None).unwrap());
        1
    });
    assert_eq!(cache.get(KEY), Some(1));
}

#[test]
fn a_waiter_waits_no_longer_than_its_timeout() {
    let cache = cache();
    let Joined::Leader(stuck) = cache.raw().join(KEY, &SystemClock) else {
        unreachable!("there is no entry");
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let Joined::Waiter(waiter) = cache.raw().join(KEY, &SystemClock) else {
                unreachable!("there is a leader");
            };
            let Waited::Leader(leader) = waiter.wait(Some(Duration::from_millis(1))) else {
                unreachable!("the leader is stuck");
            };
            assert_ne!(leader.id(), stuck.id());
            let new = NewEntry {
                value: 1,
                weight: 1,
                expires_at: Timestamp::NEVER,
            };
            assert_eq!(leader.complete(new, &Capacity::UNBOUNDED, &SystemClock), Ok(true));
        });
    });
    let late = NewEntry {
        value: 2,
        weight: 1,
        expires_at: Timestamp::NEVER,
    };
    assert_eq!(
        stuck.complete(late, &Capacity::UNBOUNDED, &SystemClock),
        Ok(false),
        "it was overtaken"
    );
    assert_eq!(cache.get(KEY), Some(1));
    check_that_all_left(&cache);
}

/// The leader is ready after the waiter's last look, and before it stops waiting: then what the leader has left is what counts.
#[test]
fn a_waiter_that_stops_waiting_misses_no_result() {
    let stops: [for<'a> fn(Waiter<'a, u64>) -> Waited<'a, u64>; 3] = [
        |waiter| waiter.wait(Some(Duration::ZERO)),
        |waiter| waiter.lead(true),
        |waiter| waiter.lead(false),
    ];
    for stop in stops {
        let cache = cache();
        let (leader, waiter) = (lead(&cache, KEY), wait(&cache, KEY));
        assert_eq!(store(leader, 1), Ok(true));
        assert!(matches!(stop(waiter), Waited::Value(1)));
        assert_eq!((cache.get(KEY), cache.stats().entries), (Some(1), 1));
        assert!(cache.remove(KEY).is_some());

        let (leader, waiter) = (lead(&cache, KEY), wait(&cache, KEY));
        leader.fail(Arc::new(5));
        assert!(matches!(stop(waiter), Waited::Failed(error) if error.downcast_ref() == Some(&5)));

        let (leader, waiter) = (lead(&cache, KEY), wait(&cache, KEY));
        drop(leader);
        let Waited::Leader(next) = stop(waiter) else {
            unreachable!("the flight is vacant");
        };
        assert_eq!(store(next, 2), Ok(true));
        check_that_all_left(&cache);
    }
}

#[test]
fn a_waiter_that_does_not_overtake_leads_beside_the_leader() {
    let cache = cache();
    let (leader, waiter) = (lead(&cache, KEY), wait(&cache, KEY));
    let Waited::Leader(beside) = waiter.lead(false) else {
        unreachable!("the leader computes");
    };
    assert!(leader.is_current() && beside.is_alone());
    assert_eq!((store(beside, 2), store(leader, 1)), (Ok(false), Ok(true)));
    assert_eq!(cache.get(KEY), Some(1));
    check_that_all_left(&cache);
}

/// No waiter waits longer than its timeout, so all compute; the value of the first one is stored.
#[test]
fn waiters_that_overtake_one_flight_compute_at_once() {
    let cache = cache();
    let (stuck, first, second) = (lead(&cache, KEY), wait(&cache, KEY), wait(&cache, KEY));
    let [first, second] = [first, second].map(|waiter| match waiter.lead(true) {
        Waited::Leader(leader) => leader,
        other => panic!("{other:?}"),
    });
    assert!(first.is_current() && !first.is_alone() && second.is_alone());
    assert_eq!(
        (store(second, 2), store(stuck, 0), store(first, 1)),
        (Ok(false), Ok(false), Ok(true))
    );
    assert_eq!(cache.get(KEY), Some(1));
    check_that_all_left(&cache);
}

#[test]
fn a_waiter_can_sleep_before_it_takes_the_value() {
    let cache = cache();
    let Joined::Leader(leader) = cache.raw().join(KEY, &SystemClock) else {
        unreachable!("there is no entry");
    };
    let Joined::Waiter(mut waiter) = cache.raw().join(KEY, &SystemClock) else {
        unreachable!("there is a leader");
    };
    assert!(
        !waiter.sleep(Some(Duration::from_millis(1))),
        "the leader computes"
    );
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| waiter.sleep(None));
        leader.fail(Arc::new(5));
        assert!(sleeping.join().unwrap());
    });
    let Waited::Failed(error) = waiter.wait(None) else {
        unreachable!("the leader failed");
    };
    assert_eq!(error.downcast_ref(), Some(&5));
    check_that_all_left(&cache);
}

#[test]
fn a_panic_while_cloning_loses_no_waiter() {
    #[derive(Debug)]
    struct Fragile(Arc<AtomicU64>);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            if self.0.fetch_add(1, Ordering::SeqCst) == 1 {
                resume_unwind(Box::new("the clone for the waiters"));
            }
            Self(Arc::clone(&self.0))
        }
    }
    let cache = Cache::builder().build();
    let clones = Arc::new(AtomicU64::new(0));
    let ends = ask(4, |_| {
        let compute = || {
            until_waiting(&cache, 3);
            Fragile(Arc::clone(&clones))
        };
        catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(KEY, None, compute))).is_ok()
    });
    assert_eq!(ends.iter().filter(|ended| **ended).count(), 3);
}

#[test]
fn each_of_many_keys_is_computed_once() {
    let (cache, computed) = (Cache::builder().build(), AtomicU64::new(0));
    ask(4, |_| {
        for key in 0..20_000_u64 {
            let value = cache.get_or_insert_with(&key.to_le_bytes(), None, || {
                computed.fetch_add(1, Ordering::Relaxed);
                key
            });
            assert_eq!(value, key);
        }
    });
    assert_eq!(computed.into_inner(), 20_000);
}

#[test]
fn many_threads_and_keys_agree_with_one_another() {
    let cache = Cache::builder().max_entries(20).shards(2).build();
    let running: Vec<AtomicU64> = (0..50).map(|_| AtomicU64::new(0)).collect();
    ask(8, |thread| {
        let mut random = thread + 1;
        for _ in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 33) % 50;
            let key = number.to_le_bytes();
            let value = cache.get_or_insert_with(&key, None, || {
                let at = usize::try_from(number).unwrap();
                assert_eq!(running[at].fetch_add(1, Ordering::SeqCst), 0, "one leader a key");
                thread::yield_now();
                running[at].fetch_sub(1, Ordering::SeqCst);
                number
            });
            assert_eq!(value, number);
        }
    });
    check_that_all_left(&cache);
    assert!(cache.stats().entries <= 20);
}
