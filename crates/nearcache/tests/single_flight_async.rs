//! Single flight of tasks, and of tasks and threads together, with a hand-written executor.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

#[path = "support/executor.rs"]
mod executor;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use executor::{Executor, Gate};
use nearcache::local::{Cache, Capacity, Joined, Leader, NewEntry, RawCache, Waited, Waiter};
use nearcache::{Clock, Eviction, Stats, SystemClock, Timestamp};

const KEY: &[u8] = b"key";

fn cache() -> Cache<u64> {
    Cache::builder().max_entries(100).build()
}

/// Waits until the statistics are as they are expected to become.
fn until(cache: &Cache<u64>, condition: impl Fn(&Stats) -> bool) {
    let begin = Instant::now();
    while !condition(&cache.stats()) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", cache.stats());
        thread::yield_now();
    }
}

#[test]
fn a_thousand_tasks_compute_once() {
    let (cache, computed, answers, gate) = (cache(), Cell::new(0), RefCell::new(vec![]), Gate::default());
    let mut executor = Executor::default();
    for _ in 0..1000 {
        executor.spawn(async {
            let value = cache
                .get_or_insert_async(KEY, None, || async {
                    computed.set(computed.get() + 1);
                    gate.passed().await;
                    42
                })
                .await;
            answers.borrow_mut().push(value);
        });
    }
    assert!(!executor.run_until_idle());
    assert_eq!((cache.stats().flights, cache.stats().waits), (1, 999));
    gate.open();
    assert!(executor.run_until_idle());
    assert_eq!((computed.get(), answers.take()), (1, vec![42; 1000]));
    cache.raw().validate().unwrap();
}

#[test]
fn futures_can_be_sent_between_threads() {
    fn check<T: Send>(future: T) -> T {
        future
    }
    let cache = cache();
    drop(check(cache.get_or_insert_async(KEY, None, || async { 1 })));
    drop(check(cache.try_get_or_insert_async(KEY, None, || async {
        Err::<u64, _>("no")
    })));
}

/// Starts tasks that ask for the key; each that leads counts itself and waits at the gate.
fn askers<'a>(
    executor: &mut Executor<'a>,
    tasks: u64,
    cache: &'a Cache<u64>,
    leaders: &'a RefCell<Vec<u64>>,
    answers: &'a Cell<u64>,
    gate: &'a Gate,
) -> Vec<usize> {
    let ask = |number| async move {
        let compute = || async move {
            leaders.borrow_mut().push(number);
            gate.passed().await;
            number
        };
        cache.get_or_insert_async(KEY, None, compute).await;
        answers.set(answers.get() + 1);
    };
    (0..tasks).map(|number| executor.spawn(ask(number))).collect()
}

#[test]
fn after_a_cancelled_leader_the_oldest_waiter_leads() {
    let (cache, leaders, answers, gate) = (cache(), RefCell::default(), Cell::new(0), Gate::default());
    let mut executor = Executor::default();
    let tasks = askers(&mut executor, 10, &cache, &leaders, &answers, &gate);
    executor.run_until_idle();
    executor.cancel(tasks[0]);
    executor.run_until_idle();
    assert_eq!(*leaders.borrow(), [0, 1]);
    // The next leader is cancelled after it was woken, before it runs; and so is a waiter.
    executor.cancel(tasks[1]);
    executor.cancel(tasks[2]);
    executor.cancel(tasks[5]);
    executor.run_until_idle();
    assert_eq!(*leaders.borrow(), [0, 1, 3]);
    gate.open();
    assert!(executor.run_until_idle());
    assert_eq!((answers.get(), cache.get(KEY)), (6, Some(3)));
    cache.raw().validate().unwrap();
}

#[test]
fn when_all_are_cancelled_the_next_caller_computes() {
    let (cache, leaders, answers, gate) = (cache(), RefCell::default(), Cell::new(0), Gate::default());
    let mut executor = Executor::default();
    for task in askers(&mut executor, 5, &cache, &leaders, &answers, &gate) {
        executor.run_until_idle();
        executor.cancel(task);
    }
    drop(executor);
    cache.raw().validate().unwrap();
    assert_eq!(cache.get_or_insert_with(KEY, None, || 9), 9);
}

