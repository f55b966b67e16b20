//! Words of a file are changed at random while it is used. That may cause misses, but no crash, no endless loop and no
//! wrong value.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{Scratch, value, version};
use crate::shared::layout::HEADER;
use crate::shared::{ClaimRequest, NewEntry, SharedCache};

/// Long enough to be read, and short enough to expire.
const TTL: Option<Duration> = Some(Duration::from_millis(20));

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Uses the cache for a while. Writes may fail: a shard whose lock word was changed can be busy.
fn work(cache: &SharedCache, mut seed: u64, until: Instant) {
    while Instant::now() < until {
        let key = format!("key {}", random(&mut seed) % 500).into_bytes();
        let len = usize::try_from(random(&mut seed) % 2000).unwrap();
        let number = random(&mut seed);
        match random(&mut seed) % 12 {
            0..4 => {
                if let Some(found) = cache.get(&key) {
                    version(&key, &found);
                }
            }
            4 => drop(cache.remove(&key).ok()),
            5 => drop(cache.touch(&key, None).ok()),
            6 => {
                let mut found = Vec::new();
                if cache.get_stale_into(&key, &mut found).unwrap().is_some() {
                    version(&key, &found);
                }
            }
            7 => drop(cache.claim(&key, ClaimRequest::new(number).refresh()).ok()),
            8 => drop(cache.release(&key, number).ok()),
            9 => drop(
                cache
                    .try_get_or_insert_with(&key, TTL, || Ok::<_, ()>(value(&key, seed, len)))
                    .map(|found| version(&key, &found))
                    .ok(),
            ),
            10 => assert!(cache.keys().take(5000).all(|key| key.unwrap().len() < 65_536)),
            _ => {
                let value = value(&key, seed, len);
                let entry = NewEntry::new(&value).cost(Duration::from_nanos(number % 3));
                let entry = entry.expires_at(cache.expiry(TTL));
                cache
                    .insert_entry(&key, entry.stale_until(cache.expiry(None)))
                    .ok();
            }
        }
    }
}

fn storm(
    pick: impl Fn(&mut u64, usize) -> usize + Sync,
    change: impl Fn(&mut u64, u64) -> u64 + Sync,
    seed: u64,
) {
    let scratch = Scratch::new();
    // Nobody completes the flights that the workers claim.
    let cache = scratch.open().with_flight_timeout(Duration::from_millis(1));
    let done = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_millis(1500);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = seed;
            let words = cache.file().mapping.words();
            while !done.load(Ordering::Relaxed) {
                let at = pick(&mut seed, words.len());
                let changed = change(&mut seed, words[at].load(Ordering::Relaxed));
                words[at].store(changed, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(20));
            }
        });
        let workers: Vec<_> = (1..3)
            .map(|worker| {
                scope.spawn({
                    let cache = &cache;
                    move || work(cache, seed + worker, until)
                })
            })
            .collect();
        let outcomes: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
    });
    // After a clear, and with free locks, the cache works again.
    cache.clear();
    for shard in 0..cache.file().geometry.shards {
        cache.file().shard(shard).control[0].store(0, Ordering::Relaxed);
    }
    cache.insert(b"key", b"value", None).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    cache.validate().unwrap();
}

#[test]
fn any_word_may_be_replaced() {
    storm(
        |seed, words| usize::try_from(random(seed)).unwrap() % words,
        |seed, _| random(seed),
        11,
    );
}

#[test]
fn any_bit_may_flip() {
    storm(
        |seed, words| usize::try_from(random(seed)).unwrap() % words,
        |seed, word| word ^ (1 << (random(seed) % 64)),
        12,
    );
}

#[test]
fn control_words_and_slots_may_be_replaced() {
    // The last process slots and the beginning of the shard: lock, tails, heads, slots.
    let pick = |seed: &mut u64, _| HEADER + 64 * 32 + usize::try_from(random(seed)).unwrap() % 6000;
    storm(
        pick,
        |seed, word| {
            if random(seed).is_multiple_of(2) {
                random(seed)
            } else {
                word ^ (1 << (random(seed) % 64))
            }
        },
        13,
    );
    let control = |seed: &mut u64, _| HEADER + 64 * 32 + 16 + usize::try_from(random(seed)).unwrap() % 20;
    storm(
        control,
        |seed, word| {
            if random(seed).is_multiple_of(2) {
                random(seed)
            } else {
                word ^ (1 << (random(seed) % 64))
            }
        },
        14,
    );
}
