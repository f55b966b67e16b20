//! How much work is done under a lock, in a file of 8 GB: as much as in a small one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::support::{End, spawn, wait};
use crate::clock::SystemClock;
use crate::shared::file::boot_id;
use crate::shared::index::{Kind, Slot};
use crate::shared::layout::{
    GEOMETRY_CHECK, Geometry, HAND, HEADER, RECOUNT, SMALL, default_processes, geometry_check,
};
use crate::shared::map::Map;
use crate::shared::position::Position;
use crate::shared::recount::SLOTS_A_WRITE;
use crate::shared::{NewEntry, SharedCache};

const LARGE: u64 = 8 << 30;
const SEED: u64 = 5;

/// A file of 8 GB, most of which is a hole.
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
    let map = Map::new(file, HEADER).unwrap();
    let header = described.into_iter().chain([SEED]).chain(boot_id());
    for (word, value) in map.words().iter().zip(header) {
        word.store(value, Ordering::Relaxed);
    }
    map.words()[GEOMETRY_CHECK].store(geometry_check(&described, SEED), Ordering::Relaxed);
}

fn keys_of_one_shard(cache: &SharedCache) -> impl Iterator<Item = Vec<u8>> {
    let hashing = cache.store().hashing.clone();
    let shards = cache.store().geometry.shards;
    (0..)
        .map(|number: u32| format!("key {number}").into_bytes())
        .filter(move |key| hashing.key(key).shard(shards) == 0)
}

/// A child that dies with the lock of the first shard in hand.
fn die_with_the_lock(cache: &SharedCache) {
    let child = spawn(|| {
        let store = cache.store();
        let held = store
            .lock_for(store.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        std::mem::forget(held);
    });
    assert_eq!(wait(child, 0), End::Exit(0));
}

#[test]
fn a_death_under_the_lock_costs_the_next_writer_a_slice() {
    let sparse = Sparse::new("death");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let mut keys = keys_of_one_shard(&cache);
    let key = keys.next().unwrap();
    cache.set(&key, NewEntry::new(b"value")).unwrap();
    die_with_the_lock(&cache);
    cache.set(&key, NewEntry::new(b"other")).unwrap();
    assert_eq!(cache.stats().recoveries, 1);
    let next = || cache.store().shard(0).control[RECOUNT].load(Ordering::Relaxed);
    assert_eq!(next(), SLOTS_A_WRITE as u64 + 1, "the next slot, plus one");
    // Later writers go on.
    cache.set(&key, NewEntry::new(b"third")).unwrap();
    assert_eq!(next(), 2 * SLOTS_A_WRITE as u64 + 1);
    // Entries that come and go in what was counted already change the sums.
    for key in keys.take(300) {
        cache.set(&key, NewEntry::new(b"value")).unwrap();
        if key.len().is_multiple_of(2) {
            cache.delete(&key).unwrap();
        }
    }
    assert_ne!(next(), 0, "the recount lasts");
}

#[test]
fn a_file_of_8_gb_is_opened_after_a_reboot_at_once() {
    let sparse = Sparse::new("reboot");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let keys: Vec<_> = keys_of_one_shard(&cache).take(200).collect();
    for key in &keys {
        cache.set(key, NewEntry::new(b"value")).unwrap();
    }
    drop(cache);
    let stores = {
        let builder = SharedCache::builder(sparse.path()).bytes(LARGE);
        builder.open_in([9, 9]).unwrap()
    };
    let shard = stores.store().shard(0);
    assert_ne!(
        shard.control[RECOUNT].load(Ordering::Relaxed),
        0,
        "no entry was looked at"
    );
    assert!(keys.iter().all(|key| stores.contains(key)));
    stores.set(&keys[0], NewEntry::new(b"other")).unwrap();
    assert_eq!(stores.get(&keys[0]).as_deref(), Some(&b"other"[..]));
    assert!(keys[1..].iter().all(|key| stores.contains(key)));
}

/// Has the tail of a ring point to a long stretch without records.
fn leave_damage(cache: &SharedCache, ring: usize, words: u64) {
    let control = cache.store().shard(0).control;
    control[ring].store(0, Ordering::Relaxed);
    control[ring + 1].store(words, Ordering::Relaxed);
}

#[test]
fn words_without_records_are_passed_in_slices() {
    let sparse = Sparse::new("damage");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let key = keys_of_one_shard(&cache).next().unwrap();
    let small = cache.store().geometry.small as u64;
    leave_damage(&cache, SMALL, small);
    let tail = || cache.store().shard(0).small.tail().since(Position::START);
    cache.set(&key, NewEntry::new(b"value")).unwrap();
    // The record's words, and the free space in front of the tail.
    assert!(tail() <= 3 * 4096, "{} words passed at once", tail());
    assert_eq!(cache.get(&key).as_deref(), Some(&b"value"[..]));
}

#[test]
fn room_for_a_large_value_is_made_in_slices() {
    let sparse = Sparse::new("large");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let mut keys = keys_of_one_shard(&cache);
    // Small is full of small records.
    let (small, limit) = (
        cache.store().geometry.small as u64,
        cache.store().shard(0).small.limit(),
    );
    for key in keys.by_ref().take(40_000) {
        cache.set(&key, NewEntry::new(&[1; 40])).unwrap();
    }
    let head = cache.store().shard(0).small.head().to_u64();
    let tail = head.saturating_sub(small);
    assert_eq!(tail, 0, "nothing was passed yet");
    let control = cache.store().shard(0).control;
    control[SMALL + 1].store(limit, Ordering::Relaxed);
    // A value of 1 MB needs more room than one slice makes.
    let key = keys.next().unwrap();
    let value = vec![7; 1 << 20];
    let keyed = cache.store().hashing.key(&key);
    let writer = || {
        let store = cache.store();
        store
            .lock_for(store.shard_of(&keyed), &SystemClock, Duration::from_secs(1))
            .unwrap()
    };
    let ring = cache.store().shard(0).small;
    assert!(!writer().make_some_room(&ring, value.len() / 8));
    assert!(writer().make_some_room(&ring, 1) || ring.tail().to_u64() > 0);
    cache.set(&key, NewEntry::new(&value)).unwrap();
    assert_eq!(cache.get(&key), Some(value));
}

#[test]
fn a_check_of_a_large_index_lets_writers_in() {
    let sparse = Sparse::new("check");
    let cache = SharedCache::open(sparse.path(), LARGE).unwrap();
    let key = keys_of_one_shard(&cache).next().unwrap();
    // All slots of the shard point to records that are none, so that each has to be looked at.
    let shard = cache.store().shard(0);
    for (at, word) in shard.index.iter().enumerate().step_by(64) {
        let position = Position::from_u64(at as u64 * 8 % cache.store().geometry.main as u64);
        word.store(Slot::pointing(1, Kind::Ghost, 0, position).0, Ordering::Relaxed);
    }
    shard.control[HAND].store(0, Ordering::Relaxed);
    let longest = std::thread::scope(|scope| {
        let check = scope.spawn(|| cache.validate().unwrap());
        let mut longest = Duration::ZERO;
        while !check.is_finished() {
            let start = Instant::now();
            cache.set(&key, NewEntry::new(b"value")).unwrap();
            longest = longest.max(start.elapsed());
        }
        check.join().unwrap();
        longest
    });
    assert!(
        longest < Duration::from_millis(500),
        "a write waited for {longest:?}"
    );
}
