//! A ring of records: positions only grow, and a record lies at its position modulo the ring.
//!
//! Only words below `tail` or from `head` on are ever overwritten, but by a record's own in-place write; the tail is
//! moved, and fenced, before.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::hashing::Hashing;
use super::index::{Kind, POSITION_MASK, Slot};
use super::layout::WORD;
use super::record::{self, LEAD, Record};
use super::words::{AtomicU64, fence, put};

const TAIL: usize = 0;
const HEAD: usize = 1;
const LIVE: usize = 2;
/// One of so many words is kept free for records that are copied to the head, but no more than `MAX_RESERVE`.
const RESERVE_SHARE: u64 = 64;
const MAX_RESERVE: u64 = 4096;

/// One of a shard's rings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring<'a> {
    pub(super) kind: Kind,
    control: &'a [AtomicU64],
    data: &'a [AtomicU64],
    hashing: &'a Hashing,
}

impl<'a> Ring<'a> {
    #[inline]
    pub(super) const fn new(
        kind: Kind,
        control: &'a [AtomicU64],
        data: &'a [AtomicU64],
        hashing: &'a Hashing,
    ) -> Self {
        Self {
            kind,
            control,
            data,
            hashing,
        }
    }

    #[inline]
    pub(super) fn tail(&self) -> u64 {
        self.control[TAIL].load(Ordering::Acquire)
    }

    pub(super) fn head(&self) -> u64 {
        self.control[HEAD].load(Ordering::Relaxed)
    }

    /// Words in records that a slot points to.
    pub(super) fn live(&self) -> u64 {
        self.control[LIVE].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) const fn capacity(&self) -> u64 {
        self.data.len() as u64
    }

    /// Words between tail and head; more than the capacity if the file is damaged.
    pub(super) fn used(&self) -> u64 {
        self.head().wrapping_sub(self.tail())
    }

    /// How many words new records may fill.
    pub(super) fn limit(&self) -> u64 {
        self.capacity() - (self.capacity() / RESERVE_SHARE).min(MAX_RESERVE)
    }

    pub(super) fn has_room(&self, words: usize) -> bool {
        self.used().saturating_add(words as u64) <= self.limit()
    }

    /// Lets go of what lies before `tail`: its words may be overwritten from now on.
    pub(super) fn move_tail(&self, tail: u64) {
        put(&self.control[TAIL], tail, Ordering::Release);
        fence(Ordering::Release);
    }

    /// Lets what lies before `head` be seen.
    pub(super) fn move_head(&self, head: u64) {
        put(&self.control[HEAD], head, Ordering::Release);
    }

    pub(super) fn set_live(&self, words: u64) {
        put(&self.control[LIVE], words, Ordering::Relaxed);
    }

    /// Empties the ring.
    pub(super) fn reset(&self) {
        self.move_tail(self.head());
        self.set_live(0);
    }

    /// The whole position that a slot means, if it is within the window as far as the tail tells.
    #[inline]
    pub(super) fn position(&self, slot: Slot) -> Option<u64> {
        let tail = self.tail();
        let ahead = slot.position().wrapping_sub(tail) & POSITION_MASK;
        (ahead < self.capacity()).then(|| tail.wrapping_add(ahead))
    }

    /// As [`position`](Self::position), and before the head: exact for the lock's owner.
    pub(super) fn held(&self, slot: Slot) -> Option<u64> {
        self.position(slot)
            .filter(|position| position.wrapping_sub(self.tail()) < self.used())
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below the length of a slice
    fn index(&self, position: u64) -> usize {
        (position % self.capacity()) as usize
    }

    #[inline]
    fn word(&self, position: u64) -> &'a AtomicU64 {
        &self.data[self.index(position)]
    }

