//! A shard's lock: one word, `generation 48 | slot + 1 15 | waiters 1`, 0 when free.
//!
//! It names its owner, so that those who wait can ask the kernel whether that one still lives, and take over if not.

use std::hint;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::SharedError;
use super::os;
use super::words::{AtomicU64, replace, swap};

const WAITERS: u64 = 1;
const OWNER_SHIFT: u32 = 1;
const GENERATION_SHIFT: u32 = 16;
const SPINS: u32 = if cfg!(nearcache_loom) { 1 } else { 60 };
/// How long a waiter spins before each sleep. Nearly all writes end earlier, and a sleep costs more: two switches of the
/// processor, a system call of the owner, and whatever else is scheduled in between.
const SPIN_TIME: Duration = Duration::from_micros(20);
const FIRST_WAIT: Duration = Duration::from_millis(2);
const WAIT: Duration = Duration::from_millis(10);

/// Who holds a lock, as the lock word tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The process slot; `None` if the word is nonsense.
    pub(super) const fn slot(self) -> Option<usize> {
        ((self.0 >> OWNER_SHIFT) as usize & 0x7fff).checked_sub(1)
    }

    /// Whether this is the slot's owner in that generation.
    pub(super) const fn is_of(self, generation: u64) -> bool {
        self.0 >> GENERATION_SHIFT == generation & (u64::MAX >> GENERATION_SHIFT)
    }
}

/// The lock, held. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Held<'a> {
    word: &'a AtomicU64,
    /// The owner before died with the lock in hand.
    pub(super) from_the_dead: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if swap(self.word, 0, Ordering::Release) & WAITERS != 0 {
            os::wake_one(self.word);
        }
    }
}

/// Whether somebody waits for a lock that is held.
pub(super) fn is_awaited(word: &AtomicU64) -> bool {
    word.load(Ordering::Relaxed) & WAITERS != 0
}

/// Takes the lock for `me`, or from an owner who is not alive; without patience only if it is free, or becomes so within
/// a microsecond or two.
#[inline]
pub(super) fn acquire(
    word: &AtomicU64,
    me: Owner,
    is_alive: impl Fn(Owner) -> bool,
    patience: Duration,
) -> Result<Held<'_>, SharedError> {
    if spin(word, me.0) {
        return Ok(Held {
            word,
            from_the_dead: false,
        });
    }
    if patience.is_zero() {
        return Err(SharedError::Busy {
            waited: patience,
            holder: None,
        });
    }
    wait(word, me, is_alive, patience)
}

/// Tries a number of times to store `mine` in a free lock; returns whether it did.
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

#[cold]
fn wait(
    word: &AtomicU64,
    me: Owner,
    is_alive: impl Fn(Owner) -> bool,
    patience: Duration,
) -> Result<Held<'_>, SharedError> {
    let start = Instant::now();
    let mut wait = FIRST_WAIT;
    let mut mine = me.0;
    loop {
        let spinning = Instant::now();
        while spinning.elapsed() < SPIN_TIME {
            if spin(word, mine) {
                return Ok(Held {
                    word,
                    from_the_dead: false,
                });
            }
        }
        let now = word.load(Ordering::Relaxed);
        if now == 0 {
            continue;
        }
        let marked = now | WAITERS;
        if now != marked && !replace(word, now, marked, Ordering::Relaxed) {
            continue;
        }
        let left = patience.saturating_sub(start.elapsed());
        let timed_out = os::wait_on(word, marked, wait.min(left).max(Duration::from_micros(100)));
        wait = WAIT;
        // Others may sleep too. A waiter that has slept keeps the mark, so that its release wakes the next one.
        mine = me.0 | WAITERS;
        let dead = timed_out && !is_alive(Owner(marked & !WAITERS));
        if dead && replace(word, marked, me.0 | WAITERS, Ordering::Acquire) {
            return Ok(Held {
                word,
                from_the_dead: true,
            });
        }
        if start.elapsed() >= patience {
            return Err(SharedError::Busy {
                waited: patience,
                holder: None,
            });
        }
    }
}
