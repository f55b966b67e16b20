//! Hashes of keys and checksums of values. Every process that maps a file computes the same ones, with the file's seed.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::extension::Extension;
use super::layout::WORD;
use super::position::Position;

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// The rotations of the two lanes. They differ, and neither is a multiple of 8: with equal rotations, compilers put both
/// lanes into one vector, word by word, which costs more than it saves.
const ROTATIONS: [u32; 2] = [23, 41];
/// The number of words that a checksum takes at once.
pub(super) const BLOCK: usize = 8;

/// Computes hashes and checksums with the seed of a file.
#[derive(Clone, Debug)]
pub(super) struct Hashing {
    seed: u64,
    secrets: RapidSecrets,
}

/// A checksum under computation. It takes the words of a value as they are stored in the file, so it can be computed while
/// they are copied.
///
/// The words alternate between two lanes. A lane is the sum of its words and a sum of those sums, rotated at each step. So
/// a change of one word changes its lane, and so does a swap of two words. The result has 32 bits: other damage goes
/// undetected once in 2^32 times. The checksum does not protect against a malicious writer, who could store another value
/// as well.
///
/// CRC-32C by processor instructions, computed after the copy, takes about twice as long for a kilobyte
/// (`docs/design/performance.md`, "Own machinery").
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksum([Lane; 2]);

#[derive(Clone, Copy, Debug)]
struct Lane {
    sum: u64,
    sums: u64,
}

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) hash: u64,
}

impl Hashing {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            seed,
            secrets: RapidSecrets::seed(seed),
        }
    }

    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Hashes a key.
    #[inline]
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Keyed<'a> {
        Keyed {
            bytes,
            hash: rapidhash_v3_seeded(bytes, &self.secrets),
        }
    }

    /// Returns the checksum of a value of this kind. `key` is the hash of the value's key.
    pub(super) fn checksum(&self, key: u64, value: &[u8], kind: u8) -> u32 {
        let mut sum = self.start_checksum();
        let (blocks, rest) = value.as_chunks::<{ BLOCK * WORD }>();
        for block in blocks {
            sum.take(&words(block));
        }
        if !rest.is_empty() {
            let mut last = [0; BLOCK * WORD];
            last[..rest.len()].copy_from_slice(rest);
            sum.take(&words(&last));
        }
        sum.finish(key, value.len(), kind)
    }

    /// Returns what an extension adds to a record's checksum by exclusive or: nothing, if there is none. `key` is the hash
    /// of the key.
    #[inline]
    pub(super) fn extension_checksum(&self, key: u64, extension: Option<Extension>) -> u32 {
        let Some(Extension([one, process, number])) = extension else {
            return 0;
        };
        let sum = fold(one ^ self.seed, process ^ key ^ SPREAD);
        mix(fold(sum ^ SPREAD, number ^ self.seed.rotate_left(32)) ^ sum.rotate_left(17)).0
    }

    /// Starts the checksum of a value.
    #[inline(always)]
    pub(super) const fn start_checksum(&self) -> Checksum {
        let (sum, sums) = (self.seed, !self.seed);
        Checksum([Lane { sum, sums }; 2])
    }

    /// Returns 16 pseudo-random bits that depend on both positions.
    pub(super) fn draw(&self, one: Position, other: Position) -> u64 {
        let (sum, _) = mix(one.to_u64() ^ other.to_u64().rotate_left(32) ^ self.seed);
        u64::from(sum) & 0xffff
    }

    /// Returns the check bits of a record of this size at this position.
    #[inline]
    pub(super) fn place_check(&self, position: Position, allotted: u64) -> u64 {
        let (sum, _) = mix(position.to_u64() ^ allotted.rotate_left(40) ^ self.seed);
        u64::from(sum) & 0xffff
    }
}

impl Checksum {
    /// Takes a block of words. The last block is padded with zeros.
    #[inline(always)]
    pub(super) fn take(&mut self, block: &[u64; BLOCK]) {
        for words in block.as_chunks::<2>().0 {
            for ((lane, word), rotation) in self.0.iter_mut().zip(words).zip(ROTATIONS) {
                lane.sum = lane.sum.wrapping_add(*word);
                lane.sums = lane.sums.rotate_left(rotation).wrapping_add(lane.sum);
            }
        }
    }