#[test]
fn the_error_of_a_leader_goes_to_its_waiters() {
    let (cache, errors, gate) = (cache(), RefCell::new(vec![]), Gate::default());
    let mut executor = Executor::default();
    for number in 0..10 {
        let (cache, errors, gate) = (&cache, &errors, &gate);
        executor.spawn(async move {
            let fail = || async move {
                gate.passed().await;
                Err::<u64, _>(number)
            };
            let failed = cache.try_get_or_insert_async(KEY, None, fail).await;
            errors.borrow_mut().push(*failed.unwrap_err());
        });
    }
    executor.run_until_idle();
    gate.open();
    assert!(executor.run_until_idle());
    assert_eq!(errors.take(), [0; 10]);
}

#[test]
fn a_task_may_ask_for_its_own_key() {
    let (cache, answer) = (cache(), Cell::new(0));
    let mut executor = Executor::default();
    executor.spawn(async {
        let compute = || async {
            let inner = cache.get_or_insert_async(KEY, None, || async { 1 });
            inner.await + cache.get_or_insert_with(KEY, None, || 10)
        };
        answer.set(cache.get_or_insert_async(KEY, None, compute).await);
    });
    assert!(executor.run_until_idle());
    assert_eq!((answer.get(), cache.get(KEY)), (11, Some(11)));
}

#[test]
fn circles_of_tasks_are_found() {
    let (cache, answers, gate) = (cache(), RefCell::new(vec![]), Gate::default());
    let mut executor = Executor::default();
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    for number in 0..3 {
        let (cache, answers, gate) = (&cache, &answers, &gate);
        let (own, next) = (keys[number], keys[(number + 1) % 3]);
        executor.spawn(async move {
            let compute = || async {
                gate.passed().await;
                10 + cache.get_or_insert_async(next, None, || async { 1 }).await
            };
            let value = cache.get_or_insert_async(own, None, compute).await;
            answers.borrow_mut().push(value);
        });
    }
    executor.run_until_idle();
    gate.open();
    assert!(executor.run_until_idle(), "the circle was not found");
    let mut answers = answers.take();
    answers.sort_unstable();
    assert_eq!(answers, [11, 21, 31], "the last one that asked computed at once");
}

#[test]
fn a_key_that_is_removed_meanwhile_does_not_get_the_old_value() {
    let (cache, leaders, answers, gate) = (cache(), RefCell::default(), Cell::new(0), Gate::default());
    let mut executor = Executor::default();
    askers(&mut executor, 3, &cache, &leaders, &answers, &gate);
    executor.run_until_idle();
    cache.remove(KEY);
    gate.open();
    assert!(executor.run_until_idle());
    assert_eq!((answers.get(), cache.get(KEY)), (3, None));
}

/// A waker that notes whether it was woken, and may panic.
#[derive(Debug, Default)]
struct Bell {
    has_rung: AtomicBool,
    panics: bool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        if self.panics {
            resume_unwind(Box::new("the waker"));
        }
    }
}

impl Bell {
    fn new(panics: bool) -> Arc<Self> {
        let has_rung = AtomicBool::new(false);
        Arc::new(Self { has_rung, panics })
    }

    fn has_rung(&self) -> bool {
        self.has_rung.load(Ordering::SeqCst)
    }
}

fn lead<V: Clone>(cache: &RawCache<V>) -> Leader<'_, V> {
    match cache.join(KEY, &SystemClock) {
        Joined::Leader(leader) => leader,
        _ => unreachable!("there is neither an entry nor a flight"),
    }
}

fn wait<V: Clone>(cache: &RawCache<V>) -> Waiter<'_, V> {
    match cache.join(KEY, &SystemClock) {
        Joined::Waiter(waiter) => waiter,
        _ => unreachable!("there is a leader"),
    }
}

/// Polls a waiter whose leader computes.
fn register<V: Clone>(waiter: &mut Waiter<'_, V>, bell: &Arc<Bell>) {
    let bell = Waker::from(Arc::clone(bell));
    assert!(waiter.poll(&Context::from_waker(&bell)).is_pending());
}

fn outcome<'a, V: Clone>(waiter: &mut Waiter<'a, V>) -> Waited<'a, V> {
    match waiter.poll(&Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => end,
        Poll::Pending => unreachable!("the leader has finished"),
    }
}

fn entry<V>(value: V) -> NewEntry<V> {
    NewEntry {
        value,
        weight: 1,
        expires_at: Timestamp::from_unix_micros(i64::MAX - 1),
    }
}

#[test]
fn a_waker_that_panics_keeps_no_other_waiter_asleep() {
    let cache = RawCache::new(Eviction::default(), 1).unwrap();
    let leader = lead(&cache);
    let bells = [true, true, false].map(Bell::new);
    let mut waiters = [(); 3].map(|()| wait(&cache));
    for (waiter, bell) in waiters.iter_mut().zip(&bells) {
        register(waiter, bell);
    }
    let complete = || leader.complete(entry(1), &Capacity::UNBOUNDED, &SystemClock);
    assert!(catch_unwind(AssertUnwindSafe(complete)).is_err());
    assert!(bells.iter().all(|bell| bell.has_rung()));
    for waiter in &mut waiters {
        assert!(matches!(outcome(waiter), Waited::Value(1)));
    }
}

