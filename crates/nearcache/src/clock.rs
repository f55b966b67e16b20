//! Time as the cache sees it: wall-clock microseconds, read through a [`Clock`].
//!
//! Wall-clock and not monotonic time, because expiry times are shared with the outside (Django computes them from
//! `time.time()`), and because tests that freeze the time of day must be able to freeze the cache with it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
const MICROS_PER_SECOND: i64 = 1_000_000;
/// The coarse clock is taken to lag by less than this.
#[cfg(target_os = "linux")]
const MAX_LAG_MICROS: i64 = MICROS_PER_SECOND / 10;

/// A point in time: microseconds since the Unix epoch (negative before 1970).
///
/// All arithmetic saturates: a time too far away to be told is [`Timestamp::NEVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The expiry of an entry that does not expire; later than every other time.
    pub const NEVER: Self = Self(i64::MAX);

    /// The time that is `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_unix_micros(self) -> i64 {
        self.0
    }

    /// This time plus `ttl`; [`Timestamp::NEVER`] if that lies beyond what can be told (292,000 years).
    #[must_use]
    pub fn after(self, ttl: Duration) -> Self {
        let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Whether an entry that expires at this time is dead at `now`: at the very moment it already is.
    #[must_use]
    pub const fn is_over(self, now: Self) -> bool {
        self.0 <= now.0 && self.0 != i64::MAX
    }
}

/// Where a cache reads the time.
///
/// [`now`](Clock::now) is called with a shard locked, so it has to be quick and must not use the cache. A
/// [`Timestamp`] is a clock that stands still: read a slow or fallible clock beforehand and pass what it said.
pub trait Clock {
    /// The present time.
    fn now(&self) -> Timestamp;

    /// Whether an entry that expires then is dead. A clock whose `now` is coarse may look more closely here; it may not be
    /// asked about what lies more than a second after `now`.
    fn has_passed(&self, expires: Timestamp) -> bool {
        expires != Timestamp::NEVER && expires.is_over(self.now())
    }
}

impl Clock for Timestamp {
    fn now(&self) -> Timestamp {
        *self
    }
}

/// The system's wall clock.
///
/// On Linux it is read as of the kernel's last tick (`CLOCK_REALTIME_COARSE`), so it stands still for 1 to 10 ms at a
/// time (longer where a virtual machine is not given its turn); the exact clock costs four times as much, which would be a fifth of
/// a `get`. It is read only for an entry that is about to die, so that none outlives its time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        from_timespec(now)
    }

    #[cfg(target_os = "linux")]
    fn has_passed(&self, expires: Timestamp) -> bool {
        if expires == Timestamp::NEVER {
            return false;
        }
        let now = self.now();
        let about_to_die = expires.0.saturating_sub(now.0) < MAX_LAG_MICROS;
        expires.is_over(now)
            || about_to_die
                && expires.is_over(from_timespec(rustix::time::clock_gettime(
                    rustix::time::ClockId::Realtime,
                )))
    }

    #[cfg(not(target_os = "linux"))]
    fn now(&self) -> Timestamp {
        let micros = |elapsed: Duration| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX - 1);
        Timestamp(match std::time::UNIX_EPOCH.elapsed() {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }
}

#[cfg(target_os = "linux")]
fn from_timespec(time: rustix::time::Timespec) -> Timestamp {
    let seconds = time.tv_sec.saturating_mul(MICROS_PER_SECOND);
    Timestamp(seconds.saturating_add(time.tv_nsec / 1000))
}

/// A clock that moves only when told to, for tests.
///
/// ```
/// use nearcache::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::default();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), start.after(Duration::from_secs(60)));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().after(by));
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn has_passed(&self, expires: Timestamp) -> bool {
        (**self).has_passed(expires)
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn has_passed(&self, expires: Timestamp) -> bool {
        (**self).has_passed(expires)
    }
}
