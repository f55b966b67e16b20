//! Where everything lies in the file: see `docs/design/shared.md`, which draws it.
//!
//! The geometry follows from the file's size and the number of its process slots. It is computed once, with checked
//! arithmetic, and kept privately; the header's description of it is only compared.

/// The first word: which file it is, and in which byte order.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"NEARCACH");
/// Another version's file is replaced, not read.
pub(super) const VERSION: u64 = 3;

pub(super) const WORD: usize = 8;
pub(super) const HEADER: usize = 512;
pub(super) const PROCESSES: usize = 3;
pub(super) const SEED: usize = 8;
pub(super) const BOOT: usize = 9;
pub(super) const GEOMETRY_CHECK: usize = 11;
pub(super) const EPOCH: usize = 16;
pub(super) const SINCE: usize = 24;
pub(super) const BASELINE: usize = 32;

pub(super) const PROCESS: usize = 64;
pub(super) const PROCESS_GENERATION: usize = 0;
pub(super) const PROCESS_PID: usize = 1;
pub(super) const PROCESS_COUNTERS: usize = 8;
/// The counters of reads: stripes of a cache line each, among which the process's threads are spread.
pub(super) const PROCESS_READS: usize = 32;
pub(super) const READ_STRIPES: usize = 4;
pub(super) const READ_STRIPE: usize = 8;

pub(super) const SHARD: usize = 64;
pub(super) const LOCK: usize = 0;
pub(super) const SHARD_EPOCH: usize = 8;
/// The slot whose record is being copied over itself; 0 for none.
pub(super) const MOVING: usize = 9;
/// How often a check found the counts wrong.
pub(super) const MISCOUNTS: usize = 10;
pub(super) const SMALL: usize = 16;
pub(super) const MAIN: usize = 24;
pub(super) const ENTRIES: usize = 32;
pub(super) const HAND: usize = 33;
pub(super) const HAUNTED: usize = 34;
/// The recount's state and its four sums: see `recount.rs`.
pub(super) const RECOUNT: usize = 35;
/// From here to the index.
pub(super) const HOLES: usize = 40;

pub(super) const BUCKET: usize = 8;

const PAGE: u64 = 4096;
/// The smallest file.
pub const MIN_BYTES: u64 = 1 << 20;
/// The largest file.
pub const MAX_BYTES: u64 = 1 << 40;
/// The most processes that one file can have slots for: a lock word has 15 bits for the slot.
pub const MAX_PROCESSES: usize = 1 << 14;
const DEFAULT_PROCESSES: std::ops::RangeInclusive<u64> = 64..=1024;
/// The process slots may take one of so many bytes of the file.
const PROCESSES_SHARE: u64 = 4;
const SHARD_BYTES: u64 = 8 << 20;
/// More would make a shard, and with it the largest value, less than an eighth of the file.
const MAX_SHARDS: u64 = 8;
/// One of so many words of a shard is the index's.
const INDEX_SHARE: usize = 20;
/// A record tells its slot in 24 bits.
const MAX_SLOTS: usize = 1 << 24;
const SMALL_SHARE: usize = 10;
/// A record tells its words in 24 bits.
const MAX_RECORD: usize = (1 << 24) - 1;

/// How many processes a file of this size has slots for by default: one for each 64 KiB, from 64 to 1,024.
#[must_use]
pub fn default_processes(bytes: u64) -> usize {
    let processes = (bytes >> 16).clamp(*DEFAULT_PROCESSES.start(), *DEFAULT_PROCESSES.end());
    usize::try_from(processes).unwrap_or(MAX_PROCESSES)
}

/// How many processes a file of this size can have slots for.
pub(super) fn most_processes(bytes: u64) -> usize {
    let slot = (PROCESS * WORD) as u64;
    usize::try_from(bytes / PROCESSES_SHARE / slot).map_or(MAX_PROCESSES, |most| most.min(MAX_PROCESSES))
}

/// How a file is divided, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) bytes: u64,
    pub(super) words: usize,
    pub(super) processes: usize,
    pub(super) shards: usize,
    pub(super) buckets: usize,
    pub(super) small: usize,
    pub(super) main: usize,
}

impl Geometry {
    /// For a file of so many bytes, rounded down to whole pages, with so many process slots; `None` if either is too small
    /// or too large.
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

    /// The header's words that describe it.
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

    /// The slots of a shard's index.
    pub(super) const fn slots(&self) -> usize {
        self.buckets * BUCKET
    }

    pub(super) const fn process(&self, slot: usize) -> usize {
        HEADER + slot * PROCESS
    }

    pub(super) const fn shard_words(&self) -> usize {
        SHARD + self.slots() + self.small + self.main
    }

    pub(super) const fn shard(&self, shard: usize) -> usize {
        self.process(self.processes) + shard * self.shard_words()
    }

    /// The words of the largest record: it has to leave main some room beside it.
    pub(super) fn max_record(&self) -> usize {
        (self.main / 8 * 5).min(MAX_RECORD)
    }
}

/// What the seed and the description of the file hash to.
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
                assert!(geometry.words - end < 64, "nothing is wasted: {geometry:?}");
                assert!(geometry.shards.is_power_of_two() && geometry.slots() <= MAX_SLOTS);
                assert_eq!(geometry.shard(0) % BUCKET, 0, "buckets are cache lines");
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
