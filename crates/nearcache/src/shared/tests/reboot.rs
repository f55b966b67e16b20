//! Adoption of damaged files: pages of different times, as a power cut leaves them, and arbitrary control words.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::Ordering;

use super::support::{BYTES, Scratch, value, version};
use crate::shared::SharedCache;
use crate::shared::layout::{LOCK, MAIN, SHARD, SHARD_EPOCH, SMALL};
use crate::shared::mapped_words::AtomicU64;
use crate::shared::slot::{Queue, Slot, SlotState};

const PAGE: usize = 4096;
const KEYS: u64 = 400;

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn name(number: u64) -> Vec<u8> {
    format!("key {}", number % KEYS).into_bytes()
}

fn opened_in(scratch: &Scratch, boot: u64) -> SharedCache {
    SharedCache::builder(scratch.path())
        .bytes(BYTES)
        .open_in([boot, 1])
        .unwrap()
}

/// Inserts and removes at random, and records the latest version of each key.
fn work(cache: &SharedCache, seed: &mut u64, count: u64, latest: &mut HashMap<Vec<u8>, Option<u64>>) {
    for _ in 0..count {
        let key = name(random(seed));
        if random(seed).is_multiple_of(8) {
            cache.remove(&key).unwrap();
            latest.insert(key, None);
        } else {
            let version = latest.len() as u64 + random(seed) % 1_000_000;
            let len = usize::try_from(random(seed) % 3000).unwrap();
            cache.insert(&key, &value(&key, version, len), None).unwrap();
            latest.insert(key, Some(version));
        }
    }
}

/// Checks that each key that was written since the reboot has its latest value or none.
fn check(cache: &SharedCache, since: &HashMap<Vec<u8>, Option<u64>>) {
    for number in 0..KEYS {
        let key = name(number);
        let Some(found) = cache.get(&key) else {
            continue;
        };
        let found = version(&key, &found);
        if let Some(latest) = since.get(&key) {
            assert_eq!(Some(found), *latest, "{}", String::from_utf8_lossy(&key));
        }
    }
}

#[test]
fn pages_of_different_times_never_restore_an_old_value() {
    let rounds = std::env::var("NEARCACHE_REBOOT_ROUNDS");
    for round in 1..=rounds.map_or(12, |rounds| rounds.parse::<u64>().unwrap()) {
        let seed = &mut round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let scratch = Scratch::new();
        let cache = opened_in(&scratch, 1);
        let mut before = HashMap::new();
        work(&cache, seed, 3000, &mut before);
        let old = fs::read(scratch.path()).unwrap();
        let more = random(seed) % 3000;
        work(&cache, seed, more, &mut before);
        drop(cache);
        let mut mixed = fs::read(scratch.path()).unwrap();
        let (share, pages) = (2 + random(seed) % 6, mixed.len() / PAGE);
        for page in 1..pages {
            if random(seed).is_multiple_of(share) {
                let range = page * PAGE..(page + 1) * PAGE;
                mixed[range.clone()].copy_from_slice(&old[range]);
            }
        }
        fs::write(scratch.path(), &mixed).unwrap();
        let cache = opened_in(&scratch, 2);
        let mut since = HashMap::new();
        for _ in 0..20 {
            check(&cache, &since);
            work(&cache, seed, 120, &mut since);
        }
        check(&cache, &since);
        cache
            .validate()
            .unwrap_or_else(|broken| panic!("round {round}: {broken}"));
        check(&cache, &since);
    }
}

