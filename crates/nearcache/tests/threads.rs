//! All operations in many threads at once, and a check of the invariants after them.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nearcache::local::{Batch, Cache};
use nearcache::{Eviction, SystemClock};

const THREADS: u64 = 8;
const ROUNDS: u64 = 20_000;

/// Generates the same pseudo-random numbers in every run.
struct Mix(u64);

impl Mix {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Makes a value that contains its key, so that a value of another key is detected.
fn value_of(key: u64, salt: u64) -> u64 {
    key << 32 | salt
}

fn hammer(cache: &Cache<u64>, seed: u64) {
    let mut mix = Mix(seed);
    for round in 0..ROUNDS {
        let number = mix.next(200);
        let key = number.to_le_bytes();
        let ttl = (mix.next(3) == 0).then(|| Duration::from_micros(mix.next(300)));
        match mix.next(12) {
            0..4 => assert!(cache.get(&key).is_none_or(|value| value >> 32 == number)),
            4..7 => cache.insert(&key, value_of(number, round), ttl).unwrap(),
            7 => drop(
                cache
                    .insert_if_absent(&key, value_of(number, round), ttl)
                    .unwrap(),
            ),
            8 => drop(cache.update(&key, |old| Ok::<_, Infallible>(value_of(old >> 32, round)))),
            9 => assert!(cache.remove(&key).is_none_or(|value| value >> 32 == number)),
            10 => drop(cache.touch(&key, ttl)),
            _ if mix.next(500) == 0 => cache.clear(),
            _ => assert!(cache.keys().all(|key| key.unwrap().len() == 8)),
        }
    }
}

fn all_operations_keep_the_invariants(eviction: Eviction, shards: usize, batch: Batch) {
    let cache = Cache::builder()
        .eviction(eviction)
        .shards(shards)
        .max_entries(100)
        .batch(batch)
        .build();
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let cache = &cache;
            scope.spawn(move || hammer(cache, seed));
        }
    });
    cache.raw().validate().unwrap();
    assert!(cache.len() <= 100, "{} entries", cache.len());
    assert!(cache.stats().insertions > ROUNDS);
}

#[test]
fn one_shard_keeps_its_invariants() {
    all_operations_keep_the_invariants(Eviction::Adaptive, 1, Batch::One);
    all_operations_keep_the_invariants(Eviction::Lru, 1, Batch::OneIn(3.try_into().unwrap()));
}

#[test]
fn many_shards_keep_their_invariants() {
    all_operations_keep_the_invariants(Eviction::Adaptive, 16, Batch::One);
    all_operations_keep_the_invariants(Eviction::Adaptive, 16, Batch::One);
    all_operations_keep_the_invariants(Eviction::Lru, 16, Batch::All);
}

#[test]
fn updates_are_counted_exactly() {
    let cache = Cache::builder().max_entries(10).build();
    cache.insert(b"n", 0_u64, None).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    assert!(cache.update(b"n", |n| Ok::<_, Infallible>(n + 1)).unwrap());
                }
            });
        }
    });
    assert_eq!(cache.get(b"n"), Some(THREADS * ROUNDS));
}

#[test]
fn an_update_never_mistakes_a_later_value_for_the_one_it_read() {
    // `clear` removes the value that was read, and another takes its slot. The sum must be of the second one.
    let cache = Cache::builder().max_entries(10).shards(1).build();
    cache.insert(b"n", 5, None).unwrap();
    let mut seen = Vec::new();
    cache
        .update(b"n", |n| {
            if seen.is_empty() {
                cache.clear();
                cache.insert(b"n", 100, None).unwrap();
            }
            seen.push(n);
            Ok::<_, Infallible>(n + 1)
        })
        .unwrap();
    assert_eq!((seen, cache.get(b"n")), (vec![5, 100], Some(101)));
}

#[test]
fn exactly_one_thread_inserts_a_key() {
    let cache = Cache::builder().build();
    let (winners, start) = (AtomicUsize::new(0), Barrier::new(8));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for key in 0..1000_u32 {
                    let inserted = cache.insert_if_absent(&key.to_le_bytes(), (), None).unwrap();
                    winners.fetch_add(usize::from(inserted), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(winners.into_inner(), 1000);
}

#[test]
fn iteration_returns_every_key_that_stays() {
    let cache = Cache::builder().shards(4).build();
    for key in 0..5000_u32 {
        cache.insert(&key.to_le_bytes(), (), None).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut key = 5000_u32;
            while !done.load(Ordering::Relaxed) {
                cache.insert(&key.to_le_bytes(), (), None).unwrap();
                cache.remove(&(key - 50).max(5000).to_le_bytes());
                key += 1;
            }
        });
        for _ in 0..20 {
            let stayed = cache
                .keys()
                .map(|key| u32::from_le_bytes((*key.unwrap()).try_into().unwrap()));
            let met: Vec<u32> = stayed.filter(|key| *key < 5000).collect();
            let distinct: HashSet<u32> = met.iter().copied().collect();
            assert_eq!((met.len(), distinct.len()), (5000, 5000));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn writes_wait_while_the_cache_is_frozen() {
    let cache = Cache::builder().shards(4).build();
    cache.insert(b"key", 1, None).unwrap();
    let arrived = AtomicBool::new(false);
    thread::scope(|scope| {
        let frozen = cache.raw().freeze();
        let writer = scope.spawn(|| {
            cache.insert(b"key", 2, None).unwrap();
            arrived.store(true, Ordering::SeqCst);
        });
        thread::sleep(Duration::from_millis(20));
        assert!(!arrived.load(Ordering::SeqCst));
        drop(frozen);
        writer.join().unwrap();
    });
    assert_eq!(cache.raw().get(b"key", &SystemClock), Some(2));
}
