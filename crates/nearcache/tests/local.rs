//! What the cache promises, one promise a test.
#![allow(clippy::unwrap_used)] // in helper code, as in tests

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nearcache::local::{Batch, Cache, Capacity, NewEntry, RawCache};
use nearcache::{Clock, Eviction, ManualClock, Rejected, Timestamp, UpdateError, WriteError};

const SECOND: Duration = Duration::from_secs(1);

fn with_clock<V: 'static>() -> (Cache<V, Arc<ManualClock>>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Cache::builder().clock(Arc::clone(&clock)).build(), clock)
}

#[test]
fn expired_entry_is_not_returned() {
    let (cache, clock) = with_clock();
    cache.insert(b"key", 1, Some(SECOND)).unwrap();
    clock.advance(Duration::from_micros(999_999));
    assert_eq!(cache.get(b"key"), Some(1));
    clock.advance(Duration::from_micros(1));
    assert_eq!(cache.get(b"key"), None);
    assert_eq!(cache.stats().expirations, 1);
}

#[test]
fn expired_entries_leave_without_being_read() {
    type Write = fn(&Cache<(), Arc<ManualClock>>);
    let writes: [(&str, Write); 4] = [
        ("insert", |cache| cache.insert(b"counter", (), None).unwrap()),
        ("update", |cache| {
            assert!(cache.update(b"counter", |()| Ok::<_, Infallible>(())).unwrap());
        }),
        ("touch", |cache| assert!(cache.touch(b"counter", None))),
        ("remove", |cache| assert!(cache.remove(b"nothing").is_none())),
    ];
    for (shards, (name, write)) in [1, 8]
        .into_iter()
        .flat_map(|shards| writes.map(|write| (shards, write)))
    {
        let clock = Arc::new(ManualClock::default());
        let cache = Cache::builder().shards(shards).clock(Arc::clone(&clock)).build();
        for key in 0..10_000_u32 {
            cache.insert(&key.to_le_bytes(), (), Some(SECOND)).unwrap();
        }
        cache.insert(b"counter", (), None).unwrap();
        clock.advance(SECOND);
        // One key is written all the while: the other shards are swept as well.
        for _ in 0..10_000 {
            write(&cache);
        }
        assert_eq!(cache.len(), 1, "{name}, {shards} shards");
        cache.raw().validate().unwrap();
    }
}

#[test]
fn touch_changes_the_expiry() {
    let (cache, clock) = with_clock();
    cache.insert(b"key", 1, Some(SECOND)).unwrap();
    assert!(cache.touch(b"key", Some(SECOND * 10)));
    clock.advance(SECOND * 5);
    assert_eq!(cache.get(b"key"), Some(1));
    assert!(cache.touch(b"key", None));
    assert_eq!(cache.expires_at(b"key"), Some(Timestamp::NEVER));
    assert!(
        cache.expire_at(b"key", clock.now()),
        "it was there, and is over at once"
    );
    assert!(!cache.touch(b"key", None));
}

#[test]
fn update_keeps_the_expiry() {
    let (cache, clock) = with_clock();
    cache.insert(b"key", 1, Some(SECOND)).unwrap();
    let expires_at = cache.expires_at(b"key");
    clock.advance(SECOND / 2);
    cache.update(b"key", |n| Ok::<_, Infallible>(n + 1)).unwrap();
    assert_eq!(cache.expires_at(b"key"), expires_at);
}

#[test]
fn failed_update_leaves_the_value() {
    let (cache, _) = with_clock();
    cache.insert(b"key", 1, None).unwrap();
    assert_eq!(
        cache.update(b"key", |_| Err("no")),
        Err(UpdateError::Function("no"))
    );
    assert_eq!(cache.get(b"key"), Some(1));
    assert_eq!(cache.update(b"other", |_| Err("not called")), Ok(false));
}

