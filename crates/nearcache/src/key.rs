//! Keys and how they are hashed.
//!
//! Keys come from outside (users' input ends up in them), so the hash is seeded anew in every store. It is computed
//! once an operation, and split: the upper bits choose the shard, and the lower 32 stay with the entry as its
//! fingerprint, from which the shard's table is rebuilt when it grows and by which the ghost knows it again.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// The hash of a key: all that the tables know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// The part that an entry keeps.
    #[allow(clippy::cast_possible_truncation)] // the lower half is what is wanted
    pub(crate) const fn fingerprint(self) -> u32 {
        self.0 as u32
    }

    /// The part that chooses the shard, independent of the fingerprint.
    pub(crate) const fn shard_bits(self) -> u64 {
        self.0 >> 32
    }
}

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: KeyHash,
}

/// A fingerprint spread over 64 bits, as hash tables want it: they read the upper bits and the lower ones.
pub(crate) const fn spread(fingerprint: u32) -> u64 {
    (fingerprint as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Hashes keys with a seed of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(RandomState);

impl KeyHasher {
    pub(crate) fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        Key {
            bytes,
            hash: KeyHash(hasher.finish()),
        }
    }
}