#[test]
fn a_long_key_that_is_in_the_index_twice_does_not_restore_an_old_value() {
    let scratch = Scratch::new();
    let cache = opened_in(&scratch, 1);
    let key = vec![b'k'; 2000];
    cache.insert(&key, &value(&key, 1, 100), None).unwrap();
    let index = cache.file().shard(0).index;
    let is_taken = |word: &&AtomicU64| word.load(Ordering::Relaxed) != 0;
    let first = index.iter().find(is_taken).unwrap();
    // Another entry takes the slot, so that the key gets a second slot. The page with that change does not reach the disk.
    let old = first.swap(Slot::new(1, SlotState::Ghost, 0, 0).0, Ordering::Relaxed);
    cache.insert(&key, &value(&key, 2, 100), None).unwrap();
    assert_eq!(index.iter().filter(is_taken).count(), 2);
    first.store(old, Ordering::Relaxed);
    drop(cache);
    let cache = opened_in(&scratch, 2);
    // Completes the scrub.
    cache.validate().unwrap();
    cache.insert(&key, &value(&key, 3, 100), None).unwrap();
    cache.remove(&key).unwrap();
    assert_eq!(cache.get(&key), None);
}

#[test]
fn a_record_that_crosses_the_head_is_not_overwritten() {
    let scratch = Scratch::new();
    let cache = opened_in(&scratch, 1);
    let insert = |cache: &SharedCache, key: &[u8], len| cache.insert(key, &value(key, 1, len), None).unwrap();
    (0..300).for_each(|number| insert(&cache, &name(number), 8000));
    // The page with tail and head on the disk is older than the records.
    let old = [MAIN, MAIN + 1].map(|at| control(&cache)[at].load(Ordering::Relaxed));
    (300..KEYS).for_each(|number| insert(&cache, &name(number), 8000));
    for (at, word) in [MAIN, MAIN + 1].into_iter().zip(old) {
        control(&cache)[at].store(word, Ordering::Relaxed);
    }
    drop(cache);
    let cache = opened_in(&scratch, 2);
    let shard = cache.file().shard(0);
    let crosses = |at: &usize| {
        let slot = Slot(shard.index[*at].load(Ordering::Relaxed));
        let position = Some(slot).filter(|slot| slot.state().and_then(SlotState::queue) == Some(Queue::Main));
        let position = position.and_then(|slot| shard.main.position(slot));
        let record = position.and_then(|position| shard.main.record(position));
        record.is_some_and(|record| record.allotted as u64 > shard.main.max_words_at(record.position))
    };
    let at = (0..shard.index.len()).find(crosses).unwrap();
    let key = shard.key_at(at, |_| true).unwrap().unwrap();
    insert(&cache, b"new", 30_000);
    insert(&cache, &key, 7990);
    assert_eq!(cache.get(b"new"), Some(value(b"new", 1, 30_000)));
    assert_eq!(cache.get(&key), Some(value(&key, 1, 7990)));
    cache.validate().unwrap();
}

#[test]
fn slots_that_point_beyond_the_head_are_cleared_although_the_cache_is_cleared() {
    let scratch = Scratch::new();
    let cache = opened_in(&scratch, 1);
    let shard = cache.file().shard(0);
    // The page of the index is newer than the page of the head. The adoption moves the head a whole ring beyond the tail.
    let beyond = shard.main.tail().advanced(shard.main.capacity() + 100);
    let slot = Slot::pointing(7, SlotState::Protected, 0, beyond);
    shard.index[3000].store(slot.0, Ordering::Relaxed);
    drop(cache);
    let cache = opened_in(&scratch, 2);
    cache.clear();
    for number in 0..200 {
        let key = name(number);
        cache.insert(&key, &value(&key, number, 300), None).unwrap();
    }
    assert!(cache.file().shard(0).main.position(slot).is_some());
    cache.validate().unwrap();
}

