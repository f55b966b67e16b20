//! Keys and how they are hashed.
//!
//! Keys come from outside (users' input ends up in them), so the hash is seeded anew in every store. It is computed
//! once an operation, and split: the middle bits choose the shard, all of them the place in the shard's table, and the
//! lowest and highest tell the ghost. It is not kept with the entry, but computed anew when that leaves or the table grows.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// The hash of a key: all that the tables know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// All of it.
    pub(crate) const fn whole(self) -> u64 {
        self.0
    }

    /// The part that chooses the shard, in its lowest bits.
    pub(crate) const fn shard_bits(self) -> u64 {
        self.0 >> 32
    }
}

#[cfg(test)]
impl From<u64> for KeyHash {
    fn from(hash: u64) -> Self {
        Self(hash)
    }
}

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: KeyHash,
}

/// Hashes keys with a seed of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(RandomState);

impl KeyHasher {
    pub(crate) fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key {
            bytes,
            hash: self.hash(bytes),
        }
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> KeyHash {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        KeyHash(hasher.finish())
    }
}
