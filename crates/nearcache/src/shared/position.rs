//! Positions in a ring.

use super::index::POSITION_MASK;

/// A word's place in all that was ever written to a ring, counted in words.
///
/// Positions have no order, and this type has none either: a damaged file may hold any number. What can be said of a
/// position is its distance from the ring's tail, computed modulo 2^64 and then compared with a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Position(u64);

impl Position {
    pub(super) const START: Self = Self(0);

    #[inline]
    pub(super) const fn from_u64(position: u64) -> Self {
        Self(position)
    }

    #[inline]
    pub(super) const fn to_u64(self) -> u64 {
        self.0
    }

    /// The position `words` words further on.
    #[inline]
    pub(super) const fn advanced(self, words: u64) -> Self {
        Self(self.0.wrapping_add(words))
    }

    /// The words from `start` on to this position.
    #[inline]
    pub(super) const fn since(self, start: Self) -> u64 {
        self.0.wrapping_sub(start.0)
    }

    /// The lowest bits, which a slot holds.
    #[inline]
    pub(super) const fn low_bits(self) -> u64 {
        self.0 & POSITION_MASK
    }
}
