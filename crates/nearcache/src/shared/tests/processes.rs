//! Stopped and killed owners of locks, forks, and statistics. `tests/shared_storm.rs` has many processes that are killed at
//! random.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{BYTES, End, Scratch, signal, spawn, value, version, wait};
use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::shared::layout::LOCK;
use crate::shared::lookup::Lookup;
use crate::shared::record::next_sequence;
use crate::shared::{Incremented, NewEntry, ProcessId, ReadError, SharedCache, SharedError};

const INTEGER: u8 = 7;

/// Starts a child that takes the lock of the only shard and stops.
fn stopped_owner(cache: &SharedCache) -> libc::pid_t {
    let child = spawn(|| {
        let file = cache.file();
        let _writer = file
            .lock_for(file.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        // SAFETY: takes no pointers; stops this process.
        #[allow(unsafe_code)]
        unsafe {
            libc::raise(libc::SIGSTOP);
        }
    });
    assert_eq!(wait(child, libc::WUNTRACED), End::Stopped);
    child
}

#[test]
fn writes_time_out_if_the_lock_names_an_idle_process() {
    let scratch = Scratch::new();
    let cache = SharedCache::builder(scratch.path())
        .bytes(BYTES)
        .lock_timeout(Duration::from_millis(30))
        .open()
        .unwrap();
    cache.insert(b"key", b"value", None).unwrap();
    let idle = scratch.open();
    let word = &cache.file().shard(0).control[LOCK];
    word.store(idle.process_id().unwrap().to_u64(), Ordering::Relaxed);
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.get(b"nothing"), None);
    let this = std::process::id();
    let refused = cache.insert(b"key", b"other", None).unwrap_err();
    assert!(matches!(refused, SharedError::Busy { holder: Some(pid), .. } if pid == this));
    assert!(
        refused.to_string().contains(&format!("(pid {this})")),
        "{refused}"
    );
    // When that process closes the file, the lock can be taken over.
    drop(idle);
    cache.insert(b"key", b"other", None).unwrap();
    assert_eq!(cache.stats().recoveries, 1);
}

#[test]
fn reads_of_cleared_entries_do_not_wait_for_a_stopped_owner() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    cache.insert(b"key", b"value", None).unwrap();
    cache.clear();
    // The child empties the shard, which leaves the key's slot unchanged, and stops.
    let child = stopped_owner(&cache);
    let mut value = Vec::new();
    assert!(matches!(cache.try_get_into(b"key", &mut value), Ok(None)));
    assert!(matches!(cache.peek_within(b"key", Duration::ZERO), Ok(None)));
    assert_eq!(cache.keys().count(), 0);
    signal(child, libc::SIGCONT);
    assert_eq!(wait(child, 0), End::Exit(0));
}

#[test]
fn readers_wait_only_for_the_entry_that_a_stopped_owner_is_writing() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    for key in [b"one", b"two"] {
        cache.insert(key, b"value", None).unwrap();
    }
    let child = stopped_owner(&cache);
    // As after the first store of an in-place write.
    let record = {
        let shard = cache.file().shard_of(&cache.file().hashing.key(b"one"));
        let Lookup::Found(entry) = shard.find(&cache.file().hashing.key(b"one")) else {
            panic!("the key has no entry");
        };
        let ring = shard.ring_of(entry.state).copied().unwrap();
        ring.first_word_of(&entry.record)
            .store(next_sequence(entry.record.first), Ordering::Relaxed);
        (ring, entry.record)
    };
    let mut value = Vec::new();
    assert!(matches!(
        cache.try_get_into(b"one", &mut value),
        Err(ReadError::Busy)
    ));
    assert!(matches!(
        cache.peek_within(b"one", Duration::ZERO),
        Err(ReadError::Busy)
    ));
    assert!(matches!(cache.try_get_into(b"two", &mut value), Ok(Some(_))));
    let before = cache.stats();
    assert!(matches!(
        cache.get_into_within(b"one", &mut value, Duration::from_millis(5)),
        Ok(None)
    ));
    assert_eq!(cache.stats().counts.misses, before.counts.misses + 1);
    assert_eq!(
        cache.stats().counts.hits,
        before.counts.hits,
        "a busy read was counted"
    );
    let (ring, record) = record;
    ring.first_word_of(&record).store(record.first, Ordering::Relaxed);
    assert!(matches!(cache.try_get_into(b"one", &mut value), Ok(Some(_))));
    signal(child, libc::SIGCONT);
    assert_eq!(wait(child, 0), End::Exit(0));
}

