//! An index slot, in one word: `fingerprint 16 | state 2 | frequency 2 | position 44`.
//!
//! The fingerprint is 16 bits of the key's hash and is never 0, so the word 0 is an empty slot. The position holds the low
//! bits of the record's position; the ring's tail completes it. In a ghost it holds the low bits of the ghost clock.

use super::position::Position;

pub(super) const POSITION_BITS: u32 = 44;
pub(super) const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
pub(super) const MAX_FREQUENCY: u64 = 3;
const FREQUENCY: u64 = 1 << POSITION_BITS;
const STATE_SHIFT: u32 = 46;
const FINGERPRINT_SHIFT: u32 = 48;

/// One of a shard's two queues, each of which is a ring of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Queue {
    Small,
    Main,
}

/// What a slot that is not empty stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SlotState {
    /// A probationary record in the small queue.
    Small,
    /// A protected record in the main queue: it was read often enough to be kept.
    Protected,
    /// An evicted probationary record: the slot holds the time of the eviction.
    Ghost,
    /// A probationary record in the main queue.
    Probationary,
}

impl SlotState {
    /// Returns the queue that holds the record; `None` for a ghost, which has no record.
    #[inline]
    pub(super) const fn queue(self) -> Option<Queue> {
        match self {
            Self::Small => Some(Queue::Small),
            Self::Protected | Self::Probationary => Some(Queue::Main),
            Self::Ghost => None,
        }
    }
}

/// The word of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

impl Slot {
    pub(super) const EMPTY: Self = Self(0);

    /// Creates a slot from its parts. Of the position, the low bits are stored.
    pub(super) const fn new(fingerprint: u64, state: SlotState, frequency: u64, position: u64) -> Self {
        let word = (fingerprint << FINGERPRINT_SHIFT) | ((state as u64) << STATE_SHIFT);
        Self(word | (frequency * FREQUENCY) | (position & POSITION_MASK))
    }

    /// Creates a slot that points to the record at a position.
    pub(super) const fn pointing(
        fingerprint: u64,
        state: SlotState,
        frequency: u64,
        position: Position,
    ) -> Self {
        Self::new(fingerprint, state, frequency, position.to_u64())
    }

    #[inline]
    pub(super) const fn fingerprint(self) -> u64 {
        self.0 >> FINGERPRINT_SHIFT
    }

    /// Returns the state; `None` if the slot is empty.
    #[inline]
    pub(super) const fn state(self) -> Option<SlotState> {
        if self.fingerprint() == 0 {
            return None;
        }
        match (self.0 >> STATE_SHIFT) & 3 {
            0 => Some(SlotState::Small),
            1 => Some(SlotState::Protected),
            2 => Some(SlotState::Ghost),
            _ => Some(SlotState::Probationary),
        }
    }

    /// Returns whether the slot is empty or a ghost.
    #[inline]
    pub(super) fn has_no_record(self) -> bool {
        self.state().is_none_or(|state| state == SlotState::Ghost)
    }

    #[inline]
    pub(super) const fn frequency(self) -> u64 {
        (self.0 >> POSITION_BITS) & MAX_FREQUENCY
    }

    /// Returns the low bits of the position.
    #[inline]
    pub(super) const fn position(self) -> u64 {
        self.0 & POSITION_MASK
    }

    /// Returns the slot with its frequency increased by one. The frequency must be below [`MAX_FREQUENCY`].
    #[inline]
    pub(super) const fn with_hit(self) -> Self {
        Self(self.0 + FREQUENCY)
    }

    /// Returns whether two slots are equal except for their frequencies.
    #[inline]
    pub(super) const fn same_record(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(MAX_FREQUENCY * FREQUENCY) == 0
    }
}