#[test]
fn an_update_that_overtakes_itself_ends() {
    let (cache, _) = with_clock();
    cache.insert(b"key", 1, None).unwrap();
    let updated = cache.update(b"key", |n| {
        cache.insert(b"key", n + 1, None).unwrap();
        Ok::<_, Infallible>(0)
    });
    assert_eq!(updated, Err(UpdateError::Overtaken { attempts: 10_000 }));
    assert_eq!(cache.get(b"key"), Some(10_001));
}

#[test]
fn too_large_a_value_is_rejected_and_takes_the_old_one_along() {
    let cache = Cache::builder()
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .build();
    cache.insert(b"key", 3, None).unwrap();
    cache.insert(b"other", 3, None).unwrap();
    assert_eq!(
        cache.insert(b"key", 11, None),
        Err(WriteError::Rejected(Rejected {
            weight: 11,
            capacity: 10
        }))
    );
    assert_eq!((cache.get(b"key"), cache.get(b"other")), (None, Some(3)));
    assert_eq!(
        cache.update(b"other", |_| Ok::<_, Infallible>(u64::MAX)),
        Err(UpdateError::Rejected(Rejected {
            weight: u64::MAX,
            capacity: 10
        }))
    );
    assert_eq!((cache.len(), cache.stats().rejections), (0, 2));
}

#[test]
fn a_grown_value_makes_room_for_itself_by_others() {
    let cache = Cache::builder()
        .max_weight(10)
        .weigher(|_, weight| *weight)
        .shards(1)
        .build();
    for key in [b"a", b"b", b"c"] {
        cache.insert(key, 3, None).unwrap();
    }
    cache.insert(b"a", 9, None).unwrap();
    assert_eq!((cache.get(b"a"), cache.len(), cache.weight()), (Some(9), 1, 9));
}

#[test]
fn least_recently_used_goes_first() {
    let cache = Cache::builder()
        .max_entries(3)
        .eviction(Eviction::Lru)
        .shards(1)
        .build();
    for key in [b"a", b"b", b"c"] {
        cache.insert(key, (), None).unwrap();
    }
    assert!(cache.get(b"a").is_some());
    assert!(cache.contains(b"b"), "and to look is no use");
    cache.insert(b"d", (), None).unwrap();
    let left: Vec<_> = [b"a", b"b", b"c", b"d"]
        .iter()
        .map(|key| cache.contains(*key))
        .collect();
    assert_eq!(left, [true, false, true, true]);
}

#[test]
fn a_batch_goes_before_the_write_that_finds_the_cache_full() {
    let batch = Batch::OneIn(3.try_into().unwrap());
    let cache = Cache::builder()
        .max_entries(9)
        .batch(batch)
        .eviction(Eviction::Lru)
        .shards(1)
        .build();
    let mut lens = Vec::new();
    for key in 0..12_u8 {
        cache.insert(&[key], (), None).unwrap();
        lens.push(cache.len());
    }
    assert_eq!(lens, [1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 8, 9]);
    let all = Cache::builder().max_entries(9).batch(Batch::All).build();
    for key in 0..12_u8 {
        all.insert(&[key], (), None).unwrap();
    }
    assert_eq!(all.len(), 3);
}

/// How many of 50 keys in use are there after a scan of 40 times what the cache holds; they are asked for once in every
/// so many keys of the scan.
fn kept_through_a_scan(eviction: Eviction, asked_every: u32) -> usize {
    let cache = Cache::builder()
        .max_entries(100)
        .eviction(eviction)
        .shards(1)
        .build();
    let ask_for_all = || {
        for key in 0..50_u32 {
            if cache.get(&key.to_le_bytes()).is_none() {
                cache.insert(&key.to_le_bytes(), (), None).unwrap();
            }
        }
    };
    (0..3).for_each(|_| ask_for_all());
    for key in 1000..5000_u32 {
        cache.insert(&key.to_le_bytes(), (), None).unwrap();
        if key % asked_every == 0 {
            ask_for_all();
        }
    }
    let kept = (0..50_u32).filter(|key| cache.contains(&key.to_le_bytes()));
    kept.count()
}