#[test]
fn a_stopped_owner_keeps_its_lock_and_reads_go_on() {
    let scratch = Scratch::new();
    let timeout = Duration::from_millis(150);
    let cache = SharedCache::builder(scratch.path())
        .bytes(BYTES)
        .lock_timeout(timeout)
        .open()
        .unwrap();
    cache.insert(b"key", b"value", None).unwrap();
    let child = stopped_owner(&cache);

    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.get(b"nothing"), None);
    let start = Instant::now();
    assert!(
        matches!(cache.insert(b"key", b"other", None), Err(SharedError::Busy { waited, holder: Some(pid) }) if waited == timeout && pid.cast_signed() == child)
    );
    assert!(start.elapsed() >= timeout && start.elapsed() < timeout * 10);
    assert_eq!(cache.stats().timeouts, 1);
    assert_eq!(cache.stats().recoveries, 0);
    let trying = cache.with_lock_timeout(Duration::ZERO);
    assert!(matches!(
        trying.remove(b"key"),
        Err(SharedError::Busy {
            waited: Duration::ZERO,
            holder: None
        })
    ));
    assert_eq!(cache.stats().timeouts, 1, "a write that did not wait was counted");

    for _ in 0..100 {
        let tried = trying.insert(b"key", b"other", None);
        assert!(matches!(
            tried,
            Err(SharedError::Busy {
                waited: Duration::ZERO,
                holder: None
            })
        ));
    }
    assert!(trying.update::<()>(b"key", |_, _| Ok((0, Vec::new()))).is_err());
    assert!(trying.incr(b"key", 1, INTEGER).is_err() && trying.remove(b"key").is_err());
    assert_eq!(trying.get(b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.stats().timeouts, 1, "a write that did not wait was counted");

    signal(child, libc::SIGCONT);
    assert_eq!(wait(child, 0), End::Exit(0));
    trying.insert(b"key", b"third", None).unwrap();
    cache.insert(b"key", b"other", None).unwrap();
    assert_eq!(cache.stats().recoveries, 0, "the lock was taken from its owner");
}

#[test]
fn the_lock_of_a_killed_owner_is_taken_over_by_a_waiter() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let child = stopped_owner(&cache);
    let waiter = {
        let cache = cache.clone();
        thread::spawn(move || cache.insert(b"key", b"value", None))
    };
    thread::sleep(Duration::from_millis(50));
    signal(child, libc::SIGKILL);
    wait(child, 0);
    waiter.join().unwrap().unwrap();
    assert_eq!(cache.stats().recoveries, 1);
    cache.validate().unwrap();
}

#[test]
fn a_lock_of_a_dead_owner_is_taken_over_only_by_a_handle_that_waits() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let trying = cache.with_lock_timeout(Duration::ZERO);
    assert_eq!(trying.with_clock(SystemClock).lock_timeout(), Duration::ZERO);
    trying.insert(b"key", b"value", None).unwrap();
    let child = stopped_owner(&cache);
    signal(child, libc::SIGKILL);
    wait(child, 0);
    assert!(trying.insert(b"key", b"other", None).is_err());
    cache.insert(b"key", b"other", None).unwrap();
    trying.insert(b"key", b"third", None).unwrap();
    assert_eq!((cache.stats().recoveries, cache.stats().timeouts), (1, 0));
}

#[test]
fn a_dead_parent_is_not_alive_although_its_child_is() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let child = spawn(|| {
        let cache = scratch.open();
        let file = cache.file();
        let writer = file
            .lock_for(file.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        // Inherits the descriptors and lives on without using the cache.
        let _grandchild = spawn(|| thread::sleep(Duration::from_millis(1500)));
        std::mem::forget(writer);
        // SAFETY: takes no pointers; ends this process, which still holds the lock.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0);
        }
    });
    wait(child, 0);
    let start = Instant::now();
    cache.insert(b"key", b"value", None).unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_process_is_alive_until_it_dies() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let me = cache.process_id().expect("a process slot");
    assert_eq!(ProcessId::from_u64(me.to_u64()), me);
    assert!(cache.is_alive(me));
    assert!(!cache.is_alive(ProcessId::from_u64(u64::MAX)));
    assert!(!cache.is_alive(ProcessId::from_u64(0)));
    let shared = cache.clone();
    let child = spawn(|| {
        let child = shared.process_id().expect("a process slot");
        assert!(child != me && shared.is_alive(me));
        let id = child.to_u64().to_ne_bytes();
        shared.insert(b"child", &id, None).expect("space");
        signal(std::process::id().cast_signed(), libc::SIGSTOP);
    });
    assert_eq!(wait(child, libc::WUNTRACED), End::Stopped);
    let id = cache.get(b"child").expect("the id");
    let child_process = ProcessId::from_u64(u64::from_ne_bytes(id.try_into().expect("8 bytes")));
    assert!(cache.is_alive(child_process), "a stopped process is alive");
    signal(child, libc::SIGKILL);
    assert_eq!(wait(child, 0), End::Killed(libc::SIGKILL));
    assert!(!cache.is_alive(child_process));
}

