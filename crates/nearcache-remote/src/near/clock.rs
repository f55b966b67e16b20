//! The clock of the gate: it goes on while the machine is suspended, and nobody can set it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A time since the machine was started, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

/// macOS's continuous clock is the monotonic one of its C library.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

impl BootTime {
    /// The end of time.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the time now. About 25 ns.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(test)]
        if let Some(millis) = made_by_test::NOW.get() {
            return Self(millis);
        }
        let now = clock_gettime(CLOCK);
        let (secs, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
        Self(secs * 1000 + nanos / 1_000_000)
    }

    /// Returns the time as milliseconds, for shared memory.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time for milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the time a duration later, rounded down; `None` is the end of time.
    #[must_use]
    pub fn after(self, duration: Option<Duration>) -> Self {
        let millis = duration.map_or(u64::MAX, |duration| {
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
        });
        Self(self.0.saturating_add(millis))
    }

    /// Returns how long it is since an earlier time; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The time as a test sets it, for its own thread.
#[cfg(test)]
pub(super) mod made_by_test {
    use std::cell::Cell;

    thread_local! {
        pub(super) static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Sets the time of this thread.
    pub(in crate::near) fn set(millis: u64) {
        NOW.set(Some(millis));
    }
}