#[test]
fn scans_do_not_wash_out_what_is_used() {
    assert_eq!(kept_through_a_scan(Eviction::S3Fifo, u32::MAX), 50);
    assert_eq!(kept_through_a_scan(Eviction::Adaptive, 500), 50);
    assert_eq!(kept_through_a_scan(Eviction::Lru, 500), 0);
}

/// The share of requests that hit when so many keys are asked for in turn, time and again.
fn loop_hit_ratio(eviction: Eviction, keys: u32, entries: u64) -> f64 {
    let cache = Cache::builder()
        .max_entries(entries)
        .eviction(eviction)
        .shards(1)
        .build();
    for key in (0..100).flat_map(|_| 0..keys) {
        if cache.get(&key.to_le_bytes()).is_none() {
            cache.insert(&key.to_le_bytes(), (), None).unwrap();
        }
    }
    cache.stats().hit_ratio().unwrap()
}

#[test]
fn adaptive_policy_gets_its_share_of_a_loop() {
    // At best 0.1 of the requests can hit: the cache holds a tenth of the loop.
    assert!(loop_hit_ratio(Eviction::Lru, 1000, 100) < 0.001);
    assert!(loop_hit_ratio(Eviction::Adaptive, 1000, 100) > 0.06);
}

#[test]
fn adaptive_policy_follows_recency_where_there_is_nothing_else() {
    // First something that fills the main queue, so that the small one is small. Then every key is asked for twice, the
    // second time when 160 others have come between: a small queue of a tenth has forgotten it, LRU has not.
    let hit_ratio = |eviction| {
        let cache = Cache::builder()
            .max_entries(200)
            .eviction(eviction)
            .shards(1)
            .build();
        let before = (0..1200_u32).flat_map(|number| [number % 400; 3]);
        let then = (1000..50_000_u32).flat_map(|number| [number, number - 80]);
        for key in before.chain(then) {
            if cache.get(&key.to_le_bytes()).is_none() {
                cache.insert(&key.to_le_bytes(), (), None).unwrap();
            }
        }
        cache.stats().hit_ratio().unwrap()
    };
    let [lru, fixed, adaptive] = [Eviction::Lru, Eviction::S3Fifo, Eviction::Adaptive].map(hit_ratio);
    assert!(
        lru > 0.49 && fixed < 0.1 && adaptive > 0.9 * lru,
        "lru {lru}, fixed {fixed}, adaptive {adaptive}"
    );
}

#[test]
fn handles_with_limits_of_their_own_share_a_store() {
    let cache = RawCache::new(Eviction::S3Fifo, 1).unwrap();
    let entry = |value| NewEntry {
        value,
        weight: 1,
        expires_at: Timestamp::NEVER,
    };
    let now = Timestamp::from_unix_micros(0);
    let wide = Capacity {
        max_entries: 10,
        ..Capacity::UNBOUNDED
    };
    let narrow = Capacity {
        max_entries: 4,
        ..Capacity::UNBOUNDED
    };
    for key in 0..10_u8 {
        cache.insert(&[key], entry(key), &wide, &now).unwrap();
    }
    assert_eq!(cache.len(), 10);
    cache.insert(b"x", entry(99), &narrow, &now).unwrap();
    assert_eq!((cache.len(), cache.get(b"x", &now)), (4, Some(99)));
}

