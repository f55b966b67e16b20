//! The lock of a shard: a mutex for work of some ten nanoseconds.
//!
//! Taking it is one atomic exchange, giving it back a plain store, where the standard library's mutex exchanges twice: an
//! exchange takes as long as looking up a short key. The price is that a release can overlook one who has just gone to
//! sleep, since nothing keeps the store before the look at `sleepers`. Sleep is bounded for that reason: such a one looks
//! again after [`NAP`]. (The kernel compares the word once more before it lets a thread sleep, a thousand times longer than
//! a processor holds back a store, so this does not happen in practice.)
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// As free, but whoever held it last panicked.
const POISONED: u32 = 2;
/// How often the word is looked at before going to sleep: longer than most holders need.
const SPINS: u32 = 100;
/// The longest sleep.
const NAP: Duration = Duration::from_millis(1);

/// A value that one thread at a time can get at. Aligned so that no two share a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Lock<T> {
    word: AtomicU32,
    /// Whether threads sleep, or are about to. Not how many: a fork would take the count along, and not the threads.
    sleepers: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, so it only has to bear being passed between them.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self {
            word: AtomicU32::new(FREE),
            sleepers: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until the value is this thread's alone. A thread that holds it already waits for ever. If the last holder
    /// panicked, so that the value may be half changed, it is first put in order by `recover`.
    #[inline]
    pub(super) fn lock(&self, recover: fn(&mut T)) -> Guard<'_, T> {
        self.take(recover);
        Guard {
            lock: self,
            panicking: thread::panicking(),
        }
    }

    /// What `work` makes of the value, which is this thread's alone meanwhile. Else as [`lock`](Self::lock), but quicker:
    /// that `work` panicked need not be asked, since only then the value is given back by unwinding.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn with<R>(&self, recover: fn(&mut T), work: impl FnOnce(&mut T) -> R) -> R {
        self.take(recover);
        let unwinding = Poison(self);
        // SAFETY: the word is taken by this call, so nobody else has a reference.
        let answer = work(unsafe { &mut *self.value.get() });
        std::mem::forget(unwinding);
        self.give_back(FREE);
        answer
    }

    #[inline]
    fn take(&self, recover: fn(&mut T)) {
        if !self.try_take(FREE) {
            self.wait(recover);
        }
    }

    #[inline]
    fn try_take(&self, from: u32) -> bool {
        let taken = self
            .word
            .compare_exchange(from, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    #[cold]
    fn wait(&self, recover: fn(&mut T)) {
        loop {
            for _ in 0..SPINS {
                match self.word.load(Ordering::Relaxed) {
                    FREE if self.try_take(FREE) => return,
                    POISONED if self.try_take(POISONED) => return self.heal(recover),
                    _ => std::hint::spin_loop(),
                }
            }
            self.sleepers.swap(true, Ordering::SeqCst);
            sleep_while_taken(&self.word);
        }
    }

    /// Puts the value in order, with the word taken.
    fn heal(&self, recover: fn(&mut T)) {
        let unwinding = Poison(self);
        // SAFETY: the word is taken by the caller, so nobody else has a reference.
        recover(unsafe { &mut *self.value.get() });
        std::mem::forget(unwinding);
    }

    /// The value, locked by a guard that was forgotten.
    ///
    /// # Safety
    ///
    /// The lock is held, for as long as the reference lives, and nobody has a mutable one.
    pub(super) unsafe fn held(&self) -> &T {
        // SAFETY: the caller's promise.
        unsafe { &*self.value.get() }
    }

    /// Gives the lock back that a guard held which was forgotten.
    ///
    /// # Safety
    ///
    /// The lock is held by a forgotten guard, and nobody has a reference to the value.
    pub(super) unsafe fn unlock_forgotten(&self) {
        self.give_back(FREE);
    }

    #[inline]
    fn give_back(&self, word: u32) {
        self.word.store(word, Ordering::Release);
        if self.sleepers.load(Ordering::Relaxed) {
            self.sleepers.store(false, Ordering::Relaxed);
            wake_all(&self.word);
        }
    }
}

/// Gives the lock back when a holder's panic unwinds past it.
struct Poison<'a, T>(&'a Lock<T>);

impl<T> Drop for Poison<'_, T> {
    #[cold]
    fn drop(&mut self) {
        self.0.give_back(POISONED);
    }
}

/// What the lock guards, until dropped.
#[derive(Debug)]
pub(super) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// Whether the thread was unwinding already when it took the lock: that is not what poisons it.
    panicking: bool,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the word is taken by this guard, so nobody else has a reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and this guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let panicked = !self.panicking && thread::panicking();
        self.lock.give_back(if panicked { POISONED } else { FREE });
    }
}

#[cfg(target_os = "linux")]
fn sleep_while_taken(word: &AtomicU32) {
    use rustix::thread::futex;
    let nap = futex::Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(NAP.subsec_nanos()),
    };
    // Whatever ends the sleep, the word is looked at next.
    let _ = futex::wait(word, futex::Flags::PRIVATE, TAKEN, Some(&nap));
}

#[cfg(target_os = "linux")]
#[cold]
fn wake_all(word: &AtomicU32) {
    // Fails for no word of this process.
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, u32::MAX >> 1);
}

#[cfg(not(target_os = "linux"))]
fn sleep_while_taken(_: &AtomicU32) {
    thread::sleep(NAP / 20);
}

#[cfg(not(target_os = "linux"))]
fn wake_all(_: &AtomicU32) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn unneeded<T>(_: &mut T) {
        unreachable!("nobody panicked");
    }

    #[test]
    fn lets_in_one_at_a_time() {
        let lock = Lock::new(0_u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut value = lock.lock(unneeded);
                        let seen = *value;
                        if seen.is_multiple_of(1_000) {
                            thread::yield_now();
                        }
                        *value = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(unneeded), 80_000);
    }

    #[test]
    fn whoever_sleeps_is_woken() {
        let lock = Lock::new(());
        let held = lock.lock(unneeded);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(lock.lock(unneeded)));
            while !lock.sleepers.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            drop(held);
            waiter.join().unwrap();
        });
        assert!(!lock.sleepers.load(Ordering::Relaxed));
    }

    #[test]
    fn what_a_panic_left_is_put_in_order_once() {
        let holders: [fn(&Lock<u32>); 2] = [
            |lock| {
                let _held = lock.lock(unneeded);
                std::panic::resume_unwind(Box::new(()));
            },
            |lock| lock.with(unneeded, |_| std::panic::resume_unwind(Box::new(()))),
        ];
        for holder in holders {
            let lock = Lock::new(0);
            thread::scope(|scope| assert!(scope.spawn(|| holder(&lock)).join().is_err()));
            lock.with(|healed| *healed += 1, |healed| assert_eq!(*healed, 1));
            lock.with(unneeded, |healed| assert_eq!(*healed, 1));
            assert_eq!(*lock.lock(unneeded), 1);
        }
    }

    #[test]
    fn taking_it_while_a_thread_unwinds_is_no_panic() {
        struct OnDrop<'a>(&'a Lock<()>);
        impl Drop for OnDrop<'_> {
            fn drop(&mut self) {
                drop(self.0.lock(unneeded));
                self.0.with(unneeded, |()| ());
            }
        }
        let lock = Lock::new(());
        thread::scope(|scope| {
            let dying = scope.spawn(|| {
                let _uses = OnDrop(&lock);
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(dying.join().is_err());
        });
        drop(lock.lock(unneeded));
    }
}
