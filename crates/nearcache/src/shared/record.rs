//! The header of a record: its first four words. The key follows, then the value, each from the start of a word. An
//! *extended* record has three more words between them (`extension.rs`).
//!
//! A header is believed only if its check bits match its position and size, and if its lengths fit into the ring. So a
//! [`Record`] always describes words that exist: [`Record::parse`] guarantees that the header, the key and the value fit
//! into `allotted` words, and that `allotted` is at most the ring's length. All code that copies keys and values relies on
//! this.

use super::extension::EXTENSION;
use super::hashing::Hashing;
use super::layout::WORD;
use super::position::Position;
use super::slot::SlotState;

/// The words before the key.
pub(super) const LEAD: usize = 4;
/// The expiry time of an entry that does not expire: all 48 bits are set.
pub(super) const NEVER: u64 = TIME_MASK;
pub(super) const MAX_KEY: usize = 0xffff;
/// The most bytes that a record may have beyond what its key and value need.
pub(super) const MAX_SLACK: usize = 0x7fff;

const TIME_MASK: u64 = (1 << 48) - 1;
const ALLOTTED_SHIFT: u32 = 16;
const ALLOTTED_MASK: u64 = (1 << 24) - 1;
const SEQUENCE_SHIFT: u32 = 40;
const KEY_SHIFT: u32 = 48;
const EXTENDED_SHIFT: u32 = 47;
const SLACK_SHIFT: u32 = 32;

/// Returns how many words a record needs with a key and a value of so many bytes, and an extension of so many words.
#[inline]
pub(super) const fn words_for(key: usize, extension: usize, value: usize) -> usize {
    value_offset(key, extension) + value.div_ceil(WORD)
}

/// Returns how many words precede the value.
#[inline]
const fn value_offset(key: usize, extension: usize) -> usize {
    LEAD + key.div_ceil(WORD) + extension
}

/// The contents of a record's header, and where it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) position: Position,
    /// The index of the first word in the ring: the position modulo the ring's length.
    pub(super) start: usize,
    /// The first word as it was read: sequence, allotted words and check bits.
    pub(super) first: u64,
    /// The size of the record in words, unused words included.
    pub(super) allotted: usize,
    /// The length of the key in bytes.
    pub(super) key: usize,
    /// The length of the value in bytes.
    pub(super) value: usize,
    pub(super) checksum: u32,
    /// Milliseconds since 1970, or [`NEVER`].
    pub(super) expires_at: u64,
    /// Milliseconds since 1970.
    pub(super) written_at: u64,
    /// The number of the index slot that points to the record.
    pub(super) slot: usize,
    /// The kind of the value, which the caller chooses.
    pub(super) kind: u8,
    /// The length of the extension in words: 0 or [`EXTENSION`].
    // Not a `bool`: its spare values would hold the tags of enums that contain a record, which keeps records of reads from
    // staying in registers.
    pub(super) extension: usize,
}

/// Returns the first word of a record.
#[inline]
pub(super) fn first_word(hashing: &Hashing, position: Position, sequence: u64, allotted: usize) -> u64 {
    let allotted = allotted as u64;
    (sequence << SEQUENCE_SHIFT) | (allotted << ALLOTTED_SHIFT) | hashing.place_check(position, allotted)
}

/// Returns a first word with its sequence increased by one.
#[inline]
pub(super) const fn next_sequence(first: u64) -> u64 {
    first.wrapping_add(1 << SEQUENCE_SHIFT)
}

/// Returns whether the sequence is odd: the record is being overwritten, or its writer died while it did so.
#[inline]
pub(super) const fn is_torn(first: u64) -> bool {
    (first >> SEQUENCE_SHIFT) & 1 == 1
}

impl Record {
    /// Parses the header of a record at this position in a ring of `ring` words; returns `None` if it is not valid there.
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
        let key = (lengths >> KEY_SHIFT) as usize;
        let extension = ((lengths >> EXTENDED_SHIFT) & 1) as usize * EXTENSION;
        let slack = (lengths >> SLACK_SHIFT) as usize & MAX_SLACK;
        let value = (allotted * WORD).checked_sub(value_offset(key, extension) * WORD + slack)?;
        (allotted <= ring).then_some(Self {
            position,
            start,
            first,
            allotted,
            key,
            value,
            checksum: lengths as u32,
            expires_at: expiry >> 16,
            written_at: writing >> 16,
            slot: (((expiry & 0xffff) << 8) | ((writing >> 8) & 0xff)) as usize,
            kind: writing as u8,
            extension,
        })
    }

    /// Creates a new record of `allotted` words at this position, without key and value.
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
            written_at: 0,
            slot: 0,
            kind: 0,
            extension: 0,
        }
    }

    /// Returns the second to fourth words of the header.
    #[inline]
    pub(super) const fn words(&self) -> [u64; 3] {
        let slack = (self.allotted - self.value_offset()) * WORD - self.value;
        let slot = self.slot as u64;
        let extended = (self.is_extended() as u64) << EXTENDED_SHIFT;
        [
            ((self.key as u64) << KEY_SHIFT)
                | extended
                | ((slack as u64) << SLACK_SHIFT)
                | self.checksum as u64,
            (self.expires_at << 16) | (slot >> 8),
            (self.written_at << 16) | ((slot & 0xff) << 8) | self.kind as u64,
        ]
    }

    /// Returns how many words precede the value.
    #[inline]
    pub(super) const fn value_offset(&self) -> usize {
        value_offset(self.key, self.extension)
    }

    /// Returns how many words precede the extension, or where it would be.
    #[inline]
    pub(super) const fn extension_offset(&self) -> usize {
        value_offset(self.key, 0)
    }

    /// Returns whether there is an extension between key and value.
    #[inline]
    pub(super) const fn is_extended(&self) -> bool {
        self.extension != 0
    }

    /// Returns whether the record is the placeholder of a flight: it stands for no entry.
    pub(super) const fn is_placeholder(&self) -> bool {
        self.is_extended() && self.expires_at == 0 && self.value == 0
    }

    /// Returns how many words the header, the key, the extension and the value take.
    #[inline]
    pub(super) const fn used_words(&self) -> usize {
        words_for(self.key, self.extension, self.value)
    }

    /// Returns the stamp of this write of the record. `key` is the hash of the key.
    pub(super) const fn stamp(&self, state: SlotState, key: u64) -> Stamp {
        Stamp {
            key,
            state,
            position: self.position,
            first: self.first,
            written_at: self.written_at,
            expires_at: self.expires_at,
            checksum: self.checksum,
        }
    }
}

/// Identifies one write of one entry. See
/// [`insert_entry_if_unchanged`](super::SharedCache::insert_entry_if_unchanged).
///
/// Within one file, equal stamps mean the same value under the same key. `docs/design/shared.md` gives the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The whole hash of the key. Its lowest bits are the shard.
    key: u64,
    state: SlotState,
    position: Position,
    /// Holds the number of writes to this place, which wraps around after 2^23 writes: hence also the time and the
    /// checksum.
    first: u64,
    written_at: u64,
    /// A touch changes no other word of the stamp if the clock has not advanced since the last write.
    expires_at: u64,
    checksum: u32,
}