    /// `count` words from a position on, in two pieces if they wrap. `count` is at most the capacity.
    #[inline]
    fn run(&self, position: u64, count: usize) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let start = self.index(position);
        let (before, from) = self.data.split_at(start);
        if count <= from.len() {
            (&from[..count], &[])
        } else {
            (from, &before[..(count - from.len()).min(start)])
        }
    }

    /// The record at a position; `None` if what lies there is none.
    #[inline]
    pub(super) fn record(&self, position: u64) -> Option<Record> {
        let start = self.index(position);
        let mut words = [0; LEAD];
        if let Some(found) = self.data.get(start..start + LEAD) {
            words[0] = found[0].load(Ordering::Acquire);
            for (word, found) in words.iter_mut().zip(found).skip(1) {
                *word = found.load(Ordering::Relaxed);
            }
        } else {
            for (word, at) in words.iter_mut().zip(0..) {
                *word = self.word(position.wrapping_add(at)).load(Ordering::Acquire);
            }
        }
        Record::parse(self.hashing, position, words, self.data.len())
    }

    /// Whether what was read of a record is what was there all the while.
    #[inline]
    pub(super) fn is_unchanged(&self, record: &Record) -> bool {
        fence(Ordering::Acquire);
        let tail = self.control[TAIL].load(Ordering::Relaxed);
        record.position.wrapping_sub(tail) < self.capacity()
            && self.word(record.position).load(Ordering::Relaxed) == record.first
    }

    /// Whether the record's key is this one.
    #[inline]
    pub(super) fn key_is(&self, record: &Record, key: &[u8]) -> bool {
        if record.key != key.len() {
            return false;
        }
        let from = record.position.wrapping_add(LEAD as u64);
        let (first, second) = self.run(from, key.len().div_ceil(WORD));
        let words = first.iter().chain(second);
        key.chunks(WORD).zip(words).all(|(chunk, word)| {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            if let Ok(whole) = <[u8; WORD]>::try_from(chunk) {
                bytes == whole
            } else {
                bytes[..chunk.len()] == *chunk
            }
        })
    }

    /// Copies bytes out of a record, `skip` bytes after its leading words. There have to be as many.
    #[inline]
    pub(super) fn copy_out(&self, record: &Record, skip: usize, room: &mut [MaybeUninit<u8>]) {
        let from = record.position.wrapping_add((LEAD + skip / WORD) as u64);
        let (skip, words) = (skip % WORD, (skip % WORD + room.len()).div_ceil(WORD));
        let (first, second) = self.run(from, words);
        let (odd, room) = room.split_at_mut(((WORD - skip) % WORD).min(room.len()));
        let (first, second) = if odd.is_empty() {
            (first, second)
        } else {
            let bytes = first[0].load(Ordering::Relaxed).to_ne_bytes();
            odd.write_copy_of_slice(&bytes[skip..skip + odd.len()]);
            if first.len() > 1 {
                (&first[1..], second)
            } else {
                (second, &[][..])
            }
        };
        let (room, rest) = room.split_at_mut((first.len() * WORD).min(room.len()));
        copy_words(first, room);
        copy_words(second, rest);
    }

    /// Writes a whole record beyond the head. There has to be room.
    pub(super) fn write(&self, record: &Record, key: &[u8], value: &[u8]) {
        put(self.word(record.position), record.first, Ordering::Relaxed);
        for (at, word) in (1..).zip(record.words()) {
            put(
                self.word(record.position.wrapping_add(at)),
                word,
                Ordering::Relaxed,
            );
        }
        self.write_bytes(record.position, 0, key, value);
    }

    /// Overwrites a record in place: the same position and allotted words, the same key.
    pub(super) fn overwrite(&self, record: &Record, key: &[u8], value: &[u8]) {
        let first = self.word(record.position);
        put(first, record::next_sequence(record.first), Ordering::Relaxed);
        fence(Ordering::Release);
        for (at, word) in (1..).zip(record.words()) {
            put(
                self.word(record.position.wrapping_add(at)),
                word,
                Ordering::Relaxed,
            );
        }
        // The words that hold nothing but key stay as they are.
        self.write_bytes(record.position, key.len() / WORD, key, value);
        let done = record::next_sequence(record::next_sequence(record.first));
        put(first, done, Ordering::Release);
    }

    /// Writes key and value behind the leading words, all but the key's first `skip` words.
    fn write_bytes(&self, position: u64, skip: usize, key: &[u8], value: &[u8]) {
        let count = (key.len() + value.len()).div_ceil(WORD) - skip;
        let (first, second) = self.run(position.wrapping_add((LEAD + skip) as u64), count);
        let (whole, odd) = key[skip * WORD..].as_chunks::<WORD>();
        let mut joint = [0; WORD];
        let taken = if odd.is_empty() {
            0
        } else {
            (WORD - odd.len()).min(value.len())
        };
        joint[..odd.len()].copy_from_slice(odd);
        joint[odd.len()..odd.len() + taken].copy_from_slice(&value[..taken]);
        let joint = (!odd.is_empty()).then_some(joint);
        let (values, rest) = value[taken..].as_chunks::<WORD>();
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(last);
        let bytes = whole.iter().chain(&joint).chain(values).chain(&last);
        let mut words = first.iter().chain(second);
        bytes.for_each(|bytes| {
            if let Some(word) = words.next() {
                put(word, u64::from_ne_bytes(*bytes), Ordering::Relaxed);
            }
        });
    }

    /// Copies a record's words from another ring, or from further back in this one, to a position beyond the head.
    ///
    /// The words go over in ascending order, so a copy over itself, further back, comes out whole.
    pub(super) fn copy_in(&self, from: &Ring<'_>, record: &Record, position: u64) {
        let first = record::first_word(self.hashing, position, 0, record.allotted);
        put(self.word(position), first, Ordering::Relaxed);
        let words = LEAD + (record.key + record.value).div_ceil(WORD);
        let (mut source, mut target) = (from.index(record.position), self.index(position));
        for _ in 1..words {
            source = if source + 1 == from.data.len() {
                0
            } else {
                source + 1
            };
            target = if target + 1 == self.data.len() {
                0
            } else {
                target + 1
            };
            put(
                &self.data[target],
                from.data[source].load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
        }
    }

    /// Stores a record's expiry and time of writing: two stores, each of which leaves it whole.
    pub(super) fn write_times(&self, record: &Record) {
        let [_, expiry, writing] = record.words();
        put(
            self.word(record.position.wrapping_add(3)),
            writing,
            Ordering::Relaxed,
        );
        put(
            self.word(record.position.wrapping_add(2)),
            expiry,
            Ordering::Relaxed,
        );
    }
}

/// Copies words into as many bytes as there are.
#[inline]
fn copy_words(words: &[AtomicU64], room: &mut [MaybeUninit<u8>]) {
    let (whole, odd) = room.as_chunks_mut::<WORD>();
    for (room, word) in whole.iter_mut().zip(words) {
        room.write_copy_of_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    if let Some(word) = words.get(whole.len()).filter(|_| !odd.is_empty()) {
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        odd.write_copy_of_slice(&bytes[..odd.len()]);
    }
}
