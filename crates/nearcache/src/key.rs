//! Keys and their hashes in the local cache.
//!
//! Keys may contain users' input, so every cache has a seed of its own. An operation hashes its key once: the middle bits
//! choose the shard, the highest the index's bucket and the ghosts', the lowest are the fingerprints. Entries do not keep their
//! hash; it is computed again when an entry is removed or the index grows.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// The hash of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// Returns all bits.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the bits that choose the shard, in the lowest bits.
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

/// Hashes keys with a seed of its own. Clones have the same seed.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(RandomState);

impl KeyHasher {
    /// Hashes a key and returns both.
    pub(crate) fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key {
            bytes,
            hash: self.hash(bytes),
        }
    }

    /// Hashes a key.
    pub(crate) fn hash(&self, bytes: &[u8]) -> KeyHash {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        KeyHash(hasher.finish())
    }
}