    /// As [`take`](Self::take), by value.
    #[inline(always)]
    pub(super) fn with(mut self, block: &[u64; BLOCK]) -> Self {
        self.take(block);
        self
    }

    /// Returns the checksum after all words of a value of `len` bytes were taken.
    #[inline(always)]
    pub(super) const fn finish(self, key: u64, len: usize, kind: u8) -> u32 {
        let Self([one, other]) = self;
        let one = fold(one.sum ^ key, one.sums ^ kind as u64);
        let other = fold(other.sum ^ SPREAD, other.sums ^ len as u64);
        mix(one ^ other.rotate_left(32)).0
    }
}

fn words(block: &[u8; BLOCK * WORD]) -> [u64; BLOCK] {
    let (bytes, _) = block.as_chunks::<WORD>();
    std::array::from_fn(|at| u64::from_ne_bytes(bytes[at]))
}

/// Multiplies two words and combines both halves of the product.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // halves
const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Mixes the bits of a word and returns both halves of the result.
#[inline]
#[allow(clippy::cast_possible_truncation)] // halves
const fn mix(word: u64) -> (u32, u32) {
    let word = (word ^ (word >> 32)).wrapping_mul(SPREAD);
    let word = (word ^ (word >> 29)).wrapping_mul(SPREAD);
    ((word >> 32) as u32, word as u32)
}

impl Keyed<'_> {
    /// Returns the fingerprint that the key's slots hold; never 0.
    #[inline]
    pub(super) const fn fingerprint(&self) -> u64 {
        let fingerprint = (self.hash >> 8) & 0xffff;
        if fingerprint == 0 { 1 } else { fingerprint }
    }

    /// Returns the number of the key's shard. `shards` must be a power of two.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below the number of shards
    pub(super) const fn shard(&self, shards: usize) -> usize {
        self.hash as usize & (shards - 1)
    }

    /// Returns the numbers of the two buckets that may hold the key. They may be equal.
    #[inline]
    pub(super) const fn buckets(&self, buckets: usize) -> [usize; 2] {
        [
            reduce(self.hash >> 32, buckets),
            reduce(self.hash.wrapping_mul(SPREAD) >> 32, buckets),
        ]
    }
}

/// Maps 32 bits to a number below `bound`.
#[inline]
#[allow(clippy::cast_possible_truncation)] // below `bound`
const fn reduce(bits: u64, bound: usize) -> usize {
    ((bits * bound as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[u64]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Hashing::new(7).checksum(1, &bytes, 0)
    }

    #[test]
    fn every_bit_changes_the_checksum() {
        let words: Vec<u64> = (0..40).map(|number| SPREAD.wrapping_mul(number)).collect();
        for at in 0..words.len() {
            for bit in 0..64 {
                let mut changed = words.clone();
                changed[at] ^= 1 << bit;
                assert_ne!(of(&words), of(&changed), "bit {bit} of word {at}");
            }
        }
    }

    #[test]
    fn the_order_and_the_signs_of_words_change_the_checksum() {
        let orders: [[u64; 8]; 6] = [
            [1, 0, 0, 0, 0, 0, 1, 0],
            [0, 0, 1, 0, 1, 0, 0, 0],
            [0, 1, 0, 1, 0, 0, 0, 0],
            [1 << 63, 0, 1 << 63, 0, 0, 0, 0, 0],
            [1 << 63, 0, 0, 0, 1 << 63, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for (one, other) in (0..6).flat_map(|one| (0..one).map(move |other| (one, other))) {
            assert_ne!(of(&orders[one]), of(&orders[other]), "{one}, {other}");
        }
    }

    #[test]
    fn length_key_kind_and_seed_change_the_checksum() {
        let hashing = Hashing::new(7);
        let one = hashing.checksum(1, b"a\0", 0);
        assert_ne!(one, hashing.checksum(1, b"a", 0));
        assert_ne!(one, hashing.checksum(2, b"a\0", 0));
        assert_ne!(one, hashing.checksum(1, b"a\0", 1));
        assert_ne!(one, Hashing::new(8).checksum(1, b"a\0", 0));
    }
}
