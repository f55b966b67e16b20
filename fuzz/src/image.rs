//! The contents of a cache file, and changes to them.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::hashing::{Hashing, Keyed};
use crate::input::Input;
use crate::layout::{
    BOOT, BUCKET, ENTRIES, EPOCH, GEOMETRY_CHECK, Geometry, HEADER, LOCK, MAIN, PROCESSES, SEED, SHARD,
    SHARD_EPOCH, SMALL, WORD, geometry_check,
};
use crate::position::Position;
use crate::record::{LEAD, NEVER, first_word, words_for};
use crate::slot::{POSITION_BITS, Queue, Slot, SlotState};
use crate::steps::{INTEGER, key, value};

const PAGE_WORDS: usize = 512;
const TAIL: usize = 0;
const HEAD: usize = 1;
/// Positions near which tail and head are placed.
const BASES: [u64; 8] = [0, 1 << 20, 1 << 43, 1 << 44, 1 << 45, 1 << 62, 1 << 63, 0];

/// The words of a file with one or more shards.
pub struct Image {
    words: Vec<u64>,
    geometry: Geometry,
    hashing: Hashing,
    changed: BTreeSet<usize>,
    /// The records that were made: whether they are in a main ring, their positions, and their sizes in words.
    records: Vec<(bool, Position, usize)>,
}

/// One ring of a shard, as indexes of words of the file.
#[derive(Clone, Copy)]
struct Ring {
    control: usize,
    start: usize,
    capacity: usize,
    queue: Queue,
}

impl Image {
    /// Creates the contents of a new file. The input chooses its seed and geometry.
    pub fn new(input: &mut Input<'_>) -> Self {
        let bytes = match input.byte() {
            size @ 0..192 => (1 << 20) + (u64::from(size) / 64 << 12),
            size => (u64::from(size) - 191) << 16 | 1 << 20,
        };
        let processes = match input.byte() {
            0..128 => 64,
            few => usize::from(few) - 127,
        };
        let geometry = Geometry::new(bytes, processes).expect("a geometry of a possible size");
        let seed = input.word(2);
        let mut image = Self {
            words: vec![0; geometry.words],
            geometry,
            hashing: Hashing::new(seed),
            changed: BTreeSet::new(),
            records: Vec::new(),
        };
        let described = geometry.described();
        for (at, word) in described.into_iter().enumerate() {
            image.put(at, word);
        }
        image.put(SEED, seed);
        image.put(GEOMETRY_CHECK, geometry_check(&described, seed));
        image.put(BOOT, 1);
        image.put(BOOT + 1, 1);
        image
    }

    /// Parses the contents of a file that the engine created.
    pub fn of(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<WORD>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let geometry = Geometry::new(bytes.len() as u64, words[PROCESSES] as usize);
        let hashing = Hashing::new(words[SEED]);
        Self {
            words,
            geometry: geometry.expect("the geometry of a cache"),
            hashing,
            changed: BTreeSet::new(),
            records: Vec::new(),
        }
    }

    /// Returns the size of the file.
    pub fn bytes(&self) -> u64 {
        self.geometry.bytes
    }

    /// Returns whether a record was made within the words of another one. The engine does not write such files. It finds
    /// only misses in them, but a check of the whole file may fail.
    pub fn has_overlaps(&self) -> bool {
        let overlap = |one: &(bool, Position, usize), other: &(bool, Position, usize)| {
            one.0 == other.0 && other.1.since(one.1) < one.2 as u64
        };
        let numbered = || self.records.iter().enumerate();
        numbered().any(|(at, one)| numbered().any(|(other_at, other)| at != other_at && overlap(one, other)))
    }

    /// Releases the locks of all shards.
    pub fn unlock(&mut self) {
        for number in 0..self.geometry.shards {
            self.put(self.geometry.shard(number) + LOCK, 0);
        }
    }