#[test]
fn a_clock_that_panics_keeps_no_waiter_asleep() {
    struct Broken;
    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            resume_unwind(Box::new("the clock"));
        }
    }
    let cache = RawCache::new(Eviction::default(), 1).unwrap();
    let (leader, mut waiter, bell) = (lead(&cache), wait(&cache), Bell::new(false));
    register(&mut waiter, &bell);
    let complete = || leader.complete(entry(1), &Capacity::UNBOUNDED, &Broken);
    assert!(catch_unwind(AssertUnwindSafe(complete)).is_err());
    assert!(bell.has_rung());
    assert!(matches!(outcome(&mut waiter), Waited::Value(1)));
    drop(waiter);
    cache.validate().unwrap();
    drop(lead(&cache));
}

#[test]
fn waiters_are_woken_before_evicted_values_are_dropped() {
    /// Notes whether the bell had rung when the value was dropped.
    #[derive(Clone)]
    struct Evicted(Arc<Bell>, Rc<Cell<Option<bool>>>);
    impl Drop for Evicted {
        fn drop(&mut self) {
            self.1.set(Some(self.0.has_rung()));
        }
    }
    let cache = RawCache::new(Eviction::default(), 1).unwrap();
    let capacity = Capacity {
        max_entries: 1,
        ..Capacity::UNBOUNDED
    };
    let (bell, seen) = (Bell::new(false), Rc::default());
    let value = Some(Evicted(Arc::clone(&bell), Rc::clone(&seen)));
    cache
        .insert(b"other", entry(value), &capacity, &SystemClock)
        .unwrap();
    let (leader, mut waiter) = (lead(&cache), wait(&cache));
    register(&mut waiter, &bell);
    assert_eq!(leader.complete(entry(None), &capacity, &SystemClock), Ok(true));
    assert_eq!(seen.get(), Some(true));
}

#[test]
fn a_waiter_keeps_its_place_when_it_is_polled_again() {
    let cache = RawCache::<u64>::new(Eviction::default(), 1).unwrap();
    let leader = lead(&cache);
    let bells = [false; 3].map(Bell::new);
    let [mut oldest, mut other] = [wait(&cache), wait(&cache)];
    register(&mut oldest, &bells[0]);
    register(&mut other, &bells[1]);
    register(&mut oldest, &bells[2]);
    drop(leader);
    assert_eq!(bells.map(|bell| bell.has_rung()), [false, false, true]);
}

#[test]
fn tasks_and_threads_wait_for_each_other() {
    for leader_is_task in [false, true] {
        let (cache, computed) = (cache(), Arc::new(AtomicU64::new(0)));
        let compute = {
            let (cache, computed) = (cache.clone(), Arc::clone(&computed));
            move || {
                until(&cache, |stats| stats.waits == 16);
                computed.fetch_add(1, Ordering::Relaxed);
                42
            }
        };
        // With a task as the leader, a thread of its own runs it, because this computation blocks.
        let leader = {
            let (cache, compute) = (cache.clone(), compute.clone());
            thread::spawn(move || {
                if !leader_is_task {
                    return cache.get_or_insert_with(KEY, None, compute);
                }
                let answer = Rc::new(Cell::new(0));
                let mut executor = Executor::default();
                executor.spawn(async {
                    answer.set(cache.get_or_insert_async(KEY, None, || async { compute() }).await);
                });
                executor.run();
                drop(executor);
                answer.get()
            })
        };
        until(&cache, |stats| stats.flights > 0);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (cache, compute) = (cache.clone(), compute.clone());
                thread::spawn(move || cache.get_or_insert_with(KEY, None, compute))
            })
            .collect();
        let answers = RefCell::new(vec![]);
        let mut executor = Executor::default();
        for _ in 0..8 {
            executor.spawn(async {
                let value = cache.get_or_insert_async(KEY, None, || async { compute() }).await;
                answers.borrow_mut().push(value);
            });
        }
        executor.run();
        drop(executor);
        assert_eq!(leader.join().unwrap(), 42);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 42));
        assert_eq!(
            (answers.take(), computed.load(Ordering::Relaxed)),
            (vec![42; 8], 1)
        );
    }
}
