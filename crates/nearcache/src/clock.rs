//! Time: microseconds of the wall clock, which caches read through a [`Clock`].
//!
//! Wall-clock time instead of monotonic time, because expiry times are exchanged with other programs and survive in files, and
//! because tests that freeze the time of day expect the cache to be frozen too.
//!
//! **Invariants.** Arithmetic on a [`Timestamp`] saturates. An entry stored for a time to live is live for at least that time, and at
//! most one tick of the system's coarse clock longer ([`SystemClock`] states the one exception).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
const MICROS_PER_SECOND: i64 = 1_000_000;
/// The coarse clock is assumed to lag by less than this, even where a virtual machine misses ticks.
#[cfg(target_os = "linux")]
const MAX_LAG_MICROS: i64 = MICROS_PER_SECOND / 10;
/// The least time to live that is added to the coarse clock. Programs and tests sleep for shorter ones, and expect the entry to
/// expire exactly then.
const MIN_COARSE_TTL: Duration = Duration::from_secs(60);
const MICROS_PER_MILLI: i64 = 1000;

/// A point in time: microseconds since the Unix epoch (negative before 1970).
///
/// All arithmetic saturates: a time beyond the range, 292,000 years, is [`Timestamp::NEVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The expiry time of an entry that does not expire. Later than every other time.
    pub const NEVER: Self = Self(i64::MAX);

    /// Makes the time that is `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_unix_micros(self) -> i64 {
        self.0
    }

    /// Returns this time plus `ttl`, or [`Timestamp::NEVER`] if that is beyond the range.
    #[must_use]
    pub fn after(self, ttl: Duration) -> Self {
        let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Returns this time in milliseconds, rounded up.
    const fn as_millis_rounded_up(self) -> i64 {
        let down = self.0.div_euclid(MICROS_PER_MILLI);
        down + (self.0.rem_euclid(MICROS_PER_MILLI) != 0) as i64
    }

    /// Returns whether an entry that expires at this time has expired at `now`. It has if the two are equal.
    #[must_use]
    pub const fn is_over(self, now: Self) -> bool {
        self.0 <= now.0 && self.0 != i64::MAX
    }
}

/// A source of the present time.
///
/// Caches call it with a shard locked, so it has to be quick and must not use the cache. A [`Timestamp`] is a clock that stands
/// still: a caller with a slow or fallible clock reads it beforehand and passes the result.
pub trait Clock {
    /// Returns the present time. It may lag behind.
    fn now(&self) -> Timestamp;

    /// Returns when an entry expires that is stored now for `ttl`: not earlier than after `ttl`.
    ///
    /// The default adds `ttl` to [`now`](Self::now). A clock whose `now` lags has to compensate for that here.
    fn expiry(&self, ttl: Duration) -> Timestamp {
        self.now().after(ttl)
    }

    /// Returns the remaining time of an entry that expires at `expires_at`, in whole milliseconds. It never exceeds the `ttl`
    /// that was passed to [`expiry`](Self::expiry), rounded up.
    fn time_left(&self, expires_at: Timestamp) -> Duration {
        millis_between(self.now(), expires_at)
    }

    /// Returns whether an entry that expires at `expires_at` has expired. A clock whose `now` is coarse may read a more exact clock
    /// here for times close to `now`; callers may skip the call for times more than a second after it.
    fn has_passed(&self, expires_at: Timestamp) -> bool {
        expires_at != Timestamp::NEVER && expires_at.is_over(self.now())
    }
}