    /// Writes all words to a file.
    pub fn write(&self, file: &File) {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        file.write_all_at(&bytes, 0).unwrap();
    }

    /// Writes the pages that were changed to a file of zeros.
    pub fn write_changed(&self, file: &File) {
        file.set_len(self.bytes()).unwrap();
        for page in &self.changed {
            let first = page * PAGE_WORDS;
            let words = &self.words[first..first + PAGE_WORDS];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            file.write_all_at(&bytes, (first * WORD) as u64).unwrap();
        }
    }

    fn put(&mut self, at: usize, word: u64) {
        self.words[at] = word;
        self.changed.insert(at / PAGE_WORDS);
    }

    fn ring(&self, shard: usize, is_main: bool) -> Ring {
        let start = self.geometry.shard(shard);
        let data = start + SHARD + self.geometry.slots();
        if is_main {
            Ring {
                control: start + MAIN,
                start: data + self.geometry.small,
                capacity: self.geometry.main,
                queue: Queue::Main,
            }
        } else {
            Ring {
                control: start + SMALL,
                start: data,
                capacity: self.geometry.small,
                queue: Queue::Small,
            }
        }
    }

    /// Returns the index of a word in some part of the file.
    fn place(&self, input: &mut Input<'_>, part: u8) -> usize {
        let shard = self.geometry.shard(0);
        let (small, main) = (self.ring(0, false), self.ring(0, true));
        let (start, words) = match part % 6 {
            0 => (0, 64),
            1 => (HEADER, shard - HEADER),
            2 => (shard, SHARD),
            3 => (shard + SHARD, self.geometry.slots()),
            4 => (small.start, small.capacity),
            _ => (main.start, main.capacity),
        };
        start + input.word(2) as usize % words
    }

    /// Changes one word, whatever its purpose.
    pub fn change(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let at = self.place(input, what);
        let now = self.words[at];
        let changed = match what / 6 % 4 {
            0 => input.word(8),
            1 => now ^ 1 << (input.byte() % 64),
            2 => now.wrapping_add(input.word(2)),
            _ => {
                let part = input.byte();
                self.words[self.place(input, part)]
            }
        };
        self.put(at, changed);
    }

    /// Changes the description of the geometry slightly, and the check word accordingly.
    pub fn describe_falsely(&mut self, input: &mut Input<'_>) {
        let at = input.below(8);
        self.put(at, self.words[at].wrapping_add(input.offset()));
        let described = std::array::from_fn(|at| self.words[at]);
        self.put(GEOMETRY_CHECK, geometry_check(&described, self.words[SEED]));
    }

    /// Sets the tails and heads of all rings, the epochs, and some of the other control words.
    pub fn set_controls(&mut self, input: &mut Input<'_>) {
        for shard in 0..self.geometry.shards {
            let control = self.geometry.shard(shard);
            for is_main in [false, true] {
                let ring = self.ring(shard, is_main);
                let capacity = ring.capacity as u64;
                let turns = u64::from(input.byte() % 4) * capacity;
                let tail = BASES[input.below(BASES.len())]
                    .wrapping_add(turns)
                    .wrapping_add(input.offset());
                let used = match input.byte() % 8 {
                    0 => 0,
                    1 => capacity,
                    2 => capacity.wrapping_add(input.offset()),
                    3 => input.word(8),
                    _ => input.word(2) % capacity,
                };
                self.put(ring.control + TAIL, tail);
                self.put(ring.control + HEAD, tail.wrapping_add(used));
            }
            for _ in 0..input.byte() % 4 {
                // Locks, the moving slot, counts, the state and the sums of a recount, the sweep's position, hints.
                let at = control + input.below(SHARD);
                let word = match input.byte() % 4 {
                    0 => input.word(8),
                    1 => self.special_position(input),
                    2 => u64::from(input.byte()) << 56 | input.word(2),
                    _ => input.word(2),
                };
                if at != control + SHARD_EPOCH {
                    self.put(at, word);
                }
            }
            if input.byte().is_multiple_of(2) {
                self.put(control + ENTRIES, input.word(8));
            }
        }
        match input.byte() % 8 {
            0 => self.put(EPOCH, input.word(8)),
            1 => self.set_epochs(u64::MAX),
            2 => self.set_epochs(input.word(8)),
            _ => {}
        }
    }

