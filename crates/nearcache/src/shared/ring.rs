//! A ring of records. Positions only grow; the record at a position lies at the position modulo the ring's length.
//!
//! The records lie between *tail* and *head*. New records are written at the head; the tail advances over records that are
//! evicted, moved or unreferenced.
//!
//! Invariants:
//!
//! - Only the owner of the shard's lock writes to the ring.
//! - Words between tail and head are overwritten only by an in-place write of a record, which makes its sequence odd
//!   before and even after. All other writes go to words outside.
//! - The tail is stored, and followed by a release fence, before any word that it freed is overwritten. So a reader that
//!   sees a new word in place of an old record sees the new tail after an acquire fence ([`Ring::is_unchanged`]).
//! - The head is stored after the record's words, and the slot that points to the record after the head.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::extension::{EXTENSION, Extension};
use super::hashing::{BLOCK, Checksum, Hashing};
use super::layout::WORD;
use super::mapped_words::{AtomicU64, fence, store};
use super::position::Position;
use super::record::{self, LEAD, Record};
use super::slot::{POSITION_MASK, Queue, Slot};
use super::span::{Span, copy_words};

const TAIL: usize = 0;
const HEAD: usize = 1;
const LIVE: usize = 2;
const PROTECTED: usize = 3;
const SUSPECT: usize = 4;
/// No head gets this far: 2^62 words are 32 EiB. Beyond 2^64 a position would no longer determine a record's place.
const MAX_HEAD: u64 = 1 << 62;
/// One word of so many, up to `MAX_RESERVE`, is reserved for records that are copied to the head.
const RESERVE_SHARE: u64 = 64;
const MAX_RESERVE: u64 = 4096;

/// One of a shard's two rings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring<'a> {
    pub(super) queue: Queue,
    control: &'a [AtomicU64],
    data: &'a [AtomicU64],
    hashing: &'a Hashing,
}

/// Tail, head and counts.
impl<'a> Ring<'a> {
    #[inline]
    pub(super) const fn new(
        queue: Queue,
        control: &'a [AtomicU64],
        data: &'a [AtomicU64],
        hashing: &'a Hashing,
    ) -> Self {
        Self {
            queue,
            control,
            data,
            hashing,
        }
    }

    #[inline]
    pub(super) fn tail(&self) -> Position {
        Position::from_u64(self.control[TAIL].load(Ordering::Acquire))
    }

    pub(super) fn head(&self) -> Position {
        Position::from_u64(self.control[HEAD].load(Ordering::Relaxed))
    }

    /// Returns the number of words in records that a slot points to.
    pub(super) fn live(&self) -> u64 {
        self.control[LIVE].load(Ordering::Relaxed)
    }

    /// Returns the number of words in protected records. Only the main ring has any.
    pub(super) fn protected(&self) -> u64 {
        self.control[PROTECTED].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) const fn capacity(&self) -> u64 {
        self.data.len() as u64
    }

    /// Returns the number of words between tail and head. In a damaged file it may exceed the capacity.
    pub(super) fn used(&self) -> u64 {
        self.head().since(self.tail())
    }

    /// Returns how many words new records may fill.
    pub(super) fn limit(&self) -> u64 {
        self.capacity() - (self.capacity() / RESERVE_SHARE).min(MAX_RESERVE)
    }

    /// Returns whether a new record of `words` words fits at the head.
    pub(super) fn has_space(&self, words: usize) -> bool {
        self.used().saturating_add(words as u64) <= self.limit()
    }

    /// Frees the words before `tail`: they may be overwritten from now on.
    pub(super) fn move_tail(&self, tail: Position) {
        store(&self.control[TAIL], tail.to_u64(), Ordering::Release);
        fence(Ordering::Release);
    }

    /// Publishes the words before `head`.
    pub(super) fn move_head(&self, head: Position) {
        store(&self.control[HEAD], head.to_u64(), Ordering::Release);
    }

    pub(super) fn set_live(&self, words: u64) {
        store(&self.control[LIVE], words, Ordering::Relaxed);
    }

