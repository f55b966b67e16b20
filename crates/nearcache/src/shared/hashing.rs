//! Keys and checksums, hashed alike by every process that maps the file.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::layout::WORD;
use super::position::Position;

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// By how many bits a lane's sums are turned: nothing that a word is divided into. Were they the same, compilers would put
/// both lanes into one vector, word by word, which costs more than it saves.
const TURNS: [u32; 2] = [23, 41];
/// Words that a checksum takes at once.
pub(super) const BLOCK: usize = 8;

/// Hashes with the file's seed.
#[derive(Clone, Debug)]
pub(super) struct Hashing {
    seed: u64,
    secrets: RapidSecrets,
}

/// A checksum in the making, of words as they lie in the file: cheap enough to be taken along while a reader copies them.
///
/// Every other word goes to one lane, the rest to the other. A lane is the sum of its words, and the sum of all those sums,
/// turned a little at each. So a word that is not what it was changes its lane, and so do words that changed places. Of
/// what the lanes come to 32 bits are kept: damage is overlooked once in 2^32 times. It is no help against who wants to
/// deceive, who could as well write another value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum([Lane; 2]);

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

    #[inline]
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Keyed<'a> {
        Keyed {
            bytes,
            hash: rapidhash_v3_seeded(bytes, &self.secrets),
        }
    }

    /// The checksum of a value under a key.
    pub(super) fn checksum(&self, key: u64, value: &[u8], kind: u8) -> u32 {
        let mut sum = self.sum();
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

    /// The checksum of nothing yet.
    #[inline(always)]
    pub(super) const fn sum(&self) -> Sum {
        let (sum, sums) = (self.seed, !self.seed);
        Sum([Lane { sum, sums }; 2])
    }

    /// 16 bits as good as drawn by lot, which change whenever one of these does.
    pub(super) fn draw(&self, one: Position, other: Position) -> u64 {
        let (sum, _) = mix(one.to_u64() ^ other.to_u64().rotate_left(32) ^ self.seed);
        u64::from(sum) & 0xffff
    }

    /// What the first word of a record at this position has to bear.
    #[inline]
    pub(super) fn place_check(&self, position: Position, allotted: u64) -> u64 {
        let (sum, _) = mix(position.to_u64() ^ allotted.rotate_left(40) ^ self.seed);
        u64::from(sum) & 0xffff
    }
}

impl Sum {
    /// Takes a block of words; the last one is filled up with zeros.
    #[inline(always)]
    pub(super) fn take(&mut self, block: &[u64; BLOCK]) {
        for words in block.as_chunks::<2>().0 {
            for ((lane, word), turn) in self.0.iter_mut().zip(words).zip(TURNS) {
                lane.sum = lane.sum.wrapping_add(*word);
                lane.sums = lane.sums.rotate_left(turn).wrapping_add(lane.sum);
            }
        }
    }

    /// The checksum, once all `len` bytes were taken.
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

/// Both halves of a product, as one word.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // halves
const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Both halves of a thorough mixing of a word.
#[inline]
#[allow(clippy::cast_possible_truncation)] // halves
const fn mix(word: u64) -> (u32, u32) {
    let word = (word ^ (word >> 32)).wrapping_mul(SPREAD);
    let word = (word ^ (word >> 29)).wrapping_mul(SPREAD);
    ((word >> 32) as u32, word as u32)
}

impl Keyed<'_> {
    /// What the key's slots are tagged with; never 0.
    #[inline]
    pub(super) const fn fingerprint(&self) -> u64 {
        let fingerprint = (self.hash >> 8) & 0xffff;
        if fingerprint == 0 { 1 } else { fingerprint }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below the number of shards
    pub(super) const fn shard(&self, shards: usize) -> usize {
        self.hash as usize & (shards - 1)
    }

    /// The two buckets that the key may be in.
    #[inline]
    pub(super) const fn buckets(&self, buckets: usize) -> [usize; 2] {
        [
            reduce(self.hash >> 32, buckets),
            reduce(self.hash.wrapping_mul(SPREAD) >> 32, buckets),
        ]
    }
}

/// Brings 32 bits below `bound`.
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
    fn a_checksum_tells_of_every_bit() {
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
    fn a_checksum_tells_of_words_in_another_order_and_of_signs() {
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
    fn a_checksum_tells_of_length_key_and_kind() {
        let hashing = Hashing::new(7);
        let one = hashing.checksum(1, b"a\0", 0);
        assert_ne!(one, hashing.checksum(1, b"a", 0));
        assert_ne!(one, hashing.checksum(2, b"a\0", 0));
        assert_ne!(one, hashing.checksum(1, b"a\0", 1));
        assert_ne!(one, Hashing::new(8).checksum(1, b"a\0", 0));
    }
}