    fn set_epochs(&mut self, epoch: u64) {
        self.put(EPOCH, epoch);
        for shard in 0..self.geometry.shards {
            self.put(self.geometry.shard(shard) + SHARD_EPOCH, epoch);
        }
    }

    /// Returns a position near the tail or head of a ring, with random bits above, as in a hint or a slot.
    fn special_position(&self, input: &mut Input<'_>) -> u64 {
        let ring = self.ring(0, input.byte().is_multiple_of(2));
        let near = self.words[ring.control + input.below(2)].wrapping_add(input.offset());
        near & ((1 << POSITION_BITS) - 1) | input.word(3) << POSITION_BITS
    }

    /// Adds an entry of one of the keys: a record with a valid first word, and slots that point to it.
    pub fn add_entry(&mut self, input: &mut Input<'_>) {
        let name = key(input.byte());
        // Cloned, because words are changed while the key borrows from it.
        let hashing = self.hashing.clone();
        let keyed = hashing.key(&name);
        let shard = keyed.shard(self.geometry.shards);
        let how = input.byte();
        let ring = self.ring(shard, how.is_multiple_of(2));
        let position = self.position(input, ring, how / 2);
        let at = self.slot(input, &keyed, how / 64);
        self.write_record(input, ring, position, (&name, &keyed), at);
        let index = self.geometry.shard(shard) + SHARD;
        let state = match (ring.queue, input.byte()) {
            (Queue::Main, what) if what % 4 == 1 => SlotState::Probationary,
            (_, 255) => SlotState::Ghost,
            (Queue::Small, _) => SlotState::Small,
            (Queue::Main, _) => SlotState::Protected,
        };
        let fingerprint = match input.byte() {
            255 => u64::from(input.byte()),
            _ => keyed.fingerprint(),
        };
        let frequency = u64::from(input.byte() % 4);
        self.put(
            index + at,
            Slot::pointing(fingerprint, state, frequency, position).0,
        );
        // The same key in another slot that points to the same record.
        if input.byte().is_multiple_of(8) {
            let other = self.slot(input, &keyed, how / 64 + 1);
            self.put(index + other, Slot::pointing(fingerprint, state, 0, position).0);
        }
    }

    /// Returns the position of a record: anywhere, near tail or head, or across the end of the ring.
    fn position(&self, input: &mut Input<'_>, ring: Ring, how: u8) -> Position {
        let (tail, head) = (self.words[ring.control + TAIL], self.words[ring.control + HEAD]);
        let capacity = ring.capacity as u64;
        let to_the_end = capacity - tail % capacity;
        let position = match how % 8 {
            0 => tail.wrapping_add(u64::from(input.byte())),
            1 => head.wrapping_sub(u64::from(input.byte())),
            2 => tail
                .wrapping_add(to_the_end)
                .wrapping_sub(u64::from(input.byte())),
            3 => tail.wrapping_add(capacity).wrapping_sub(u64::from(input.byte())),
            4 => tail.wrapping_add(input.offset()).wrapping_add(1 << POSITION_BITS),
            _ => tail.wrapping_add(input.word(2) * 3 % capacity),
        };
        Position::from_u64(position)
    }

    /// Returns one of the slots of a key, rarely another one.
    fn slot(&self, input: &mut Input<'_>, key: &Keyed<'_>, bucket: u8) -> usize {
        let buckets = key.buckets(self.geometry.buckets);
        match input.byte() {
            255 => input.word(2) as usize % self.geometry.slots(),
            what => buckets[usize::from(bucket % 2)] * BUCKET + usize::from(what) % BUCKET,
        }
    }