    pub(super) fn set_protected(&self, words: u64) {
        store(&self.control[PROTECTED], words, Ordering::Relaxed);
    }

    /// Empties the ring.
    pub(super) fn clear(&self) {
        self.move_tail(self.head());
        self.set_live(0);
        self.set_protected(0);
    }

    /// Returns whether tail and head are valid.
    pub(super) fn is_valid(&self) -> bool {
        let (head, used) = (self.head().to_u64(), self.used());
        used <= self.capacity() && used <= head && head <= MAX_HEAD
    }

    /// Empties a ring whose tail and head are not valid, and starts it again at position 0.
    pub(super) fn restart(&self) {
        self.move_tail(Position::START);
        self.move_head(Position::START);
        self.clear();
        self.suspect_before(Position::START);
    }

    /// Returns the word of a position in the ring.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below the length of a slice
    pub(super) fn index(&self, position: Position) -> usize {
        (position.to_u64() % self.capacity()) as usize
    }

    /// Loads the words at head and tail, which the next write needs, so that they are in the processor's cache.
    #[inline]
    pub(super) fn prefetch(&self) {
        for position in [self.head(), self.tail()] {
            black_box(self.word(position).load(Ordering::Relaxed));
        }
    }

    #[inline]
    fn word(&self, position: Position) -> &'a AtomicU64 {
        &self.data[self.index(position)]
    }
}

/// Suspect words: those in which a record is believed only if a slot points to it.
///
/// After a reboot, or if the tail meets words that are no record, the sizes of unreferenced records are not reliable.
impl Ring<'_> {
    /// Returns whether a position is suspect.
    pub(super) fn is_suspect(&self, position: Position) -> bool {
        self.suspect_words(position).is_some()
    }

    /// Makes all words before this position suspect.
    pub(super) fn suspect_before(&self, position: Position) {
        store(&self.control[SUSPECT], position.to_u64(), Ordering::Relaxed);
    }

    /// Returns the number of suspect words from a position on; `None` if it is not suspect.
    fn suspect_words(&self, position: Position) -> Option<u64> {
        let suspect = Position::from_u64(self.control[SUSPECT].load(Ordering::Relaxed));
        Some(suspect.since(position)).filter(|words| (1..=self.capacity()).contains(words))
    }

    /// Returns how many words a record at a position can have: it ends before the head, and does not cross the end of the
    /// suspect words.
    pub(super) fn max_words_at(&self, position: Position) -> u64 {
        self.suspect_words(position)
            .unwrap_or_else(|| self.head().since(position))
    }
}

/// Records, to be read without the lock.
impl<'a> Ring<'a> {
    /// Returns the position that a slot points to, if it lies between tail and head.
    #[inline]
    pub(super) fn position(&self, slot: Slot) -> Option<Position> {
        let tail = self.tail();
        let ahead = slot.position().wrapping_sub(tail.to_u64()) & POSITION_MASK;
        // Writers store the head before the slot, so a reader that sees the slot sees the head.
        let used = self.head().since(tail);
        (ahead < used.min(self.capacity())).then(|| tail.advanced(ahead))
    }

    /// Reads the header of the record at a position; returns `None` if there is no valid one.
    #[inline(always)]
    pub(super) fn record(&self, position: Position) -> Option<Record> {
        let start = self.index(position);
        let mut words = [0; LEAD];
        if let Some(found) = self.data.get(start..start + LEAD) {
            words[0] = found[0].load(Ordering::Acquire);
            for (word, found) in words.iter_mut().zip(found).skip(1) {
                *word = found.load(Ordering::Relaxed);
            }
        } else {
            for (word, at) in words.iter_mut().zip(0..) {
                *word = self.word(position.advanced(at)).load(Ordering::Acquire);
            }
        }
        Record::parse(self.hashing, position, start, words, self.data.len())
    }

