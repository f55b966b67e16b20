//! The lock of a shard: a mutex for critical sections of some ten nanoseconds.
//!
//! Locking is one atomic exchange and unlocking is a plain store, where the standard library's mutex exchanges twice. An
//! exchange takes as long as the lookup of a short key. With `std::sync::Mutex` a Rust program makes 27 % fewer hits a second and
//! 38 % fewer misses, and through Django a `get` takes 1 to 8 % longer (`docs/design/performance.md`, "Own machinery").
//!
//! **Invariants.** `state` is [`LOCKED`] exactly while one thread may use `value`. A thread changes it to `LOCKED` only by a
//! compare-exchange with acquire ordering, and only the thread that did so changes it back, with release ordering. So each
//! critical section happens before the next one.
//!
//! **Sleeping.** A waiting thread spins, sets `has_waiters`, and sleeps on the futex. Nothing orders the store that unlocks
//! before the load of `has_waiters`, so an unlock can miss a thread that is just going to sleep. Each sleep therefore ends after
//! [`MAX_SLEEP`]. (The kernel compares the word again before it suspends a thread, which takes a thousand times longer than
//! a processor delays a store, so in practice no wake-up is missed.)
//!
//! **Panics.** If a critical section panics, the state becomes [`POISONED`]. The next thread that locks first repairs the
//! value with the `recover` function that it passes.
//!
//! `local/tests/orders.rs` checks the orderings with a model checker.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

#[cfg(nearcache_loom)]
use loom::sync::atomic::{AtomicBool, AtomicU32};
#[cfg(not(nearcache_loom))]
use std::sync::atomic::{AtomicBool, AtomicU32};

#[cfg(nearcache_loom)]
use self::modelled::UnsafeCell;
#[cfg(not(nearcache_loom))]
use std::cell::UnsafeCell;

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
/// Unlocked by a panic.
const POISONED: u32 = 2;
/// How many times a waiting thread reads the state before it sleeps: longer than most critical sections.
const SPINS: u32 = if cfg!(nearcache_loom) { 1 } else { 100 };
const MAX_SLEEP: Duration = Duration::from_millis(1);

/// A value that one thread at a time can access. Its alignment keeps two locks off one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Lock<T> {
    state: AtomicU32,
    /// Whether threads sleep or are about to. A count would be wrong after a fork, which copies it without the threads.
    has_waiters: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives access to `value` to one thread at a time (see the invariants), which is a transfer between threads:
// `T: Send` is enough. `Guard` and `GuardOfAll`, which lend `&T`, are `Sync` only if `T` is.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            state: AtomicU32::new(UNLOCKED),
            has_waiters: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Locks the value until the guard is dropped, and calls `recover` on it first if the last critical section panicked.
    /// Deadlocks if the thread already holds the lock.
    #[inline]
    pub(super) fn lock(&self, recover: fn(&mut T)) -> Guard<'_, T> {
        self.acquire(recover);
        Guard {
            lock: self,
            was_panicking: thread::panicking(),
            exclusive: PhantomData,
        }
    }

    /// Runs `work` with the value locked. Like [`lock`](Self::lock), but cheaper: only unwinding drops the marker that poisons
    /// the lock, so nothing has to ask whether the thread panics.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn with<R>(&self, recover: fn(&mut T), work: impl FnOnce(&mut T) -> R) -> R {
        self.acquire(recover);
        let on_unwind = PoisonOnDrop(self);
        // SAFETY: `acquire` has locked, so by the invariant no other reference exists until `release`.
        let result = work(unsafe { &mut *self.value.get() });
        std::mem::forget(on_unwind);
        self.release(UNLOCKED);
        result
    }

    #[inline]
    fn acquire(&self, recover: fn(&mut T)) {
        if !self.try_acquire(UNLOCKED) {
            self.acquire_contended(recover);
        }
    }

    #[inline]
    fn try_acquire(&self, from: u32) -> bool {
        self.state
            .compare_exchange(from, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn acquire_contended(&self, recover: fn(&mut T)) {
        loop {
            for _ in 0..SPINS {
                match self.state.load(Ordering::Relaxed) {
                    UNLOCKED if self.try_acquire(UNLOCKED) => return,
                    POISONED if self.try_acquire(POISONED) => return self.recover(recover),
                    _ => std::hint::spin_loop(),
                }
            }
            self.has_waiters.swap(true, Ordering::SeqCst);
            sleep_while_locked(&self.state);
        }
    }

    /// Repairs the value. The caller has locked it.
    fn recover(&self, recover: fn(&mut T)) {
        let on_unwind = PoisonOnDrop(self);
        // SAFETY: `acquire_contended`, the only caller, has locked, so by the invariant no other reference exists.
        recover(unsafe { &mut *self.value.get() });
        std::mem::forget(on_unwind);
    }

    #[inline]
    fn release(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        if self.has_waiters.load(Ordering::Relaxed) {
            self.has_waiters.store(false, Ordering::Relaxed);
            wake_all(&self.state);
        }
    }
}

#[cfg(nearcache_loom)]
impl<T> Lock<T> {
    /// Leaves the lock as a panicking critical section does.
    pub(super) fn poison(&self) {
        self.acquire(|_| ());
        self.release(POISONED);
    }
}

/// Unlocks and poisons the lock when a panic unwinds past it.
struct PoisonOnDrop<'a, T>(&'a Lock<T>);