    /// Writes the words of a record. Its value is one of the key, or its checksum does not match.
    fn write_record(
        &mut self,
        input: &mut Input<'_>,
        ring: Ring,
        position: Position,
        (name, key): (&[u8], &Keyed<'_>),
        at: usize,
    ) {
        let how = input.byte();
        let (kind, mut bytes) = if how.is_multiple_of(8) {
            (INTEGER, i64::from(input.byte()).to_ne_bytes().to_vec())
        } else {
            let len = match input.byte() {
                len @ 0..250 => usize::from(len) * 8,
                len => usize::from(len - 249) * 5000,
            };
            (0, value(name, how, len))
        };
        let checksum = self.hashing.checksum(key.hash, &bytes, kind);
        let checksum = match input.byte() {
            what @ 248.. => {
                let at = usize::from(what) % bytes.len();
                bytes[at] ^= 1;
                checksum
            }
            what @ 240..248 => checksum ^ 1 << what % 32,
            _ => checksum,
        };
        let needed = words_for(name.len(), 0, bytes.len());
        let mut allotted = match input.byte() {
            0..160 => needed,
            more @ 160..240 => needed + usize::from(more) - 159,
            more @ 240..248 => needed + usize::from(more - 239) * 1000,
            248..252 => ring.capacity - input.below(4),
            252..254 => input.word(3) as usize,
            _ => input.below(8),
        };
        if allotted >= 1 << 24 {
            allotted = (1 << 24) - 1;
        }
        self.records.push((ring.queue == Queue::Main, position, allotted));
        let (mut key_len, mut slack) = (name.len(), (allotted.saturating_sub(needed)) * WORD);
        slack += needed.saturating_sub(words_for(name.len(), 0, 0)) * WORD - bytes.len();
        match input.byte() {
            255 => key_len = input.word(2) as usize,
            254 => slack = input.word(2) as usize,
            _ => {}
        }
        let (key_len, slack) = (key_len as u64 & 0xffff, slack as u64 & 0xffff);
        let expires = self.time(input);
        let written = match input.byte() {
            255 => NEVER - u64::from(input.byte()),
            _ => u64::from(input.byte()),
        };
        let sequence = u64::from(input.byte() >= 240) | input.byte() as u64 >> 7 << 23;
        let lead = [
            first_word(&self.hashing, position, sequence, allotted),
            key_len << 48 | slack << 32 | u64::from(checksum),
            expires << 16 | (at >> 8) as u64,
            written << 16 | (at as u64 & 0xff) << 8 | u64::from(kind),
        ];
        let padded = |bytes: &[u8]| -> Vec<u64> {
            let word = |part: &[u8]| std::array::from_fn(|at| part.get(at).copied().unwrap_or_default());
            bytes
                .chunks(WORD)
                .map(|part| u64::from_ne_bytes(word(part)))
                .collect()
        };
        debug_assert_eq!(lead.len(), LEAD);
        let words = lead.into_iter().chain(padded(name)).chain(padded(&bytes));
        for (at, word) in words.enumerate().take(ring.capacity) {
            let place = position.advanced(at as u64).to_u64() % ring.capacity as u64;
            self.put(ring.start + place as usize, word);
        }
    }

    /// Returns an expiry time: never, long ago, or in a hundred years.
    fn time(&self, input: &mut Input<'_>) -> u64 {
        match input.byte() {
            0..192 => NEVER,
            192..224 => u64::from(input.byte()),
            _ => 1 << 42,
        }
    }

    /// Records that the file was last used in this boot.
    pub fn set_boot(&mut self, of: &[u8]) {
        let (words, _) = of.as_chunks::<WORD>();
        for at in [BOOT, BOOT + 1] {
            self.put(at, u64::from_ne_bytes(words[at]));
        }
    }
}
