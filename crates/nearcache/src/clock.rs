//! Time as the cache sees it: wall-clock microseconds, read through a [`Clock`].
//!
//! Wall-clock and not monotonic time, because expiry times are shared with the outside (Django computes them from
//! `time.time()`), and because tests that freeze the time of day must be able to freeze the cache with it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

#[cfg(target_os = "linux")]
const MICROS_PER_SECOND: i64 = 1_000_000;
/// The coarse clock is taken to lag by less than this, even where a virtual machine misses ticks.
#[cfg(target_os = "linux")]
const MAX_LAG_MICROS: i64 = MICROS_PER_SECOND / 10;
/// From this on, a time to live is reckoned with the coarse clock. Below, programs and their tests sleep until an entry dies, and
/// expect that to be exact.
const COARSE_FROM: Duration = Duration::from_secs(60);
const MICROS_PER_MILLI: i64 = 1000;

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

    /// This time in milliseconds, rounded up.
    const fn as_millis_rounded_up(self) -> i64 {
        let down = self.0.div_euclid(MICROS_PER_MILLI);
        down + (self.0.rem_euclid(MICROS_PER_MILLI) != 0) as i64
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
    /// The present time. It may lag behind.
    fn now(&self) -> Timestamp;

    /// When an entry dies that is to live for `ttl` from now: not earlier than after `ttl`.
    ///
    /// A clock whose `now` lags has to make up for that here. By default this is `now` and `ttl` together.
    fn expiry(&self, ttl: Duration) -> Timestamp {
        self.now().after(ttl)
    }

    /// How long an entry that dies at `expires_at` has to live, in whole milliseconds: at no time more than the `ttl` that
    /// [`expiry`](Self::expiry) was given, rounded up.
    fn time_left(&self, expires_at: Timestamp) -> Duration {
        millis_between(self.now(), expires_at)
    }

    /// Whether an entry that expires then is dead. A clock whose `now` is coarse may look more closely here; it may not be
    /// asked about what lies more than a second after `now`.
    fn has_passed(&self, expires_at: Timestamp) -> bool {
        expires_at != Timestamp::NEVER && expires_at.is_over(self.now())
    }
}

/// The whole milliseconds from one time to another, both rounded up; zero if the second one is earlier.
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
/// On Linux it is read as of the kernel's last tick (`CLOCK_REALTIME_COARSE`), so it stands still for 1 to 10 ms at a
/// time (longer where a virtual machine is not given its turn); the exact clock costs four times as much, which would be a fifth of
/// a `get`. It is read only for an entry that is about to die, so that none outlives its time, and to reckon a time to live of
/// less than a minute. A longer one is reckoned from what the exact clock said when this tick was first seen, with the length
/// of a tick on top. So an entry lives at least as long as it was told, and at most one tick longer. (A tick that comes late
/// cuts a time of a minute and more short by as much.)
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
        let about_to_die = expires_at.0.saturating_sub(now.0) < MAX_LAG_MICROS;
        expires_at.is_over(now) || about_to_die && expires_at.is_over(exact_now())
    }

    #[cfg(target_os = "linux")]
    fn expiry(&self, ttl: Duration) -> Timestamp {
        if ttl < COARSE_FROM {
            exact_now().after(ttl)
        } else {
            upper_bound_of_now(self.now()).after(ttl)
        }
    }

    #[cfg(target_os = "linux")]
    fn time_left(&self, expires_at: Timestamp) -> Duration {
        let left = millis_between(exact_now(), expires_at);
        // What was reckoned with the coarse clock may have a tick too much. Of what was not, a tick is taken off too, but not
        // below the minute that tells the two apart, so that the time left only ever falls.
        let tick =
            Duration::from_millis(u64::try_from(tick().as_micros().div_ceil(1000)).unwrap_or_default());
        left.min(COARSE_FROM).max(left.saturating_sub(tick))
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

/// The wall clock, not as of the last tick.
#[cfg(target_os = "linux")]
fn exact_now() -> Timestamp {
    from_timespec(rustix::time::clock_gettime(rustix::time::ClockId::Realtime))
}

/// The present time, or up to a tick later; for the price of the coarse clock, but once a tick. `coarse` is that clock's.
///
/// The coarse clock does not tell how far it lags behind: on some machines one tick more than on others. So the exact clock is
/// read when a tick is first seen, and until the next tick it is not later than that and the length of a tick.
#[cfg(target_os = "linux")]
fn upper_bound_of_now(coarse: Timestamp) -> Timestamp {
    /// The tick seen last, by its lower bits, and in the lowest bits by how much the exact clock was ahead of it then.
    static SEEN: AtomicI64 = AtomicI64::new(0);
    const AHEAD_BITS: u32 = 20;
    const MOST_AHEAD: i64 = (1 << AHEAD_BITS) - 1;
    let seen = SEEN.load(Ordering::Relaxed);
    let tick_of = |word: i64| word & !MOST_AHEAD;
    if tick_of(seen) == coarse.0 << AHEAD_BITS && seen != 0 {
        return coarse
            .after(Duration::from_micros((seen & MOST_AHEAD).cast_unsigned()))
            .after(tick());
    }
    let now = exact_now();
    let ahead = now.0.saturating_sub(coarse.0).clamp(0, MOST_AHEAD);
    SEEN.store(coarse.0 << AHEAD_BITS | ahead, Ordering::Relaxed);
    now
}

/// How long the coarse clock stands still: 1 to 10 ms, by the kernel's configuration.
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
    fn the_time_left_falls_from_the_time_given() {
        let expires_at = Timestamp(10_500).after(20 * MILLI);
        assert_eq!(Timestamp(10_500).time_left(expires_at), 20 * MILLI);
        assert_eq!(Timestamp(10_501).time_left(expires_at), 20 * MILLI);
        assert_eq!(Timestamp(11_001).time_left(expires_at), 19 * MILLI);
        assert_eq!(Timestamp(40_000).time_left(expires_at), Duration::ZERO);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_expiry_by_the_system_is_at_most_a_tick_late_and_never_early() {
        for ttl in [2, 50, 1000, 59_999, 60_000, 60_001, 300_000].map(Duration::from_millis) {
            // A machine that is busy may be late with a tick.
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
            let allowed = if ttl < COARSE_FROM { 0 } else { 1000 };
            assert!(cut_short <= allowed, "{ttl:?} is cut short {cut_short} times");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_left_by_the_system_only_ever_falls() {
        let expires_at = exact_now().after(COARSE_FROM + 5 * tick());
        let mut last = Duration::MAX;
        while last > COARSE_FROM.saturating_sub(5 * tick()) {
            let left = SystemClock.time_left(expires_at);
            assert!(left <= last, "{left:?} after {last:?}");
            last = left;
        }
    }
}
