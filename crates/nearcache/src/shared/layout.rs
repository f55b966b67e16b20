//! The layout of a cache file: where each word is. `docs/design/shared.md` draws it.
//!
//! The geometry follows from the file's size and its number of process slots. It is computed with checked arithmetic when
//! the file is opened, and each process keeps its own copy. The description in the header is only compared with it, so a
//! damaged header cannot lead to an access outside the mapping.
//!
//! All constants are indexes or sizes in words, unless their names or comments say bytes.

/// The first word of the file. It identifies a cache file and its byte order.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"NEARCACH");
/// The version of the format. A file of another version is replaced.
pub(super) const VERSION: u64 = 5;

/// The size of a word in bytes.
pub(super) const WORD: usize = 8;
pub(super) const HEADER: usize = 512;
pub(super) const PROCESSES: usize = 3;
pub(super) const SEED: usize = 8;
pub(super) const BOOT: usize = 9;
pub(super) const GEOMETRY_CHECK: usize = 11;
pub(super) const EPOCH: usize = 16;
pub(super) const SINCE: usize = 24;
pub(super) const BASELINE: usize = 32;

/// The size of a process slot.
pub(super) const PROCESS: usize = 64;
pub(super) const PROCESS_GENERATION: usize = 0;
pub(super) const PROCESS_PID: usize = 1;
pub(super) const PROCESS_COUNTERS: usize = 8;
/// The counters of hits and misses. Each stripe is a cache line; the threads of the process are spread over the stripes.
pub(super) const PROCESS_READS: usize = 32;
pub(super) const READ_STRIPES: usize = 4;
pub(super) const READ_STRIPE: usize = 8;

/// The size of a shard's control words.
pub(super) const SHARD: usize = 64;
pub(super) const LOCK: usize = 0;
pub(super) const SHARD_EPOCH: usize = 8;
/// The slot whose record is being copied over itself; 0 if there is none.
pub(super) const MOVING: usize = 9;
/// How often a check found wrong counts.
pub(super) const MISCOUNTS: usize = 10;
pub(super) const SMALL: usize = 16;
pub(super) const MAIN: usize = 24;
pub(super) const ENTRIES: usize = 32;
/// The next index slot that the sweep examines.
pub(super) const SWEEP: usize = 33;
/// The words of all records that were ever replaced by ghosts.
pub(super) const GHOST_CLOCK: usize = 34;
/// The state of a recount and its four sums: see `recount.rs`.
pub(super) const RECOUNT: usize = 35;
/// Hints to free space in the main ring, up to the end of the control words: see `free_space.rs`.
pub(super) const FREE_SPACE: usize = 40;

/// The slots of an index bucket. A bucket is a cache line.
pub(super) const BUCKET: usize = 8;

/// The size of a page in bytes.
const PAGE: u64 = 4096;
/// The size of the smallest file in bytes: 1 MiB.
pub const MIN_BYTES: u64 = 1 << 20;
/// The size of the largest file in bytes: 1 TiB.
pub const MAX_BYTES: u64 = 1 << 40;
/// The largest number of processes that one file can have slots for: 16,384.
// A lock word has 15 bits for the slot.
pub const MAX_PROCESSES: usize = 1 << 14;
const DEFAULT_PROCESSES: std::ops::RangeInclusive<u64> = 64..=1024;
/// The process slots may take one byte of so many in the file.
const PROCESSES_SHARE: u64 = 4;
/// The smallest size of a shard, if the file has several.
const SHARD_BYTES: u64 = 8 << 20;
/// With more shards, a shard, and so the largest value, would be smaller than an eighth of the file.
const MAX_SHARDS: u64 = 8;
/// The index takes one word of so many in a shard.
const INDEX_SHARE: usize = 20;
/// A record stores the number of its slot in 24 bits.
const MAX_SLOTS: usize = 1 << 24;
/// The small queue takes one word of so many in the two rings.
const SMALL_SHARE: usize = 10;
/// A record stores its size in 24 bits.
const MAX_RECORD: usize = (1 << 24) - 1;

/// Returns how many process slots a file of this size has by default: one for each 64 KiB, but 64 to 1,024.
#[must_use]
pub fn default_processes(bytes: u64) -> usize {
    let processes = (bytes >> 16).clamp(*DEFAULT_PROCESSES.start(), *DEFAULT_PROCESSES.end());
    usize::try_from(processes).unwrap_or(MAX_PROCESSES)
}

/// Returns how many process slots a file of this size can have.
pub(super) fn most_processes(bytes: u64) -> usize {
    let slot = (PROCESS * WORD) as u64;
    usize::try_from(bytes / PROCESSES_SHARE / slot).map_or(MAX_PROCESSES, |most| most.min(MAX_PROCESSES))
}

