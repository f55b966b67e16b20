//! What `get_or_set` knows of a value that it stored: how long computing took, and how long the value may be used when it
//! is stale.

use std::time::Duration;

/// The time of computing in microseconds, 4 bytes, and the stale time in seconds, as the upper 3 bytes of an `f32` without its
/// sign. Fits beside the tag of a [`Stored`](super::Stored), so it takes no memory.
#[derive(Clone, Copy)]
pub(crate) struct Timing([u8; 7]);

/// How many bits of an `f32` the stale time lacks: the sign is 0, and the last 7 bits change less than one part in 65,000.
const LACKING: u32 = 7;

impl Timing {
    pub(crate) const NONE: Self = Self([0; 7]);

    /// Rounds the time of computing down to microseconds, and the stale time by at most one part in 65,000.
    pub(crate) fn new(cost: Duration, stale: Duration) -> Self {
        let micros = u32::try_from(cost.as_micros()).unwrap_or(u32::MAX);
        let seconds = stale.as_secs_f32().to_bits() >> LACKING;
        let mut bytes = [0; 7];
        bytes[..4].copy_from_slice(&micros.to_le_bytes());
        bytes[4..].copy_from_slice(&seconds.to_le_bytes()[..3]);
        Self(bytes)
    }

    /// Returns the time of computing in microseconds; 0 if it is not known.
    #[inline]
    pub(crate) const fn cost_micros(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }

    /// Returns for how long the value may be used after it has expired.
    pub(crate) fn stale(self) -> Duration {
        let [.., e, f, g] = self.0;
        let seconds = f32::from_bits(u32::from_le_bytes([e, f, g, 0]) << LACKING);
        Duration::try_from_secs_f32(seconds).unwrap_or(Duration::MAX)
    }
}
