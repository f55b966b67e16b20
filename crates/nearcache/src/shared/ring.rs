//! A ring of records: positions only grow, and a record lies at its position modulo the ring.
//!
//! Only words below `tail` or from `head` on are ever overwritten, but by a record's own in-place write; the tail is
//! moved, and fenced, before.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::hashing::{BLOCK, Hashing, Sum};
use super::index::{Kind, POSITION_MASK, Slot};
use super::layout::WORD;
use super::position::Position;
use super::record::{self, LEAD, Record};
use super::words::{AtomicU64, fence, put};

const TAIL: usize = 0;
const HEAD: usize = 1;
const LIVE: usize = 2;
const EARNED: usize = 3;
const SUSPECT: usize = 4;
/// No ring comes so far: 2^62 words are 32 EiB. Beyond 2^64 a position would no longer tell a record's place.
const MOST_WORDS: u64 = 1 << 62;
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
    pub(super) fn tail(&self) -> Position {
        Position::from_u64(self.control[TAIL].load(Ordering::Acquire))
    }

    pub(super) fn head(&self) -> Position {
        Position::from_u64(self.control[HEAD].load(Ordering::Relaxed))
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
        self.head().since(self.tail())
    }

    /// How many words new records may fill.
    pub(super) fn limit(&self) -> u64 {
        self.capacity() - (self.capacity() / RESERVE_SHARE).min(MAX_RESERVE)
    }

    pub(super) fn has_room(&self, words: usize) -> bool {
        self.used().saturating_add(words as u64) <= self.limit()
    }

    /// Lets go of what lies before `tail`: its words may be overwritten from now on.
    pub(super) fn move_tail(&self, tail: Position) {
        put(&self.control[TAIL], tail.to_u64(), Ordering::Release);
        fence(Ordering::Release);
    }

    /// Lets what lies before `head` be seen.
    pub(super) fn move_head(&self, head: Position) {
        put(&self.control[HEAD], head.to_u64(), Ordering::Release);
    }

    pub(super) fn set_live(&self, words: u64) {
        put(&self.control[LIVE], words, Ordering::Relaxed);
    }

    /// Words in live records that earned their place, in main.
    pub(super) fn earned(&self) -> u64 {
        self.control[EARNED].load(Ordering::Relaxed)
    }

    pub(super) fn set_earned(&self, words: u64) {
        put(&self.control[EARNED], words, Ordering::Relaxed);
    }

    /// Empties the ring.
    pub(super) fn reset(&self) {
        self.move_tail(self.head());
        self.set_live(0);
        self.set_earned(0);
    }

    /// Whether tail and head are such as a process leaves them.
    pub(super) fn is_sound(&self) -> bool {
        let (head, used) = (self.head().to_u64(), self.used());
        used <= self.capacity() && used <= head && head <= MOST_WORDS
    }

    /// Empties a ring whose tail and head mean nothing.
    pub(super) fn restart(&self) {
        self.move_tail(Position::START);
        self.move_head(Position::START);
        self.reset();
        self.suspect_before(Position::START);
    }

    /// Whether a record before this position is believed only if a slot points to it. What a dead record says of its
    /// length is not believed there.
    pub(super) fn is_suspect(&self, position: Position) -> bool {
        self.suspect_words(position).is_some()
    }

    /// The suspected words from a position on.
    fn suspect_words(&self, position: Position) -> Option<u64> {
        let suspect = Position::from_u64(self.control[SUSPECT].load(Ordering::Relaxed));
        Some(suspect.since(position)).filter(|words| (1..=self.capacity()).contains(words))
    }

    /// How many words a record at a position may have: it lies before the head, and wholly in what is suspected or not at
    /// all.
    pub(super) fn room_at(&self, position: Position) -> u64 {
        self.suspect_words(position)
            .unwrap_or_else(|| self.head().since(position))
    }

    /// Has all that lies before this position suspected.
    pub(super) fn suspect_before(&self, position: Position) {
        put(&self.control[SUSPECT], position.to_u64(), Ordering::Relaxed);
    }

    /// The whole position that a slot means, if that lies between tail and head.
    #[inline]
    pub(super) fn position(&self, slot: Slot) -> Option<Position> {
        let tail = self.tail();
        let ahead = slot.position().wrapping_sub(tail.to_u64()) & POSITION_MASK;
        // Writers store the head before the slot, so a reader that sees the slot sees the head.
        let used = self.head().since(tail);
        (ahead < used.min(self.capacity())).then(|| tail.advanced(ahead))
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below the length of a slice
    pub(super) fn index(&self, position: Position) -> usize {
        (position.to_u64() % self.capacity()) as usize
    }

    /// Loads the words at head and tail, which the next write needs.
    #[inline]
    pub(super) fn fetch(&self) {
        for position in [self.head(), self.tail()] {
            black_box(self.word(position).load(Ordering::Relaxed));
        }
    }

    /// The first word of a record.
    #[cfg(test)]
    pub(super) fn first_word_of(&self, record: &Record) -> &'a AtomicU64 {
        &self.data[record.start]
    }

    #[inline]
    fn word(&self, position: Position) -> &'a AtomicU64 {
        &self.data[self.index(position)]
    }

    /// `count` words of a record after its first `skip`, in two pieces if they wrap around the ring's end. The record
    /// has to have them.
    #[inline(always)]
    fn span(&self, record: &Record, skip: usize, count: usize) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let start = record.start + skip;
        match self.data.get(start..start + count) {
            Some(words) => (words, &[]),
            None => self.wrapped(start, count),
        }
    }

    #[cold]
    fn wrapped(&self, start: usize, count: usize) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let Some(beyond) = start.checked_sub(self.data.len()) else {
            let (before, from) = self.data.split_at(start);
            return (from, &before[..(count - from.len()).min(start)]);
        };
        (&self.data[beyond..][..count], &[])
    }

    /// The record at a position; `None` if what lies there is none.
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

    /// Whether what was read of a record is what was there all the while.
    #[inline(always)]
    pub(super) fn is_unchanged(&self, record: &Record) -> bool {
        fence(Ordering::Acquire);
        let tail = Position::from_u64(self.control[TAIL].load(Ordering::Relaxed));
        record.position.since(tail) < self.capacity()
            && self.data[record.start].load(Ordering::Relaxed) == record.first
    }

    /// Whether the record's key is this one.
    #[inline(always)]
    pub(super) fn key_is(&self, record: &Record, key: &[u8]) -> bool {
        if record.key != key.len() {
            return false;
        }
        let (first, second) = self.span(record, LEAD, key.len().div_ceil(WORD));
        let (one, other) = key.split_at((first.len() * WORD).min(key.len()));
        are_words(first, one) && are_words(second, other)
    }

    /// Copies a record's key out; there has to be as much room as it is long.
    pub(super) fn copy_key(&self, record: &Record, room: &mut [MaybeUninit<u8>]) {
        self.copy_out(record, LEAD, room);
    }

    /// Copies a record's value out; there has to be as much room as it is long.
    pub(super) fn copy_value(&self, record: &Record, room: &mut [MaybeUninit<u8>]) {
        self.copy_out(record, record.value_offset(), room);
    }

    fn copy_out(&self, record: &Record, skip: usize, room: &mut [MaybeUninit<u8>]) {
        let (first, second) = self.span(record, skip, room.len().div_ceil(WORD));
        let (one, other) = room.split_at_mut((first.len() * WORD).min(room.len()));
        copy_words(first, one);
        copy_words(second, other);
    }

    /// As [`copy_value`](Self::copy_value), in one go with the checksum of what was copied, for the key with this hash.
    #[inline(always)]
    pub(super) fn copy_checked(&self, record: &Record, key: u64, room: &mut [MaybeUninit<u8>]) -> u32 {
        let (words, second) = self.span(record, record.value_offset(), room.len().div_ceil(WORD));
        if second.is_empty() {
            let mut sum = self.hashing.sum();
            copy_summed(words, room, &mut sum);
            return sum.finish(key, room.len(), record.kind);
        }
        self.copy_value(record, room);
        // SAFETY: as many bytes were copied as there is room for, so all are initialised.
        #[allow(unsafe_code)]
        let value = unsafe { &*(std::ptr::from_ref::<[MaybeUninit<u8>]>(room) as *const [u8]) };
        self.hashing.checksum(key, value, record.kind)
    }

    /// The checksum of a record's value as it lies there, for the key with this hash.
    pub(super) fn checksum(&self, record: &Record, key: u64) -> u32 {
        let (first, second) = self.span(record, record.value_offset(), record.value.div_ceil(WORD));
        let mut sum = self.hashing.sum();
        let mut block = [0; BLOCK];
        let mut filled = 0;
        for word in first.iter().chain(second) {
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
        sum.finish(key, record.value, record.kind)
    }

    /// Writes a whole record beyond the head. There has to be room.
    pub(super) fn write(&self, record: &Record, key: &[u8], value: &[u8]) {
        put(&self.data[record.start], record.first, Ordering::Relaxed);
        self.write_lead(record);
        self.write_bytes(record, LEAD, key);
        self.write_bytes(record, record.value_offset(), value);
    }

    /// Overwrites a record in place: the same position and allotted words, and the same key unless there is another.
    pub(super) fn overwrite(&self, record: &Record, key: Option<&[u8]>, value: &[u8]) {
        let first = &self.data[record.start];
        put(first, record::next_sequence(record.first), Ordering::Relaxed);
        fence(Ordering::Release);
        self.write_lead(record);
        if let Some(key) = key {
            self.write_bytes(record, LEAD, key);
        }
        self.write_bytes(record, record.value_offset(), value);
        let done = record::next_sequence(record::next_sequence(record.first));
        put(first, done, Ordering::Release);
    }

    /// Writes a key or a value; the rest of its last word becomes zeros.
    fn write_bytes(&self, record: &Record, skip: usize, bytes: &[u8]) {
        let (first, second) = self.span(record, skip, bytes.len().div_ceil(WORD));
        let (one, other) = bytes.split_at((first.len() * WORD).min(bytes.len()));
        put_bytes(first, one);
        put_bytes(second, other);
    }

    /// Writes the words after a record's first.
    fn write_lead(&self, record: &Record) {
        let (first, second) = self.span(record, 1, LEAD - 1);
        for (room, word) in first.iter().chain(second).zip(record.words()) {
            put(room, word, Ordering::Relaxed);
        }
    }

    /// Copies a record's words from another ring, or from further back in this one, to a position beyond the head.
    ///
    /// The words go over in ascending order, so a copy over itself, further back, comes out whole.
    pub(super) fn copy_in(&self, from: &Ring<'_>, record: &Record, position: Position) {
        let first = record::first_word(self.hashing, position, 0, record.allotted);
        put(self.word(position), first, Ordering::Relaxed);
        let (mut source, mut target) = (record.start + 1, self.index(position) + 1);
        let mut left = record.value_offset() + record.value.div_ceil(WORD) - 1;
        while left > 0 {
            source = if source == from.data.len() { 0 } else { source };
            target = if target == self.data.len() { 0 } else { target };
            let run = left.min(from.data.len() - source).min(self.data.len() - target);
            let run_of = from.data[source..].iter().zip(&self.data[target..]).take(run);
            for (word, room) in run_of {
                put(room, word.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            (source, target, left) = (source + run, target + run, left - run);
        }
    }

    /// Overwrites the words of a record beyond its value. Words left over from before a reboot could look like a record
    /// there, to which a slot still points.
    pub(super) fn clear_slack(&self, record: &Record) {
        let used = record.value_offset() + record.value.div_ceil(WORD);
        let (first, second) = self.span(record, used, record.allotted - used);
        for word in first.iter().chain(second) {
            put(word, 0, Ordering::Relaxed);
        }
    }

    /// Stores a record's expiry and time of writing: two stores, each of which leaves it whole.
    pub(super) fn write_times(&self, record: &Record) {
        let [_, expiry, writing] = record.words();
        put(self.word(record.position.advanced(3)), writing, Ordering::Relaxed);
        put(self.word(record.position.advanced(2)), expiry, Ordering::Relaxed);
    }
}

/// The bytes at the end that do not fill a word, filled up with zeros; none if there are none.
#[inline(always)]
fn last_word(bytes: &[u8]) -> Option<u64> {
    let odd = bytes.len() % WORD;
    if odd == 0 {
        return None;
    }
    let Some(last) = bytes.last_chunk::<WORD>() else {
        let mut last = [0; WORD];
        last[..odd].copy_from_slice(bytes);
        return Some(u64::from_ne_bytes(last));
    };
    // Without a copy of variable length, which is a call.
    let before = u8::BITS as usize * (WORD - odd);
    let last = u64::from_ne_bytes(*last);
    Some(if cfg!(target_endian = "little") {
        last >> before
    } else {
        last << before
    })
}

/// Whether words hold these bytes, the last one filled up with zeros.
#[inline(always)]
fn are_words(words: &[AtomicU64], bytes: &[u8]) -> bool {
    let (whole, _) = bytes.as_chunks::<WORD>();
    let is = |word: &AtomicU64, bytes| word.load(Ordering::Relaxed) == bytes;
    let same = whole
        .iter()
        .zip(words)
        .all(|(bytes, word)| is(word, u64::from_ne_bytes(*bytes)));
    let last = last_word(bytes).zip(words.get(whole.len()));
    same && last.is_none_or(|(bytes, word)| is(word, bytes))
}

/// Stores bytes as words, the last one filled up with zeros.
fn put_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, _) = bytes.as_chunks::<WORD>();
    for (room, bytes) in words.iter().zip(whole) {
        put(room, u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if let Some((room, last)) = words.get(whole.len()).zip(last_word(bytes)) {
        put(room, last, Ordering::Relaxed);
    }
}

/// The bytes of a word, to be written where nothing is yet.
#[inline(always)]
fn initialised(word: u64) -> [MaybeUninit<u8>; WORD] {
    word.to_ne_bytes().map(MaybeUninit::new)
}

/// Copies words into as many bytes as there are.
#[inline(always)]
fn copy_words(words: &[AtomicU64], room: &mut [MaybeUninit<u8>]) {
    let (whole, odd) = room.as_chunks_mut::<WORD>();
    for (room, word) in whole.iter_mut().zip(words) {
        *room = initialised(word.load(Ordering::Relaxed));
    }
    if let Some(word) = words.get(whole.len()).filter(|_| !odd.is_empty()) {
        odd.copy_from_slice(&initialised(word.load(Ordering::Relaxed))[..odd.len()]);
    }
}

/// As [`copy_words`], and takes the words into a checksum while they are at hand.
#[inline(always)]
fn copy_summed(words: &[AtomicU64], room: &mut [MaybeUninit<u8>], sum: &mut Sum) {
    let (blocks, last) = room.as_chunks_mut::<{ BLOCK * WORD }>();
    let (words, rest) = words.split_at((blocks.len() * BLOCK).min(words.len()));
    for (room, words) in blocks.iter_mut().zip(words.as_chunks::<BLOCK>().0) {
        let block: [u64; BLOCK] = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
        for (room, word) in room.as_chunks_mut::<WORD>().0.iter_mut().zip(block) {
            *room = initialised(word);
        }
        sum.take(&block);
    }
    if rest.is_empty() {
        return;
    }
    let mut block = [0; BLOCK];
    for (at, word) in rest.iter().take(BLOCK).enumerate() {
        block[at] = word.load(Ordering::Relaxed);
    }
    let (whole, odd) = last.as_chunks_mut::<WORD>();
    for (room, word) in whole.iter_mut().zip(block) {
        *room = initialised(word);
    }
    odd.copy_from_slice(&initialised(block[whole.len() % BLOCK])[..odd.len()]);
    sum.take(&block);
}