/// How a file is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) bytes: u64,
    pub(super) words: usize,
    pub(super) processes: usize,
    pub(super) shards: usize,
    /// The index buckets of a shard.
    pub(super) buckets: usize,
    /// The words of a shard's small ring.
    pub(super) small: usize,
    /// The words of a shard's main ring.
    pub(super) main: usize,
}

impl Geometry {
    /// Computes the geometry of a file of this size, rounded down to whole pages; returns `None` if the size or the number
    /// of process slots is too small or too large.
    pub(super) fn new(bytes: u64, processes: usize) -> Option<Self> {
        let bytes = bytes - bytes % PAGE;
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes) || !(1..=most_processes(bytes)).contains(&processes) {
            return None;
        }
        let words = usize::try_from(bytes).ok()? / WORD;
        let shards = 1_usize << (bytes / SHARD_BYTES).clamp(1, MAX_SHARDS).ilog2();
        let shard = (words - HEADER - processes * PROCESS) / shards / BUCKET * BUCKET;
        let buckets = (shard / INDEX_SHARE).min(MAX_SLOTS) / BUCKET;
        let rings = shard - SHARD - buckets * BUCKET;
        let small = rings / SMALL_SHARE;
        Some(Self {
            bytes,
            words,
            processes,
            shards,
            buckets,
            small,
            main: rings - small,
        })
    }

    /// Returns the words of the header that describe the geometry.
    pub(super) fn described(&self) -> [u64; 8] {
        let word = |n: usize| n as u64;
        [
            MAGIC,
            VERSION,
            self.bytes,
            word(self.processes),
            word(self.shards),
            word(self.buckets),
            word(self.small),
            word(self.main),
        ]
    }

    /// Returns the number of slots in a shard's index.
    pub(super) const fn slots(&self) -> usize {
        self.buckets * BUCKET
    }

    /// Returns the index of a process slot's first word.
    pub(super) const fn process(&self, slot: usize) -> usize {
        HEADER + slot * PROCESS
    }

    /// Returns the number of words of a shard.
    pub(super) const fn shard_words(&self) -> usize {
        SHARD + self.slots() + self.small + self.main
    }

    /// Returns the index of a shard's first word.
    pub(super) const fn shard(&self, shard: usize) -> usize {
        self.process(self.processes) + shard * self.shard_words()
    }

    /// Returns the size of the largest record in words. It leaves space for other records in the main ring.
    pub(super) fn max_record(&self) -> usize {
        (self.main / 8 * 5).min(MAX_RECORD)
    }
}

/// Returns the check word of a file's description and seed.
pub(super) fn geometry_check(described: &[u64; 8], seed: u64) -> u64 {
    described.iter().fold(seed, |sum, word| {
        (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::lock::Owner;

    #[test]
    fn every_geometry_fits_its_file() {
        for bytes in (20..=40).flat_map(|bits| [1_u64 << bits, (1 << bits) + 12_345, (3 << bits) / 2]) {
            for processes in [1, default_processes(bytes), most_processes(bytes)] {
                let Some(geometry) = Geometry::new(bytes, processes) else {
                    assert!(bytes > MAX_BYTES);
                    continue;
                };
                let end = geometry.shard(geometry.shards);
                assert!(end <= geometry.words, "{geometry:?}");
                assert!(geometry.words - end < 64, "words are wasted: {geometry:?}");
                assert!(geometry.shards.is_power_of_two() && geometry.slots() <= MAX_SLOTS);
                assert_eq!(
                    geometry.shard(0) % BUCKET,
                    0,
                    "buckets are not aligned to cache lines"
                );
            }
        }
    }

    #[test]
    fn process_slots_take_a_quarter_of_the_file_at_most_and_fit_a_lock_word() {
        for (bytes, most) in [(1 << 20, 512), (4 << 20, 2048), (1 << 30, MAX_PROCESSES)] {
            assert!(Geometry::new(bytes, most).is_some());
            assert!(Geometry::new(bytes, most + 1).is_none() && Geometry::new(bytes, 0).is_none());
        }
        let last = Owner::new(MAX_PROCESSES - 1, 1);
        assert_eq!(last.slot(), Some(MAX_PROCESSES - 1));
    }

    #[test]
    fn a_sixteenth_of_the_file_fits_into_one_record() {
        for bytes in [1 << 20, 16 << 20, 64 << 20, 1 << 30] {
            let geometry = Geometry::new(bytes, default_processes(bytes)).unwrap();
            assert!(
                (geometry.max_record() * WORD) as u64 > bytes / 16 + 65_536 / 16,
                "{geometry:?}"
            );
        }
    }
}
