//! The work under a lock is bounded: it is the same in a file of 8 GB as in a small one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::support::{End, spawn, wait};
use crate::clock::SystemClock;
use crate::shared::SharedCache;
use crate::shared::adoption::boot_id;
use crate::shared::evict::PASSED_RECORDS;
use crate::shared::layout::{
    GEOMETRY_CHECK, Geometry, HEADER, MAIN, RECOUNT, SMALL, SWEEP, default_processes, geometry_check,
};
use crate::shared::mapped_words::AtomicU64;
use crate::shared::mapping::Mapping;
use crate::shared::position::Position;
use crate::shared::record::LEAD;
use crate::shared::recount::SLOTS_PER_WRITE;
use crate::shared::slot::{Slot, SlotState};
use crate::shared::writer::{MOVED_RECORDS, Writer};

const LARGE: u64 = 8 << 30;
const SEED: u64 = 5;

/// A sparse file of 8 GB.
struct Sparse(PathBuf);

impl Sparse {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nearcache-bounds-{}-{name}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.set_len(LARGE).unwrap();
        write_header(&file);
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Sparse {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn write_header(file: &File) {
    let described = Geometry::new(LARGE, default_processes(LARGE))
        .unwrap()
        .described();
    let mapping = Mapping::new(file, HEADER).unwrap();
    let header = described.into_iter().chain([SEED]).chain(boot_id());
    for (word, value) in mapping.words().iter().zip(header) {
        word.store(value, Ordering::Relaxed);
    }
    mapping.words()[GEOMETRY_CHECK].store(geometry_check(&described, SEED), Ordering::Relaxed);
}

fn keys_of_one_shard(cache: &SharedCache) -> impl Iterator<Item = Vec<u8>> {
    let hashing = cache.file().hashing.clone();
    let shards = cache.file().geometry.shards;
    (0..)
        .map(|number: u32| format!("key {number}").into_bytes())
        .filter(move |key| hashing.key(key).shard(shards) == 0)
}

/// Takes the lock of the first shard.
fn writer(cache: &SharedCache) -> Writer<'_, SystemClock> {
    let file = cache.file();
    file.lock_for(file.shard(0), &SystemClock, Duration::from_secs(1))
        .unwrap()
}

/// Lets a child die while it holds the lock of the first shard.
fn die_with_the_lock(cache: &SharedCache) {
    let child = spawn(|| {
        std::mem::forget(writer(cache));
    });
    assert_eq!(wait(child, 0), End::Exit(0));
}

#[test]
fn a_death_under_the_lock_costs_the_next_writer_a_slice_of_a_recount() {
    let sparse = Sparse::new("death");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let mut keys = keys_of_one_shard(&cache);
    let key = keys.next().unwrap();
    cache.insert(&key, b"value", None).unwrap();
    die_with_the_lock(&cache);
    cache.insert(&key, b"other", None).unwrap();
    assert_eq!(cache.stats().recoveries, 1);
    let next = || cache.file().shard(0).control[RECOUNT].load(Ordering::Relaxed);
    assert_eq!(
        next(),
        SLOTS_PER_WRITE as u64 + 1,
        "the next slot, plus one, is wrong"
    );
    // Later writers continue the recount.
    cache.insert(&key, b"third", None).unwrap();
    assert_eq!(next(), 2 * SLOTS_PER_WRITE as u64 + 1);
    // Changes of slots that were counted already change the sums.
    for key in keys.take(300) {
        cache.insert(&key, b"value", None).unwrap();
        if key.len().is_multiple_of(2) {
            cache.remove(&key).unwrap();
        }
    }
    assert_ne!(next(), 0, "the recount has ended");
}

#[test]
fn a_file_of_8_gb_is_opened_after_a_reboot_without_examining_entries() {
    let sparse = Sparse::new("reboot");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let keys: Vec<_> = keys_of_one_shard(&cache).take(200).collect();
    for key in &keys {
        cache.insert(key, b"value", None).unwrap();
    }
    drop(cache);
    let cache = {
        let builder = SharedCache::builder(sparse.path()).bytes(LARGE);
        builder.open_in([9, 9]).unwrap()
    };
    let shard = cache.file().shard(0);
    assert_ne!(
        shard.control[RECOUNT].load(Ordering::Relaxed),
        0,
        "all entries were examined"
    );
    assert!(keys.iter().all(|key| cache.contains(key)));
    // The lower half of the word is the next slot to examine, plus one.
    let next = || shard.control[RECOUNT].load(Ordering::Relaxed) & u64::from(u32::MAX);
    for slices in 1..5 {
        cache.insert(&keys[0], b"other", None).unwrap();
        assert!(
            next() <= slices * SLOTS_PER_WRITE as u64 + 1,
            "{} slots examined",
            next()
        );
    }
    assert_eq!(cache.get(&keys[0]).as_deref(), Some(&b"other"[..]));
    assert!(keys[1..].iter().all(|key| cache.contains(key)));
}

#[test]
fn a_write_sweeps_one_slot_also_after_a_clear() {
    let sparse = Sparse::new("sweep");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let keys: Vec<_> = keys_of_one_shard(&cache).take(201).collect();
    for key in &keys[..200] {
        cache.insert(key, b"value", None).unwrap();
    }
    let shard = cache.file().shard(0);
    let sweep = || shard.control[SWEEP].load(Ordering::Relaxed);
    let is_taken = |word: &&AtomicU64| word.load(Ordering::Relaxed) != 0;
    let taken = || shard.index.iter().filter(is_taken).count();
    assert_eq!((sweep(), taken()), (200, 200));
    cache.clear();
    cache.insert(&keys[200], b"value", None).unwrap();
    assert_eq!(sweep(), 201);
    // The new entry took an empty slot or a cleared one, and the sweep cleared one slot at most.
    assert!(taken() >= 199, "{} slots are left", taken());
    assert_eq!(cache.stats().counts.entries, 1);
}

/// Makes the first `words` words of a ring, which hold no records, lie between tail and head.
fn leave_damage(cache: &SharedCache, ring: usize, words: u64) {
    let control = cache.file().shard(0).control;
    control[ring].store(0, Ordering::Relaxed);
    control[ring + 1].store(words, Ordering::Relaxed);
}

#[test]
fn words_without_records_are_passed_in_bounded_steps() {
    let sparse = Sparse::new("damage");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let key = keys_of_one_shard(&cache).next().unwrap();
    let small = cache.file().geometry.small as u64;
    leave_damage(&cache, SMALL, small);
    let tail = || cache.file().shard(0).small.tail().since(Position::START);
    cache.insert(&key, b"value", None).unwrap();
    // Space for the record, and the reserve.
    assert!(tail() <= 3 * 4096, "{} words passed at once", tail());
    assert_eq!(cache.get(&key).as_deref(), Some(&b"value"[..]));
}

#[test]
fn space_for_a_large_value_is_made_in_slices() {
    let sparse = Sparse::new("large");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let mut keys = keys_of_one_shard(&cache);
    // Fill small with small records.
    let (small, limit) = (
        cache.file().geometry.small as u64,
        cache.file().shard(0).small.limit(),
    );
    for key in keys.by_ref().take(40_000) {
        cache.insert(&key, &[1; 40], None).unwrap();
    }
    let head = cache.file().shard(0).small.head().to_u64();
    let tail = head.saturating_sub(small);
    assert_eq!(tail, 0, "the tail has advanced already");
    let control = cache.file().shard(0).control;
    control[SMALL + 1].store(limit, Ordering::Relaxed);
    // A value of 1 MB needs more space than one slice makes.
    let key = keys.next().unwrap();
    let value = vec![7; 1 << 20];
    let ring = cache.file().shard(0).small;
    assert!(!writer(&cache).make_some_space(&ring, value.len() / 8));
    assert!(writer(&cache).make_some_space(&ring, 1) || ring.tail().to_u64() > 0);
    cache.insert(&key, &value, None).unwrap();
    assert_eq!(cache.get(&key), Some(value));
}

#[test]
fn a_bounded_number_of_entries_is_moved_to_make_space() {
    let sparse = Sparse::new("move");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    for key in keys_of_one_shard(&cache).take(40_000) {
        cache.insert(&key, &[1; 40], None).unwrap();
        // All entries have been read often enough to be moved to main.
        assert!((0..3).all(|_| cache.get(&key).is_some()));
    }
    let shard = cache.file().shard(0);
    shard.control[SMALL + 1].store(shard.small.limit(), Ordering::Relaxed);
    // Space for more small records than may be moved.
    writer(&cache).make_space(&shard.small, 2000 * LEAD);
    let is_moved = |word: &&AtomicU64| {
        let slot = Slot(word.load(Ordering::Relaxed));
        slot.state() == Some(SlotState::Protected)
    };
    assert_eq!(
        shard.index.iter().filter(is_moved).count(),
        MOVED_RECORDS as usize
    );
    assert_ne!(cache.stats().counts.evictions, 0);
}

#[test]
fn a_bounded_number_of_records_is_passed_to_find_space_in_main() {
    let sparse = Sparse::new("pass");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let keys: Vec<_> = keys_of_one_shard(&cache).take(20_000).collect();
    for key in &keys {
        cache.insert(key, &[1; 40], None).unwrap();
    }
    for key in &keys {
        cache.remove(key).unwrap();
    }
    // Both rings are full, and the records at their tails are unreferenced. Main is protected, so small is tried first.
    let shard = cache.file().shard(0);
    for (at, ring) in [(SMALL, shard.small), (MAIN, shard.main)] {
        shard.control[at + 1].store(ring.limit(), Ordering::Relaxed);
    }
    shard.control[MAIN + 3].store(shard.main.limit(), Ordering::Relaxed);
    let first = shard.main.record(Position::START).unwrap();
    let writer = writer(&cache);
    assert_eq!(writer.state_of_new(first.allotted), SlotState::Small);
    let passed = shard.main.tail().since(Position::START) / first.allotted as u64;
    assert_eq!(passed, PASSED_RECORDS as u64);
}

#[test]
fn a_check_of_a_large_index_lets_writers_in() {
    let sparse = Sparse::new("check");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let key = keys_of_one_shard(&cache).next().unwrap();
    // Every 64th slot is a ghost, which the check has to examine.
    let shard = cache.file().shard(0);
    for (at, word) in shard.index.iter().enumerate().step_by(64) {
        let position = Position::from_u64(at as u64 * 8 % cache.file().geometry.main as u64);
        word.store(
            Slot::pointing(1, SlotState::Ghost, 0, position).0,
            Ordering::Relaxed,
        );
    }
    shard.control[SWEEP].store(0, Ordering::Relaxed);
    let longest = std::thread::scope(|scope| {
        let check = scope.spawn(|| cache.validate().unwrap());
        let mut longest = Duration::ZERO;
        while !check.is_finished() {
            let start = Instant::now();
            cache.insert(&key, b"value", None).unwrap();
            longest = longest.max(start.elapsed());
        }
        check.join().unwrap();
        longest
    });
    assert!(longest < Duration::from_millis(500), "a write took {longest:?}");
}
