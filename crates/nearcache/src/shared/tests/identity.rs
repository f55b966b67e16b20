//! Stamps distinguish entries that differ only in their keys.

use std::collections::HashMap;
use std::mem::MaybeUninit;

use super::support::Scratch;
use crate::error::OutOfMemory;
use crate::shared::{NewEntry, SharedCache, Sink, Stamp};

const TEXTS: u64 = 1 << 18;

/// Opens a cache of two shards.
fn open(scratch: &Scratch) -> SharedCache {
    SharedCache::open(scratch.path(), 16 << 20).unwrap()
}

/// Returns a key of each shard.
fn keys(cache: &SharedCache) -> [Vec<u8>; 2] {
    [0, 1].map(|shard| {
        (0..10_000)
            .map(|number: u32| format!("key {number:08}").into_bytes())
            .find(|key| cache.file().hashing.key(key).shard(2) == shard)
            .unwrap()
    })
}

fn text(number: u64) -> Vec<u8> {
    format!("{number:0300}").into_bytes()
}

/// Returns two texts of the same length, whose checksums under the two keys are equal.
fn colliding_texts(cache: &SharedCache, keys: &[Vec<u8>; 2]) -> [Vec<u8>; 2] {
    let hashing = &cache.file().hashing;
    let checksum = |key: &[u8], text: &[u8]| hashing.checksum(hashing.key(key).hash, text, 0);
    let of_first: HashMap<u32, u64> = (0..TEXTS)
        .map(|number| (checksum(&keys[0], &text(number)), number))
        .collect();
    let (other, one) = (TEXTS..)
        .find_map(|number| {
            let one = of_first.get(&checksum(&keys[1], &text(number)))?;
            Some((number, *one))
        })
        .unwrap();
    [text(one), text(other)]
}

/// A sink that keeps the last value and recognises it by its stamp.
#[derive(Default)]
struct Keeper {
    kept: Option<(Stamp, Vec<u8>)>,
    stamp: Option<Stamp>,
    read: Vec<u8>,
}

#[allow(unsafe_code)]
impl Sink for Keeper {
    fn has_copy(&mut self, _kind: u8, _len: usize, stamp: &Stamp) -> bool {
        self.stamp = Some(*stamp);
        let kept = self.kept.as_ref().filter(|(of, _)| of == stamp);
        kept.is_some_and(|(_, value)| {
            self.read.clone_from(value);
            true
        })
    }

    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.read.buffer(kind, len)
    }

    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: `buffer` returned the buffer of `self.read`; the caller guarantees that it is filled.
        unsafe { self.read.filled(len) };
        self.kept = self.stamp.map(|stamp| (stamp, self.read.clone()));
    }
}

#[test]
fn entries_of_two_shards_with_equal_checksums_have_different_stamps() {
    let scratch = Scratch::new();
    let cache = open(&scratch);
    let keys = keys(&cache);
    let texts = colliding_texts(&cache, &keys);
    // Each is the first record of its shard: they have the same position, lengths and checksum.
    for (key, text) in keys.iter().zip(&texts) {
        cache.insert(key, text, None).unwrap();
    }
    let mut keeper = Keeper::default();
    for (key, text) in keys.iter().zip(&texts) {
        assert!(cache.get_into(key, &mut keeper).unwrap().is_some());
        assert_eq!(&keeper.read, text, "the value of the other key was returned");
    }
}

#[test]
fn a_touch_changes_the_stamp() {
    let scratch = Scratch::new();
    let clock = crate::ManualClock::default();
    clock.set(crate::Timestamp::from_unix_micros(1_700_000_000_000_000));
    let cache = open(&scratch).with_clock(&clock);
    let minute = std::time::Duration::from_secs(60);
    cache
        .insert_entry(
            b"key",
            NewEntry::new(b"old").expires_at(cache.expiry(Some(minute))),
        )
        .unwrap();
    let before = cache.peek(b"key").unwrap();
    assert_eq!(cache.peek(b"key").unwrap().stamp, before.stamp);
    // The clock has the same millisecond at both writes.
    assert!(cache.touch(b"key", Some(minute * 2)).unwrap());
    let entry = NewEntry::new(b"new").expires_at(before.expires_at);
    assert!(
        !cache
            .insert_entry_if_unchanged(b"key", entry, before.stamp)
            .unwrap(),
        "the new expiry would be lost"
    );
}
