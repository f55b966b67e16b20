//! The shard lock under a model checker, which tries the orders in which two threads' loads and stores may happen, and all
//! results that weak ordering allows for a load.
//!
//! `make test-orders` runs it, in a build of its own in which the atomics and the cell are the checker's. The checker reports an
//! access to the value that does not happen after the previous one, so weakening `Acquire` or `Release` in `lock.rs`, or a lock that
//! lets two threads in, fails a test here. A sleep is modelled as a yield: it may end at any time, which covers missed wake-ups.

use std::sync::Arc;

use loom::thread;

use crate::local::lock::{GuardOfAll, Lock};

fn unneeded<T>(_: &mut T) {
    unreachable!("no critical section panicked");
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn critical_sections_exclude_one_another() {
    check(|| {
        let lock = Arc::new(Lock::new(0));
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || other.with(unneeded, |value| *value += 1));
        *lock.lock(unneeded) += 1;
        thread.join().unwrap();
        assert_eq!(*lock.lock(unneeded), 2);
    });
}

#[test]
fn holding_all_locks_excludes_critical_sections() {
    check(|| {
        let locks = Arc::new([Lock::new(0), Lock::new(0)]);
        let others = Arc::clone(&locks);
        let thread = thread::spawn(move || {
            others[1].with(unneeded, |value| *value += 1);
            others[0].with(unneeded, |value| *value += 1);
        });
        let guard = GuardOfAll::new(&locks[..], unneeded);
        let before: Vec<i32> = guard.values().copied().collect();
        assert_eq!(before, guard.values().copied().collect::<Vec<i32>>());
        drop(guard);
        thread.join().unwrap();
        assert_eq!(GuardOfAll::new(&locks[..], unneeded).values().sum::<i32>(), 2);
    });
}

#[test]
fn one_thread_recovers_a_poisoned_value() {
    check(|| {
        let lock = Arc::new(Lock::new(0));
        lock.poison();
        let other = Arc::clone(&lock);
        let recover: fn(&mut i32) = |value| *value += 10;
        let thread = thread::spawn(move || other.with(recover, |value| *value += 1));
        lock.with(recover, |value| *value += 1);
        thread.join().unwrap();
        assert_eq!(lock.with(unneeded, |value| *value), 12);
    });
}