/// A value that uses the cache when it is dropped.
#[derive(Clone)]
struct Caller(#[allow(dead_code)] Arc<CallOnDrop>);

struct CallOnDrop {
    cache: Weak<Cache<Caller>>,
    calls: Arc<Mutex<u32>>,
}

impl Drop for CallOnDrop {
    fn drop(&mut self) {
        if let Some(cache) = self.cache.upgrade() {
            let _ = cache.get(b"key");
            cache.remove(b"another");
            *self.calls.lock().unwrap() += 1;
        }
    }
}

#[test]
fn values_are_dropped_unlocked() {
    let cache = Arc::new(Cache::builder().max_entries(2).shards(1).build());
    let calls = Arc::new(Mutex::new(0));
    let value = || {
        Caller(Arc::new(CallOnDrop {
            cache: Arc::downgrade(&cache),
            calls: Arc::clone(&calls),
        }))
    };
    cache.insert(b"key", value(), None).unwrap();
    cache.insert(b"key", value(), None).unwrap(); // replaces
    cache.insert(b"b", value(), None).unwrap();
    cache.insert(b"c", value(), None).unwrap(); // evicts
    cache.insert(b"d", value(), Some(Duration::ZERO)).unwrap(); // is dead on arrival
    drop(cache.remove(b"c"));
    cache.clear();
    assert_eq!((*calls.lock().unwrap(), cache.len()), (5, 0));
}

/// A value whose clone panics, which happens under the lock.
struct Bomb;

impl Clone for Bomb {
    fn clone(&self) -> Self {
        panic!("no second one");
    }
}

#[test]
fn a_panic_under_the_lock_empties_the_shard_and_no_more() {
    let cache = Cache::builder().shards(1).build();
    cache.insert(b"bomb", Bomb, None).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| cache.get(b"bomb")));
    assert!(result.is_err());
    assert!(!cache.contains(b"bomb"));
    cache.insert(b"bomb", Bomb, None).unwrap();
    assert!(cache.contains(b"bomb"));
    cache.raw().validate().unwrap();
}

#[test]
fn times_beyond_the_end_never_come() {
    let (cache, clock) = with_clock();
    cache.insert(b"key", 1, Some(Duration::MAX)).unwrap();
    assert_eq!(cache.expires_at(b"key"), Some(Timestamp::NEVER));
    clock.set(Timestamp::NEVER);
    assert_eq!(cache.get(b"key"), Some(1));
}

#[test]
fn keys_are_bytes() {
    let (cache, _) = with_clock();
    let long = vec![0xff; 1 << 16];
    for key in [&b""[..], b"\0", b"\0\0", &long] {
        cache.insert(key, key.len(), None).unwrap();
    }
    assert_eq!(cache.len(), 4);
    assert_eq!((cache.get(b""), cache.get(&long)), (Some(0), Some(1 << 16)));
}

#[test]
fn clones_share_their_entries() {
    let (cache, _) = with_clock();
    let other = cache.clone();
    cache.insert(b"key", 1, None).unwrap();
    assert_eq!(other.get(b"key"), Some(1));
}

#[test]
fn a_condition_may_use_the_cache() {
    let cache = Cache::builder().build();
    cache.insert(b"key", 1, None).unwrap();
    let removed = cache.remove_if(b"key", |_| cache.insert(b"other", 2, None).is_ok());
    assert_eq!((removed, cache.get(b"other")), (Some(1), Some(2)));
}

#[test]
fn a_condition_that_writes_its_own_key_never_holds() {
    let cache = Cache::builder().build();
    cache.insert(b"key", 1, None).unwrap();
    let removed = cache.remove_if(b"key", |value| cache.insert(b"key", value + 1, None).is_ok());
    assert_eq!(removed, None);
    assert!(cache.contains(b"key"));
}

#[test]
fn resetting_the_statistics_keeps_the_entries() {
    let cache = Cache::builder().build();
    cache.insert(b"key", 1, None).unwrap();
    assert_eq!(cache.get(b"key"), Some(1));
    std::thread::sleep(SECOND / 2);
    let before = cache.age();
    assert!(before >= SECOND / 2);
    cache.reset_stats();
    assert!(cache.age() < before);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.insertions, stats.entries), (0, 0, 1));
    assert_eq!(cache.get(b"key"), Some(1));
}
