//! What an entry of this process weighs.

use nearcache::local::RawCache;

/// The smallest chunk of glibc's allocator on 64 bits, and the step between sizes.
const MIN_CHUNK: usize = 32;
const CHUNK_STEP: usize = 16;
const CHUNK_HEADER: usize = 8;

/// Returns what an entry counts against `MAX_MEMORY`: its Python value, its slot, its bookkeeping and its key, in bytes.
pub(super) fn weight<V>(key: &[u8], value_size: u64) -> u64 {
    let key_chunk = (key.len() + CHUNK_HEADER)
        .next_multiple_of(CHUNK_STEP)
        .max(MIN_CHUNK);
    value_size + (RawCache::<V>::BOOKKEEPING + size_of::<V>() + key_chunk) as u64
}
