//! Keys and checksums, hashed alike by every process that maps the file.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes with the file's seed.
#[derive(Clone, Debug)]
pub(super) struct Hashing {
    seed: u64,
    secrets: RapidSecrets,
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

    #[inline]
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> Keyed<'a> {
        Keyed {
            bytes,
            hash: rapidhash_v3_seeded(bytes, &self.secrets),
        }
    }

    /// The checksum of a value under a key.
    #[inline]
    pub(super) fn checksum(&self, key: u64, value: &[u8], tag: u8) -> u32 {
        let sum = rapidhash_v3_seeded(value, &self.secrets) ^ key.rotate_left(32) ^ u64::from(tag);
        mix(sum).0
    }

    /// What the first word of a record at this position has to bear.
    #[inline]
    pub(super) fn place_check(&self, position: u64, allotted: u64) -> u64 {
        let (sum, _) = mix(position ^ allotted.rotate_left(40) ^ self.seed);
        u64::from(sum) & 0xffff
    }
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
    pub(super) const fn tag(&self) -> u64 {
        let tag = (self.hash >> 8) & 0xffff;
        if tag == 0 { 1 } else { tag }
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
