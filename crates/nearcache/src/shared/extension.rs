//! The three words that an *extended* record has between its key and its value.
//!
//! - `stale time in ms 48 | cost 16`: for how long after its expiry the value may still be used, and how long it took to
//!   compute;
//! - the process that computes a new value for the key, as [`Owner::to_u64`]; 0 for none;
//! - the number of that *flight*, which its leader chose.
//!
//! A record is extended if it needs one of them, so others cost nothing more. The record's checksum is that of its value,
//! combined by exclusive or with that of its extension: so a flight begins and ends without a look at the value.

use std::time::Duration;

use super::entry::{FlightId, ProcessId};
use super::lock::Owner;
use super::record::NEVER;

/// The number of words.
pub(super) const EXTENSION: usize = 3;

const STALE_SHIFT: u32 = 16;

/// The words of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extension(pub(super) [u64; EXTENSION]);

impl Extension {
    /// No stale time, no cost, no flight.
    pub(super) const NONE: Self = Self([0; EXTENSION]);

    /// Creates an extension without a flight.
    #[inline]
    pub(super) const fn new(stale_millis: u64, cost: Cost) -> Self {
        Self([(stale_millis << STALE_SHIFT) | cost.0 as u64, 0, 0])
    }

    /// Returns it with this flight, or with none.
    pub(super) fn with_flight(self, flight: Option<FlightId>) -> Self {
        let [first, ..] = self.0;
        flight.map_or(Self([first, 0, 0]), |flight| {
            Self([first, flight.process.to_u64(), flight.number])
        })
    }

    /// Returns for how many milliseconds after its expiry the value may be used; [`NEVER`] if there is no end.
    #[inline]
    pub(super) const fn stale_millis(self) -> u64 {
        self.0[0] >> STALE_SHIFT
    }

    /// Returns when the stale time ends of a value that expires at `expires_at`. All times are stored milliseconds.
    #[inline]
    pub(super) fn stale_until(self, expires_at: u64) -> u64 {
        expires_at.saturating_add(self.stale_millis()).min(NEVER)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low bits
    pub(super) const fn cost(self) -> Cost {
        Cost(self.0[0] as u16)
    }

    /// Returns the flight in progress.
    #[inline]
    pub(super) fn flight(self) -> Option<FlightId> {
        let [_, process, number] = self.0;
        let process = ProcessId(Owner::from_u64(process));
        (process.to_u64() != 0).then_some(FlightId { process, number })
    }
}

/// How long a value took to compute, in 16 bits: microseconds, as `exponent 5 | mantissa 11`. 0 is "unknown".
///
/// Up to 4 ms it is exact, beyond that to one part in 4,096. The largest cost is 50 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost(u16);

const MANTISSA_BITS: u32 = 11;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const MAX_EXPONENT: u32 = 31;

impl Cost {
    pub(super) const UNKNOWN: Self = Self(0);

    /// Converts a time, rounded to the nearest cost. Less than a microsecond, except for zero, is one microsecond.
    #[allow(clippy::cast_possible_truncation)] // the exponent and the mantissa are below their limits
    pub(super) fn new(time: Duration) -> Self {
        if time.is_zero() {
            return Self::UNKNOWN;
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        // The exponent is 0 below 2^11; from there on, the mantissa has a leading 1 that is not stored.
        let exponent = (u64::BITS - micros.leading_zeros()).saturating_sub(MANTISSA_BITS);
        if exponent <= 1 {
            return Self(micros as u16);
        }
        let shift = exponent - 1;
        let rounded = micros.saturating_add(1 << (shift - 1)) >> shift;
        // Rounding up to a power of two carries into the exponent, as it should.
        let code = (u64::from(exponent) << MANTISSA_BITS) + (rounded - MANTISSA - 1);
        Self(if exponent > MAX_EXPONENT {
            u16::MAX
        } else {
            code.min(u64::from(u16::MAX)) as u16
        })
    }

    /// Returns the time in microseconds.
    pub(super) const fn as_micros(self) -> u64 {
        let (exponent, mantissa) = (self.0 >> MANTISSA_BITS, self.0 as u64 & MANTISSA);
        match exponent {
            0 => mantissa,
            _ => (mantissa + MANTISSA + 1) << (exponent - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cost_survives_a_round_trip() {
        for code in 0..=u16::MAX {
            let micros = Cost(code).as_micros();
            assert_eq!(
                Cost::new(Duration::from_micros(micros)),
                Cost(code),
                "{micros} µs"
            );
        }
    }

    #[test]
    fn a_cost_is_exact_to_a_part_in_4096_and_at_most_50_days() {
        let mut micros = 1_u64;
        while micros < 4_000_000_000_000 {
            let cost = Cost::new(Duration::from_micros(micros)).as_micros();
            assert!(
                cost.abs_diff(micros) <= micros / 4096,
                "{micros} µs became {cost}"
            );
            micros += micros / 977 + 1;
        }
        for longest in [Duration::MAX, Duration::from_hours(24 * 60)] {
            assert_eq!(Cost::new(longest), Cost(u16::MAX));
        }
        assert!(Duration::from_micros(Cost(u16::MAX).as_micros()) > Duration::from_hours(24 * 50));
    }

    #[test]
    fn a_cost_of_zero_is_unknown_and_a_nanosecond_is_not() {
        assert_eq!(Cost::new(Duration::ZERO), Cost::UNKNOWN);
        assert_eq!(Cost::new(Duration::from_nanos(1)).as_micros(), 1);
    }
}
