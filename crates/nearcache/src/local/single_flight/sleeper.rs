//! What wakes a waiter: a thread's handle or a task's waker.

use std::task::Waker;
use std::thread::Thread;

/// A waiter that sleeps. Waking runs user code (a task's waker), so nothing may be locked.
#[derive(Clone, Debug)]
pub(super) enum Sleeper {
    Thread(Thread),
    Task(Waker),
}

impl Sleeper {
    pub(super) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}