#[test]
fn an_entry_that_would_expire_after_the_year_10889_does_not_expire() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let year = 365.25 * 86_400.0;
    for (years, expires) in [(8_000.0, true), (10_000.0, false), (200_000.0, false)] {
        let ttl = Duration::from_secs_f64(years * year);
        let entry = NewEntry::new(b"value").expires_at(cache.expiry(Some(ttl)));
        cache.insert_entry(b"key", entry).unwrap();
        let found = cache.expires_at(b"key").unwrap();
        assert_eq!(found != Timestamp::NEVER, expires, "{years} years: {found:?}");
        assert!(cache.touch(b"key", Some(ttl)).unwrap());
        assert_eq!(cache.expires_at(b"key").unwrap() != Timestamp::NEVER, expires);
    }
}

#[test]
fn a_reset_of_the_statistics_records_its_time() {
    let scratch = Scratch::new();
    let clock = ManualClock::default();
    clock.set(Timestamp::from_unix_micros(5_000_000));
    let cache = scratch.open().with_clock(clock);
    let created = cache.stats().since;
    let age = SystemClock.now().as_unix_micros() - created.as_unix_micros();
    assert!((0..60_000_000).contains(&age), "{age}");
    cache.insert(b"key", b"value", None).expect("space");
    assert!(cache.get(b"key").is_some());
    cache.count_hit_as_unreadable();
    assert!(cache.peek_into(b"key", &mut Vec::new()).unwrap().is_some());
    let stats = cache.stats();
    assert_eq!(
        (stats.counts.hits, stats.counts.misses, stats.unreadable),
        (0, 1, 1)
    );
    cache.reset_stats();
    let stats = cache.stats();
    assert_eq!(
        (stats.counts.hits, stats.counts.misses, stats.unreadable),
        (0, 0, 0)
    );
    assert_eq!(stats.since, Timestamp::from_unix_micros(5_000_000));
}

#[test]
fn increments_of_parent_and_children_are_all_counted() {
    const CHILDREN: u32 = 4;
    const EACH: i64 = 5000;
    let scratch = Scratch::new();
    let cache = scratch.open();
    cache
        .insert_entry(b"count", NewEntry::new(&0_i64.to_ne_bytes()).kind(INTEGER))
        .unwrap();
    let children: Vec<_> = (0..CHILDREN)
        .map(|_| {
            spawn(|| {
                for _ in 0..EACH {
                    assert!(matches!(
                        cache.incr(b"count", 1, INTEGER),
                        Ok(Incremented::Value(_))
                    ));
                }
            })
        })
        .collect();
    for child in children {
        assert_eq!(wait(child, 0), End::Exit(0));
    }
    let total = EACH * i64::from(CHILDREN);
    assert_eq!(cache.get(b"count").unwrap(), total.to_ne_bytes());
    assert_eq!(cache.stats().counts.insertions, total.unsigned_abs() + 1);
    cache.validate().unwrap();
}

#[test]
fn forks_during_writes_leave_parent_and_child_working() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                let mut round = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    let key = format!("{writer} {}", round % 300).into_bytes();
                    cache.insert(&key, &value(&key, round, 200), None).unwrap();
                }
            });
        }
        for round in 0..60_u64 {
            let child = spawn(|| {
                let key = b"child";
                cache.insert(key, &value(key, round, 60), None).unwrap();
                assert_eq!(version(key, &cache.get(key).unwrap()), round);
                cache.validate().unwrap();
            });
            assert_eq!(wait(child, 0), End::Exit(0));
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.validate().unwrap();
    assert_eq!(cache.stats().timeouts, 0);
}