    /// Returns whether everything that was read of a record since [`record`](Self::record) belongs to it: it was not
    /// overwritten, and the tail has not passed it.
    #[inline(always)]
    pub(super) fn is_unchanged(&self, record: &Record) -> bool {
        fence(Ordering::Acquire);
        let tail = Position::from_u64(self.control[TAIL].load(Ordering::Relaxed));
        record.position.since(tail) < self.capacity()
            && self.data[record.start].load(Ordering::Relaxed) == record.first
    }

    /// Returns `count` words of a record after its first `skip`.
    #[inline(always)]
    fn span(&self, record: &Record, skip: usize, count: usize) -> Span<'a> {
        let start = record.start + skip;
        match self.data.get(start..start + count) {
            Some(first) => Span { first, second: &[] },
            None => self.wrapped_span(start, count),
        }
    }

    #[cold]
    fn wrapped_span(&self, start: usize, count: usize) -> Span<'a> {
        let Some(beyond) = start.checked_sub(self.data.len()) else {
            let (before, first) = self.data.split_at(start);
            let second = &before[..(count - first.len()).min(start)];
            return Span { first, second };
        };
        let first = &self.data[beyond..][..count];
        Span { first, second: &[] }
    }

    /// Returns the words of a record's key.
    #[inline(always)]
    pub(super) fn key(&self, record: &Record) -> Span<'a> {
        self.span(record, LEAD, record.key.div_ceil(WORD))
    }

    /// Returns the words of an extended record's extension.
    pub(super) fn extension_words(&self, record: &Record) -> Span<'a> {
        self.span(record, record.extension_offset(), EXTENSION)
    }

    /// Reads the extension of a record, if it has one.
    #[inline(always)]
    pub(super) fn extension(&self, record: &Record) -> Option<Extension> {
        if record.is_extended() {
            Some(self.read_extension(record.start + record.extension_offset()))
        } else {
            None
        }
    }

    /// Reads the extension that begins with this word.
    // By value: a reference to the record would keep it, in a read, from staying in registers.
    #[inline(never)]
    fn read_extension(&self, at: usize) -> Extension {
        Extension(std::array::from_fn(|number| {
            let word = (at + number) % self.data.len();
            self.data[word].load(Ordering::Relaxed)
        }))
    }

    /// Returns the words of a record's value.
    #[inline(always)]
    pub(super) fn value(&self, record: &Record) -> Span<'a> {
        self.span(record, record.value_offset(), record.value.div_ceil(WORD))
    }

    /// Returns whether a record has this key.
    #[inline(always)]
    pub(super) fn key_is(&self, record: &Record, key: &[u8]) -> bool {
        record.key == key.len() && self.key(record).holds(key)
    }

    /// Copies a record's value to a buffer of its length and returns the checksum of the copy and the extension. `key` is
    /// the hash of the key.
    #[inline(always)]
    pub(super) fn read_value(
        &self,
        record: &Record,
        key: u64,
        buffer: &mut [MaybeUninit<u8>],
        extension: Option<Extension>,
    ) -> u32 {
        let value = self.value(record);
        if value.second.is_empty() {
            let sum = self.hashing.start_checksum();
            let sum = copy_words(value.first, buffer, sum, Checksum::with);
            return sum.finish(key, buffer.len(), record.kind)
                ^ self.hashing.extension_checksum(key, extension);
        }
        let bytes = value.read(buffer);
        self.hashing.checksum(key, bytes, record.kind) ^ self.hashing.extension_checksum(key, extension)
    }

    /// Returns the checksum of a record's value and extension. `key` is the hash of the key.
    pub(super) fn checksum(&self, record: &Record, key: u64) -> u32 {
        let mut sum = self.hashing.start_checksum();
        let mut block = [0; BLOCK];
        let mut filled = 0;
        for word in self.value(record).words() {
            block[filled] = word.load(Ordering::Relaxed);
            filled += 1;
            if filled == BLOCK {
                sum.take(&block);
                (block, filled) = ([0; BLOCK], 0);
            }
        }
        if filled > 0 {
            sum.take(&block);
        }
        let extension = self.extension(record);
        sum.finish(key, record.value, record.kind) ^ self.hashing.extension_checksum(key, extension)
    }

    /// Returns the first word of a record.
    #[cfg(test)]
    pub(super) fn first_word_of(&self, record: &Record) -> &'a AtomicU64 {
        &self.data[record.start]
    }
}