#[test]
fn all_entries_survive_a_reboot_if_all_pages_were_written() {
    let scratch = Scratch::new();
    let cache = opened_in(&scratch, 1);
    for number in 0..200 {
        let key = name(number);
        cache.insert(&key, &value(&key, number, 500), None).unwrap();
    }
    drop(cache);
    for boot in 2..5 {
        let cache = opened_in(&scratch, boot);
        for number in 0..200 {
            let key = name(number);
            assert_eq!(version(&key, &cache.get(&key).unwrap()), number);
        }
        // New entries evict old ones one by one.
        for number in 200..220 {
            cache
                .insert(&name(number), &value(&name(number), number, 500), None)
                .unwrap();
        }
        let kept = (0..200).filter(|number| cache.contains(&name(*number))).count();
        assert!(kept >= 170, "{kept} of 200 are left");
        let report = cache.validate().unwrap();
        assert!(report.gap_bytes > 0, "the ring was not full");
        for number in 0..200 {
            let key = name(number);
            cache.insert(&key, &value(&key, number, 500), None).unwrap();
        }
    }
}

/// Returns the control words of the first shard.
fn control(cache: &SharedCache) -> &[AtomicU64] {
    let start = cache.file().geometry.shard(0);
    &cache.file().mapping.words()[start..][..SHARD]
}

#[test]
fn files_with_arbitrary_heads_and_tails_are_usable() {
    let odd = [
        0,
        1,
        7,
        1 << 44,
        (1 << 44) - 1,
        1 << 62,
        (1 << 62) - 1,
        1 << 63,
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 5_000,
        u64::MAX - 100_000,
    ];
    let mut boot = 1;
    for (tail, head) in odd.iter().flat_map(|tail| odd.map(|head| (*tail, head))) {
        let scratch = Scratch::new();
        let cache = opened_in(&scratch, boot);
        for number in 0..KEYS {
            cache
                .insert(&name(number), &value(&name(number), number, 300), None)
                .unwrap();
        }
        for ring in [SMALL, MAIN] {
            control(&cache)[ring].store(tail, Ordering::Relaxed);
            control(&cache)[ring + 1].store(head, Ordering::Relaxed);
        }
        // The file is in use. Former entries may lie between tail and head again, but only complete ones.
        work(&cache, &mut (tail ^ head ^ 5), 500, &mut HashMap::new());
        check(&cache, &HashMap::new());
        drop(cache);
        boot += 1;
        let cache = opened_in(&scratch, boot);
        let mut since = HashMap::new();
        work(&cache, &mut (tail ^ head ^ 9), 500, &mut since);
        check(&cache, &since);
        cache.validate().unwrap();
    }
}

#[test]
fn a_ring_that_crosses_the_largest_position_is_emptied() {
    let scratch = Scratch::new();
    let cache = opened_in(&scratch, 1);
    let words = cache.file().geometry.main as u64;
    // Tail and head around 2^64, with no valid record between them.
    for ring in [SMALL, MAIN] {
        let words = if ring == SMALL {
            cache.file().geometry.small as u64
        } else {
            words
        };
        control(&cache)[ring].store(u64::MAX - words / 2, Ordering::Relaxed);
        control(&cache)[ring + 1].store(words / 4, Ordering::Relaxed);
    }
    drop(cache);
    let cache = opened_in(&scratch, 2);
    cache.insert(b"key", b"value", None).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    assert!(cache.file().shard(0).main.head().to_u64() < 1 << 62);
    cache.validate().unwrap();
}

#[test]
fn files_with_arbitrary_control_words_are_usable() {
    let scratch = Scratch::new();
    let mut seed = 77;
    for boot in 1..150 {
        let cache = opened_in(&scratch, boot);
        work(&cache, &mut seed, 100, &mut HashMap::new());
        for word in control(&cache).iter().skip(LOCK + 1) {
            if random(&mut seed).is_multiple_of(4) {
                word.store(random(&mut seed) >> (random(&mut seed) % 64), Ordering::Relaxed);
            }
        }
        let epoch = cache.file().epoch().load(Ordering::Relaxed);
        control(&cache)[SHARD_EPOCH].store(epoch, Ordering::Relaxed);
        work(&cache, &mut seed, 100, &mut HashMap::new());
        check(&cache, &HashMap::new());
    }
}
