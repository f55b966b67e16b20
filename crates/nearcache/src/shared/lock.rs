//! The lock of a shard: one word, `generation 48 | process slot + 1 15 | waiters 1`; 0 if the lock is free.
//!
//! The word names the owner. A waiter whose sleep times out asks the kernel whether the owner is still alive, and takes the
//! lock over if it is not. The new owner learns that from [`Guard::owner_died`] and repairs what the death may have left.
//!
//! The waiters bit means that processes may be sleeping on the word. A release that finds it wakes one of them, which keeps
//! the bit set when it takes the lock, because others may sleep too.

use std::hint;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::SharedError;
use super::mapped_words::{AtomicU64, replace, swap};
use super::os;

const WAITERS: u64 = 1;
const OWNER_SHIFT: u32 = 1;
const GENERATION_SHIFT: u32 = 16;
const SPINS: u32 = if cfg!(nearcache_loom) { 1 } else { 60 };
/// How long a waiter spins before each sleep. Nearly all writes end earlier, and a sleep costs more: two context switches
/// and a system call of the owner.
const SPIN_TIME: Duration = Duration::from_micros(20);
const FIRST_SLEEP: Duration = Duration::from_millis(2);
const SLEEP: Duration = Duration::from_millis(10);
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

/// The owner of a lock: a process slot, and its generation, which tells its successive processes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner(u64);

impl Owner {
    pub(super) const fn new(slot: usize, generation: u64) -> Self {
        Self((generation << GENERATION_SHIFT) | ((slot as u64 + 1) << OWNER_SHIFT))
    }

    pub(super) const fn to_u64(self) -> u64 {
        self.0
    }

    pub(super) const fn from_u64(word: u64) -> Self {
        Self(word)
    }

    /// Returns the number of the process slot; `None` if the word names none.
    pub(super) const fn slot(self) -> Option<usize> {
        ((self.0 >> OWNER_SHIFT) as usize & 0x7fff).checked_sub(1)
    }

    /// Returns whether the owner took its slot in this generation.
    pub(super) const fn is_of(self, generation: u64) -> bool {
        self.0 >> GENERATION_SHIFT == generation & (u64::MAX >> GENERATION_SHIFT)
    }
}

/// A lock that this process holds. Dropping the guard releases the lock.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    word: &'a AtomicU64,
    /// Whether the previous owner died while it held the lock.
    pub(super) owner_died: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if swap(self.word, 0, Ordering::Release) & WAITERS != 0 {
            os::wake_one(self.word);
        }
    }
}

/// Returns whether processes may be waiting for a lock that is held.
pub(super) fn has_waiters(word: &AtomicU64) -> bool {
    word.load(Ordering::Relaxed) & WAITERS != 0
}

/// Takes the lock for `me`, if necessary from an owner that is not alive.
///
/// With a timeout of zero, tries for a microsecond or two, makes no system call and never takes the lock over.
#[inline]
pub(super) fn acquire(
    word: &AtomicU64,
    me: Owner,
    is_alive: impl Fn(Owner) -> bool,
    timeout: Duration,
) -> Result<Guard<'_>, SharedError> {
    if spin(word, me.0) {
        return Ok(Guard {
            word,
            owner_died: false,
        });
    }
    if timeout.is_zero() {
        return Err(timed_out(timeout));
    }
    wait(word, me, is_alive, timeout)
}

const fn timed_out(waited: Duration) -> SharedError {
    SharedError::Busy { waited, holder: None }
}

/// Tries several times to take a free lock by storing `mine`; returns whether it did.
#[inline]
fn spin(word: &AtomicU64, mine: u64) -> bool {
    for _ in 0..SPINS {
        if word.load(Ordering::Relaxed) == 0 && replace(word, 0, mine, Ordering::Acquire) {
            return true;
        }
        hint::spin_loop();
    }
    false
}

/// As [`spin`], for [`SPIN_TIME`].
fn spin_for_a_while(word: &AtomicU64, mine: u64) -> bool {
    let start = Instant::now();
    while start.elapsed() < SPIN_TIME {
        if spin(word, mine) {
            return true;
        }
    }
    false
}

/// Sets the waiters bit of a lock that is held; returns the word, or `None` if the lock has changed meanwhile.
fn announce_waiter(word: &AtomicU64) -> Option<u64> {
    let now = word.load(Ordering::Relaxed);
    if now == 0 {
        return None;
    }
    let announced = now | WAITERS;
    (now == announced || replace(word, now, announced, Ordering::Relaxed)).then_some(announced)
}

#[cold]
fn wait(
    word: &AtomicU64,
    me: Owner,
    is_alive: impl Fn(Owner) -> bool,
    timeout: Duration,
) -> Result<Guard<'_>, SharedError> {
    let start = Instant::now();
    let mut sleep = FIRST_SLEEP;
    let mut mine = me.0;
    loop {
        if spin_for_a_while(word, mine) {
            return Ok(Guard {
                word,
                owner_died: false,
            });
        }
        let Some(announced) = announce_waiter(word) else {
            continue;
        };
        let left = timeout.saturating_sub(start.elapsed());
        let slept_through = os::wait_on(word, announced, sleep.min(left).max(SHORTEST_SLEEP));
        sleep = SLEEP;
        mine = me.0 | WAITERS;
        let is_dead = slept_through && !is_alive(Owner(announced & !WAITERS));
        if is_dead && replace(word, announced, mine, Ordering::Acquire) {
            return Ok(Guard {
                word,
                owner_died: true,
            });
        }
        if start.elapsed() >= timeout {
            return Err(timed_out(timeout));
        }
    }
}