/// Records, to be written under the lock.
impl Ring<'_> {
    /// Writes a new record beyond the head. The caller has made space for it.
    pub(super) fn write(&self, record: &Record, key: &[u8], value: &[u8], extension: Option<Extension>) {
        store(&self.data[record.start], record.first, Ordering::Relaxed);
        self.write_header(record);
        self.write_extension(record, extension);
        self.key(record).write(key);
        self.value(record).write(value);
    }

    /// Overwrites the header and the extension of a record. Position, size, key and value stay.
    pub(super) fn overwrite_extension(&self, record: &Record, extension: Extension) {
        let first = &self.data[record.start];
        store(first, record::next_sequence(record.first), Ordering::Relaxed);
        fence(Ordering::Release);
        self.write_header(record);
        self.write_extension(record, Some(extension));
        let done = record::next_sequence(record::next_sequence(record.first));
        store(first, done, Ordering::Release);
    }

    /// Overwrites a record in place. Position and size stay; the key is written only if one is given.
    pub(super) fn overwrite(
        &self,
        record: &Record,
        key: Option<&[u8]>,
        value: &[u8],
        extension: Option<Extension>,
    ) {
        let first = &self.data[record.start];
        store(first, record::next_sequence(record.first), Ordering::Relaxed);
        fence(Ordering::Release);
        self.write_header(record);
        self.write_extension(record, extension);
        if let Some(key) = key {
            self.key(record).write(key);
        }
        self.value(record).write(value);
        let done = record::next_sequence(record::next_sequence(record.first));
        store(first, done, Ordering::Release);
    }

    /// Writes the second to fourth words of a record's header.
    fn write_header(&self, record: &Record) {
        let words = self.span(record, 1, LEAD - 1).words();
        for (word, value) in words.zip(record.words()) {
            store(word, value, Ordering::Relaxed);
        }
    }

    /// Writes the extension of a record, if it has one.
    fn write_extension(&self, record: &Record, extension: Option<Extension>) {
        if let Some(extension) = extension {
            let words = self.extension_words(record).words();
            for (word, value) in words.zip(extension.0) {
                store(word, value, Ordering::Relaxed);
            }
        }
    }

    /// Copies a record from another ring, or from further back in this one, to a position beyond the head.
    ///
    /// The words are copied in ascending order, so a copy that overlaps the record is complete.
    pub(super) fn copy_from(&self, from: &Ring<'_>, record: &Record, position: Position) {
        let first = record::first_word(self.hashing, position, 0, record.allotted);
        store(self.word(position), first, Ordering::Relaxed);
        let (mut source, mut target) = (record.start + 1, self.index(position) + 1);
        let mut left = record.used_words() - 1;
        while left > 0 {
            source = if source == from.data.len() { 0 } else { source };
            target = if target == self.data.len() { 0 } else { target };
            let run = left.min(from.data.len() - source).min(self.data.len() - target);
            let words = from.data[source..].iter().zip(&self.data[target..]).take(run);
            for (word, copy) in words {
                store(copy, word.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            (source, target, left) = (source + run, target + run, left - run);
        }
    }

    /// Clears the words of a record beyond its value. Words left over from before a reboot could otherwise look like a
    /// record to which a slot still points.
    pub(super) fn clear_slack(&self, record: &Record) {
        let used = record.used_words();
        for word in self.span(record, used, record.allotted - used).words() {
            store(word, 0, Ordering::Relaxed);
        }
    }

    /// Stores a record's expiry time and its time of writing. The record is valid after each of the two stores.
    pub(super) fn write_times(&self, record: &Record) {
        let [_, expiry, writing] = record.words();
        store(self.word(record.position.advanced(3)), writing, Ordering::Relaxed);
        store(self.word(record.position.advanced(2)), expiry, Ordering::Relaxed);
    }
}