impl<T> Drop for PoisonOnDrop<'_, T> {
    #[cold]
    fn drop(&mut self) {
        self.0.release(POISONED);
    }
}

/// Gives access to a locked value, and unlocks it when dropped.
#[derive(Debug)]
pub(super) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// Whether the thread was unwinding when it locked. That panic does not poison the lock.
    was_panicking: bool,
    /// A guard can be sent and shared between threads exactly where a `&mut T` can. `&Lock<T>` alone would make it `Sync` for
    /// every `T: Send`.
    exclusive: PhantomData<&'a mut T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `Lock::lock` has locked and only `drop` unlocks, so references come from this guard only. This one borrows
        // it, so no mutable one exists.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; this reference borrows the guard mutably, so no other one exists.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let panicked = !self.was_panicking && thread::panicking();
        self.lock.release(if panicked { POISONED } else { UNLOCKED });
    }
}

/// Gives access to all values of a slice of locks, and unlocks them when dropped. It owns no memory.
#[derive(Debug)]
pub(super) struct GuardOfAll<'a, T> {
    locks: &'a [Lock<T>],
    /// As in [`Guard`].
    exclusive: PhantomData<&'a mut T>,
}

impl<'a, T> GuardOfAll<'a, T> {
    /// Locks all values, in the slice's order. Allocates nothing.
    pub(super) fn new(locks: &'a [Lock<T>], recover: fn(&mut T)) -> Self {
        for lock in locks {
            lock.acquire(recover);
        }
        Self {
            locks,
            exclusive: PhantomData,
        }
    }

    /// Returns the locked values.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        // SAFETY: `new` has locked every lock and only `drop` unlocks them; the references borrow this guard, so no mutable one exists.
        self.locks.iter().map(|lock| unsafe { &*lock.value.get() })
    }
}

impl<T> GuardOfAll<'_, T> {
    /// Returns the locked values, to be changed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        // SAFETY: as in `values`; these references borrow the guard mutably, so no other ones exist, and each lock is visited once.
        self.locks.iter().map(|lock| unsafe { &mut *lock.value.get() })
    }
}

impl<T> Drop for GuardOfAll<'_, T> {
    fn drop(&mut self) {
        for lock in self.locks {
            lock.release(UNLOCKED);
        }
    }
}

/// Sleeps while the state is [`LOCKED`], for at most [`MAX_SLEEP`]. May return early.
#[cfg(all(target_os = "linux", not(nearcache_loom)))]
fn sleep_while_locked(state: &AtomicU32) {
    use rustix::thread::futex;
    let timeout = futex::Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(MAX_SLEEP.subsec_nanos()),
    };
    // The caller reads the state again, whatever ended the sleep.
    let _ = futex::wait(state, futex::Flags::PRIVATE, LOCKED, Some(&timeout));
}

#[cfg(all(target_os = "linux", not(nearcache_loom)))]
#[cold]
fn wake_all(state: &AtomicU32) {
    // Fails only for an address outside of this process.
    let _ = rustix::thread::futex::wake(state, rustix::thread::futex::Flags::PRIVATE, u32::MAX >> 1);
}

