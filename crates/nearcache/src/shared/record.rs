//! A record's four leading words; the key follows, then the value, each from a word's beginning on.

use super::hashing::Hashing;
use super::index::Kind;
use super::layout::WORD;
use super::position::Position;

/// Words before the key.
pub(super) const LEAD: usize = 4;
/// The expiry of what does not expire: all 48 bits.
pub(super) const NEVER: u64 = TIME_MASK;
pub(super) const MAX_KEY: usize = 0xffff;
/// The most bytes that may be allotted beyond what key and value need.
pub(super) const MAX_SLACK: usize = 0xffff;

const TIME_MASK: u64 = (1 << 48) - 1;
const ALLOTTED_SHIFT: u32 = 16;
const ALLOTTED_MASK: u64 = (1 << 24) - 1;
const SEQUENCE_SHIFT: u32 = 40;

/// How many words a record with such a key and value needs.
#[inline]
pub(super) const fn words_for(key: usize, value: usize) -> usize {
    value_offset(key) + value.div_ceil(WORD)
}

/// How many words of a record lie before its value.
#[inline]
const fn value_offset(key: usize) -> usize {
    LEAD + key.div_ceil(WORD)
}

/// What is known of a record from its leading words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) position: Position,
    /// Its first word in the ring: the position modulo that.
    pub(super) start: usize,
    /// The first word as it was read.
    pub(super) first: u64,
    pub(super) allotted: usize,
    pub(super) key: usize,
    pub(super) value: usize,
    pub(super) checksum: u32,
    /// Milliseconds since 1970, or [`NEVER`].
    pub(super) expires_at: u64,
    pub(super) written: u64,
    pub(super) slot: usize,
    pub(super) kind: u8,
}

/// The first word of a record.
#[inline]
pub(super) fn first_word(hashing: &Hashing, position: Position, sequence: u64, allotted: usize) -> u64 {
    let allotted = allotted as u64;
    (sequence << SEQUENCE_SHIFT) | (allotted << ALLOTTED_SHIFT) | hashing.place_check(position, allotted)
}

/// The first word with its sequence counted on by one.
#[inline]
pub(super) const fn next_sequence(first: u64) -> u64 {
    first.wrapping_add(1 << SEQUENCE_SHIFT)
}

/// Whether the record is being overwritten, or was when its writer died.
#[inline]
pub(super) const fn is_torn(first: u64) -> bool {
    (first >> SEQUENCE_SHIFT) & 1 == 1
}

impl Record {
    /// Reads four words; `None` if they are not the beginning of a record at this position in a ring of `ring` words.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // masked
    pub(super) fn parse(
        hashing: &Hashing,
        position: Position,
        start: usize,
        words: [u64; LEAD],
        ring: usize,
    ) -> Option<Self> {
        let [first, lengths, expiry, writing] = words;
        let allotted = (first >> ALLOTTED_SHIFT) & ALLOTTED_MASK;
        if first & 0xffff != hashing.place_check(position, allotted) {
            return None;
        }
        let allotted = allotted as usize;
        let key = (lengths >> 48) as usize;
        let slack = (lengths >> 32) as usize & MAX_SLACK;
        let value = (allotted * WORD).checked_sub(value_offset(key) * WORD + slack)?;
        (allotted <= ring).then_some(Self {
            position,
            start,
            first,
            allotted,
            key,
            value,
            checksum: lengths as u32,
            expires_at: expiry >> 16,
            written: writing >> 16,
            slot: (((expiry & 0xffff) << 8) | ((writing >> 8) & 0xff)) as usize,
            kind: writing as u8,
        })
    }

    /// A new record in so many words at this position, without a key or a value.
    pub(super) fn empty(hashing: &Hashing, position: Position, start: usize, allotted: usize) -> Self {
        Self {
            position,
            start,
            first: first_word(hashing, position, 0, allotted),
            allotted,
            key: 0,
            value: 0,
            checksum: 0,
            expires_at: NEVER,
            written: 0,
            slot: 0,
            kind: 0,
        }
    }

    /// The second to fourth words.
    #[inline]
    pub(super) const fn words(&self) -> [u64; 3] {
        let slack = (self.allotted - self.value_offset()) * WORD - self.value;
        let slot = self.slot as u64;
        [
            ((self.key as u64) << 48) | ((slack as u64) << 32) | self.checksum as u64,
            (self.expires_at << 16) | (slot >> 8),
            (self.written << 16) | ((slot & 0xff) << 8) | self.kind as u64,
        ]
    }

    /// How many of its words lie before the value.
    #[inline]
    pub(super) const fn value_offset(&self) -> usize {
        value_offset(self.key)
    }

    /// Identifies this write of the record, which holds the value of the key with this hash.
    pub(super) const fn stamp(&self, kind: Kind, key: u64) -> Stamp {
        Stamp {
            key,
            kind,
            position: self.position,
            first: self.first,
            written: self.written,
            checksum: self.checksum,
        }
    }
}

/// Identifies one write of one entry: see [`super::SharedCache::set_if_unchanged`]. Within a file, equal stamps mean the same
/// value under the same key. `docs/design/shared.md` gives the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The whole hash of the key, whose lowest bits are the shard.
    key: u64,
    kind: Kind,
    position: Position,
    /// Holds the count of writes to this place, which starts again after 2^23 of them: hence the time and the checksum.
    first: u64,
    written: u64,
    checksum: u32,
}
