//! An index slot, in one word: `fingerprint 16 | kind 2 | frequency 2 | position 44`.

use super::position::Position;

pub(super) const POSITION_BITS: u32 = 44;
pub(super) const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
const FREQUENCY: u64 = 1 << POSITION_BITS;
const KIND_SHIFT: u32 = 46;
const FINGERPRINT_SHIFT: u32 = 48;
pub(super) const MAX_FREQUENCY: u64 = 3;

/// What a slot points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A record in the small ring.
    Small,
    /// A record in the main ring that earned its place there.
    Main,
    /// What is known of a record that was evicted without having earned a place in main: when that was.
    Ghost,
    /// A record in the main ring that has yet to earn its place, as those in small have.
    Trial,
}

impl Kind {
    /// Whether its record lies in the ring that is called `ring`.
    pub(super) fn is_in(self, ring: Self) -> bool {
        self == ring || self == Self::Trial && ring == Self::Main
    }
}

/// The word of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

impl Slot {
    pub(super) const fn new(fingerprint: u64, kind: Kind, frequency: u64, position: u64) -> Self {
        let word = (fingerprint << FINGERPRINT_SHIFT) | ((kind as u64) << KIND_SHIFT);
        Self(word | (frequency * FREQUENCY) | (position & POSITION_MASK))
    }

    /// A slot that points to the record at a position.
    pub(super) const fn pointing(fingerprint: u64, kind: Kind, frequency: u64, position: Position) -> Self {
        Self::new(fingerprint, kind, frequency, position.to_u64())
    }

    #[inline]
    pub(super) const fn fingerprint(self) -> u64 {
        self.0 >> FINGERPRINT_SHIFT
    }

    /// `None` if it is empty.
    #[inline]
    pub(super) const fn kind(self) -> Option<Kind> {
        if self.fingerprint() == 0 {
            return None;
        }
        match (self.0 >> KIND_SHIFT) & 3 {
            0 => Some(Kind::Small),
            1 => Some(Kind::Main),
            2 => Some(Kind::Ghost),
            _ => Some(Kind::Trial),
        }
    }

    #[inline]
    pub(super) const fn frequency(self) -> u64 {
        (self.0 >> POSITION_BITS) & MAX_FREQUENCY
    }

    /// The lowest bits of the position.
    #[inline]
    pub(super) const fn position(self) -> u64 {
        self.0 & POSITION_MASK
    }

    /// Asked for once more.
    #[inline]
    pub(super) const fn raised(self) -> Self {
        Self(self.0 + FREQUENCY)
    }

    /// Points to the same place as `other`, whatever the frequencies.
    #[inline]
    pub(super) const fn same_place(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(MAX_FREQUENCY * FREQUENCY) == 0
    }
}
