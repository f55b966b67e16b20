//! Positions in a ring.

use super::slot::POSITION_MASK;

/// The place of a word in the sequence of all words that were ever written to a ring.
///
/// Positions are not ordered, because a damaged file may hold any number. Code may only compute the distance of a position
/// from another one, modulo 2^64, and compare that distance with a size.
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

    /// Returns the position that is `words` words further.
    #[inline]
    pub(super) const fn advanced(self, words: u64) -> Self {
        Self(self.0.wrapping_add(words))
    }

    /// Returns the number of words from `start` to this position.
    #[inline]
    pub(super) const fn since(self, start: Self) -> u64 {
        self.0.wrapping_sub(start.0)
    }

    /// Returns the low bits, which a slot stores.
    #[inline]
    pub(super) const fn low_bits(self) -> u64 {
        self.0 & POSITION_MASK
    }
}