#[cfg(not(any(target_os = "linux", nearcache_loom)))]
fn sleep_while_locked(_: &AtomicU32) {
    thread::sleep(MAX_SLEEP / 20);
}

#[cfg(not(any(target_os = "linux", nearcache_loom)))]
fn wake_all(_: &AtomicU32) {}

/// In the model, a sleep ends whenever the checker chooses.
#[cfg(nearcache_loom)]
fn sleep_while_locked(_: &AtomicU32) {
    loom::thread::yield_now();
}

#[cfg(nearcache_loom)]
fn wake_all(_: &AtomicU32) {}

/// The model checker's cell, with the interface of the standard library's.
#[cfg(nearcache_loom)]
mod modelled {
    #[derive(Debug)]
    pub(super) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        /// Returns the value's address, and reports a write to the checker: every use of it is exclusive.
        pub(super) fn get(&self) -> *mut T {
            self.0.with_mut(|value| value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unneeded<T>(_: &mut T) {
        unreachable!("no critical section panicked");
    }

    /// Fails to compile if a guard of a value that is not `Sync` is `Sync`: the item's name is then ambiguous.
    #[allow(dead_code)]
    fn guards_of_unsync_values_are_not_sync() {
        trait AmbiguousIfSync<Marker> {
            fn item() {}
        }
        struct IfSync;
        impl<T: ?Sized> AmbiguousIfSync<()> for T {}
        impl<T: ?Sized + Sync> AmbiguousIfSync<IfSync> for T {}
        let _ = <Guard<'_, std::cell::Cell<u8>> as AmbiguousIfSync<_>>::item;
        let _ = <GuardOfAll<'_, std::cell::Cell<u8>> as AmbiguousIfSync<_>>::item;
    }

    #[test]
    fn guards_of_sync_values_are_sync_and_send() {
        const fn check<T: Send + Sync>() {}
        check::<Guard<'_, u8>>();
        check::<GuardOfAll<'_, u8>>();
        check::<Lock<std::cell::Cell<u8>>>();
    }

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let lock = Lock::new(0_u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut value = lock.lock(unneeded);
                        let read = *value;
                        if read.is_multiple_of(1_000) {
                            thread::yield_now();
                        }
                        *value = read + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(unneeded), 80_000);
    }

    #[test]
    fn a_sleeping_thread_is_woken() {
        let lock = Lock::new(());
        let guard = lock.lock(unneeded);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(lock.lock(unneeded)));
            while !lock.has_waiters.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            drop(guard);
            waiter.join().unwrap();
        });
        assert!(!lock.has_waiters.load(Ordering::Relaxed));
    }

    #[test]
    fn a_value_is_recovered_once_after_a_panic() {
        let holders: [fn(&Lock<u32>); 2] = [
            |lock| {
                let _guard = lock.lock(unneeded);
                std::panic::resume_unwind(Box::new(()));
            },
            |lock| lock.with(unneeded, |_| std::panic::resume_unwind(Box::new(()))),
        ];
        for holder in holders {
            let lock = Lock::new(0);
            thread::scope(|scope| assert!(scope.spawn(|| holder(&lock)).join().is_err()));
            lock.with(|recovered| *recovered += 1, |value| assert_eq!(*value, 1));
            lock.with(unneeded, |value| assert_eq!(*value, 1));
            assert_eq!(*lock.lock(unneeded), 1);
        }
    }

    #[test]
    fn locking_while_a_thread_unwinds_does_not_poison() {
        struct LockOnDrop<'a>(&'a Lock<()>);
        impl Drop for LockOnDrop<'_> {
            fn drop(&mut self) {
                drop(self.0.lock(unneeded));
                self.0.with(unneeded, |()| ());
            }
        }
        let lock = Lock::new(());
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _locks = LockOnDrop(&lock);
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(panicking.join().is_err());
        });
        drop(lock.lock(unneeded));
    }

    #[test]
    fn all_locks_of_a_slice_are_held_and_released_together() {
        let locks = [Lock::new(1), Lock::new(2)];
        let guard = GuardOfAll::new(&locks, unneeded);
        assert!(locks.iter().all(|lock| !lock.try_acquire(UNLOCKED)));
        assert_eq!(guard.values().sum::<i32>(), 3);
        drop(guard);
        assert!(locks.iter().all(|lock| lock.try_acquire(UNLOCKED)));
    }
}