/// Returns the whole milliseconds from one time to another, both rounded up, or zero if the second one is earlier.
fn millis_between(now: Timestamp, then: Timestamp) -> Duration {
    let millis = then
        .as_millis_rounded_up()
        .saturating_sub(now.as_millis_rounded_up());
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

impl Clock for Timestamp {
    fn now(&self) -> Timestamp {
        *self
    }
}

/// The system's wall clock.
///
/// On Linux, [`now`](Clock::now) reads the time of the kernel's last tick (`CLOCK_REALTIME_COARSE`), which changes every 1 to 10 ms.
/// The exact clock costs four times as much, a fifth of a `get`. It is read only:
///
/// - for an entry that expires within 100 ms, so that no entry is returned after its expiry;
/// - for a time to live below one minute, whose expiry is exact to the microsecond;
/// - once a tick for longer ones, and by [`time_left`](Clock::time_left).
///
/// A longer time to live is added to an upper bound of the present time: the exact clock as it was when this tick was first seen,
/// plus the length of a tick. So an entry lives for at least its time to live, and at most one tick longer. The exception: if the
/// kernel's tick is late, as it can be in a virtual machine, a time to live of a minute or more may be that much shorter.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        from_timespec(now)
    }

    #[cfg(target_os = "linux")]
    fn has_passed(&self, expires_at: Timestamp) -> bool {
        if expires_at == Timestamp::NEVER {
            return false;
        }
        let now = self.now();
        let expires_soon = expires_at.0.saturating_sub(now.0) < MAX_LAG_MICROS;
        expires_at.is_over(now) || expires_soon && expires_at.is_over(exact_now())
    }

    #[cfg(target_os = "linux")]
    fn expiry(&self, ttl: Duration) -> Timestamp {
        if ttl < MIN_COARSE_TTL {
            exact_now().after(ttl)
        } else {
            upper_bound_of_now(self.now()).after(ttl)
        }
    }

    #[cfg(target_os = "linux")]
    fn time_left(&self, expires_at: Timestamp) -> Duration {
        let left = millis_between(exact_now(), expires_at);
        // An expiry computed with the coarse clock may be a tick late. A tick is subtracted from all, because the two kinds cannot be
        // told apart, but not below one minute, where all are exact. So the time left never rises.
        let tick =
            Duration::from_millis(u64::try_from(tick().as_micros().div_ceil(1000)).unwrap_or_default());
        left.min(MIN_COARSE_TTL).max(left.saturating_sub(tick))
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

/// Reads the exact wall clock.
#[cfg(target_os = "linux")]
fn exact_now() -> Timestamp {
    from_timespec(rustix::time::clock_gettime(rustix::time::ClockId::Realtime))
}

/// Returns the present time, or up to a tick later. `coarse` is the coarse clock's time. Reads the exact clock once a tick.
///
/// How far the coarse clock lags differs between machines by a tick. So the exact clock is read when a tick is first seen. Until
/// the next tick, that time plus the length of a tick is an upper bound.
#[cfg(target_os = "linux")]
fn upper_bound_of_now(coarse: Timestamp) -> Timestamp {
    /// The last tick that was seen (its lower bits), and in the lowest bits how far the exact clock was ahead of it.
    static LAST_TICK: AtomicI64 = AtomicI64::new(0);
    const AHEAD_BITS: u32 = 20;
    const MAX_AHEAD: i64 = (1 << AHEAD_BITS) - 1;
    let last = LAST_TICK.load(Ordering::Relaxed);
    let tick_of = |word: i64| word & !MAX_AHEAD;
    if tick_of(last) == coarse.0 << AHEAD_BITS && last != 0 {
        return coarse
            .after(Duration::from_micros((last & MAX_AHEAD).cast_unsigned()))
            .after(tick());
    }
    let now = exact_now();
    let ahead = now.0.saturating_sub(coarse.0).clamp(0, MAX_AHEAD);
    LAST_TICK.store(coarse.0 << AHEAD_BITS | ahead, Ordering::Relaxed);
    now
}

/// Returns the length of a tick of the coarse clock: 1 to 10 ms, depending on the kernel's configuration.
#[cfg(target_os = "linux")]
fn tick() -> Duration {
    static NANOS: AtomicI64 = AtomicI64::new(0);
    let mut nanos = NANOS.load(Ordering::Relaxed);
    if nanos == 0 {
        nanos = rustix::time::clock_getres(rustix::time::ClockId::RealtimeCoarse).tv_nsec;
        NANOS.store(nanos, Ordering::Relaxed);
    }
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

#[cfg(target_os = "linux")]
fn from_timespec(time: rustix::time::Timespec) -> Timestamp {
    let seconds = time.tv_sec.saturating_mul(MICROS_PER_SECOND);
    Timestamp(seconds.saturating_add(time.tv_nsec / 1000))
}

/// A clock that moves only when it is set, for tests. It starts at the Unix epoch.
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

    /// Sets the clock, forward or back.
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

    fn expiry(&self, ttl: Duration) -> Timestamp {
        (**self).expiry(ttl)
    }

    fn time_left(&self, expires_at: Timestamp) -> Duration {
        (**self).time_left(expires_at)
    }

    fn has_passed(&self, expires_at: Timestamp) -> bool {
        (**self).has_passed(expires_at)
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn expiry(&self, ttl: Duration) -> Timestamp {
        (**self).expiry(ttl)
    }

    fn time_left(&self, expires_at: Timestamp) -> Duration {
        (**self).time_left(expires_at)
    }

    fn has_passed(&self, expires_at: Timestamp) -> bool {
        (**self).has_passed(expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn milliseconds_are_rounded_up() {
        for (micros, millis) in [
            (0, 0),
            (1, 1),
            (1000, 1),
            (1001, 2),
            (-1, 0),
            (-1000, -1),
            (-1001, -1),
        ] {
            assert_eq!(Timestamp(micros).as_millis_rounded_up(), millis);
        }
        assert!(Timestamp::NEVER.as_millis_rounded_up() > 0);
    }

    #[test]
    fn the_time_left_falls_from_the_ttl() {
        let expires_at = Timestamp(10_500).after(20 * MILLI);
        assert_eq!(Timestamp(10_500).time_left(expires_at), 20 * MILLI);
        assert_eq!(Timestamp(10_501).time_left(expires_at), 20 * MILLI);
        assert_eq!(Timestamp(11_001).time_left(expires_at), 19 * MILLI);
        assert_eq!(Timestamp(40_000).time_left(expires_at), Duration::ZERO);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_expiry_of_the_system_clock_is_at_most_a_tick_late_and_never_early() {
        for ttl in [2, 50, 1000, 59_999, 60_000, 60_001, 300_000].map(Duration::from_millis) {
            // The tick may be late on a busy machine.
            let mut cut_short = 0;
            for _ in 0..10_000 {
                let before = exact_now();
                let expires_at = SystemClock.expiry(ttl);
                let after = exact_now();
                cut_short += usize::from(expires_at.after(MILLI) < before.after(ttl));
                assert!(
                    expires_at <= after.after(ttl).after(tick()),
                    "{ttl:?} is too long"
                );
                assert!(SystemClock.time_left(expires_at) <= ttl);
            }
            let allowed = if ttl < MIN_COARSE_TTL { 0 } else { 1000 };
            assert!(cut_short <= allowed, "{ttl:?} is cut short {cut_short} times");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_left_of_the_system_clock_never_rises() {
        let expires_at = exact_now().after(MIN_COARSE_TTL + 5 * tick());
        let mut last = Duration::MAX;
        while last > MIN_COARSE_TTL.saturating_sub(5 * tick()) {
            let left = SystemClock.time_left(expires_at);
            assert!(left <= last, "{left:?} after {last:?}");
            last = left;
        }
    }
}
