//! Owners that are stopped, and forks. Many processes that are killed at random: `tests/shared_storm.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{BYTES, End, Scratch, signal, spawn, value, version, wait};
use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::shared::layout::LOCK;
use crate::shared::record::next_sequence;
use crate::shared::shard::Look;
use crate::shared::{Incremented, NewEntry, ProcessId, ReadError, SharedCache, SharedError};

const INTEGER: u8 = 7;

/// A child that stops with the lock of the only shard in hand.
fn stopped_owner(cache: &SharedCache) -> libc::pid_t {
    let child = spawn(|| {
        let store = cache.store();
        let _held = store
            .lock_for(store.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        // SAFETY: stops this process.
        #[allow(unsafe_code)]
        unsafe {
            libc::raise(libc::SIGSTOP);
        }
    });
    assert_eq!(wait(child, libc::WUNTRACED), End::Stopped);
    child
}

#[test]
fn a_lock_word_that_names_an_idle_process_costs_writes_that_end() {
    let scratch = Scratch::new();
    let cache = SharedCache::builder(scratch.path())
        .bytes(BYTES)
        .lock_timeout(Duration::from_millis(30))
        .open()
        .unwrap();
    cache.set(b"key", NewEntry::new(b"value")).unwrap();
    let idle = scratch.open();
    let word = &cache.store().shard(0).control[LOCK];
    word.store(idle.process_id().unwrap().to_u64(), Ordering::Relaxed);
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.get(b"nothing"), None);
    let this = std::process::id();
    let refused = cache.set(b"key", NewEntry::new(b"other")).unwrap_err();
    assert!(matches!(refused, SharedError::Busy { holder: Some(pid), .. } if pid == this));
    assert!(
        refused.to_string().contains(&format!("(pid {this})")),
        "{refused}"
    );
    // Once that process closes the file, the lock is taken over.
    drop(idle);
    cache.set(b"key", NewEntry::new(b"other")).unwrap();
    assert_eq!(cache.stats().recoveries, 1);
}

#[test]
fn what_was_cleared_is_missed_without_waiting_for_a_stopped_owner() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    cache.set(b"key", NewEntry::new(b"value")).unwrap();
    cache.clear();
    // It empties the shard, which leaves the slot of the key as it is, and stops.
    let child = stopped_owner(&cache);
    let mut value = Vec::new();
    assert!(matches!(cache.try_get_into(b"key", &mut value), Ok(None)));
    assert!(matches!(cache.peek_within(b"key", Duration::ZERO), Ok(None)));
    assert_eq!(cache.keys().count(), 0);
    signal(child, libc::SIGCONT);
    assert_eq!(wait(child, 0), End::Exit(0));
}

#[test]
fn only_the_entry_that_a_stopped_owner_writes_has_readers_wait() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    for key in [b"one", b"two"] {
        cache.set(key, NewEntry::new(b"value")).unwrap();
    }
    let child = stopped_owner(&cache);
    // As after the first store of a write in place.
    let record = {
        let shard = cache.store().shard_of(&cache.store().hashing.key(b"one"));
        let Look::Found(entry) = shard.look(&cache.store().hashing.key(b"one")) else {
            panic!("the key is there");
        };
        let ring = shard.ring(entry.kind).copied().unwrap();
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
        "a read that did not wait counts nothing"
    );
    let (ring, record) = record;
    ring.first_word_of(&record).store(record.first, Ordering::Relaxed);
    assert!(matches!(cache.try_get_into(b"one", &mut value), Ok(Some(_))));
    signal(child, libc::SIGCONT);
    assert_eq!(wait(child, 0), End::Exit(0));
}

#[test]
fn a_stopped_owner_is_not_robbed_and_reads_go_on() {
    let scratch = Scratch::new();
    let timeout = Duration::from_millis(150);
    let cache = SharedCache::builder(scratch.path())
        .bytes(BYTES)
        .lock_timeout(timeout)
        .open()
        .unwrap();
    cache.set(b"key", NewEntry::new(b"value")).unwrap();
    let child = stopped_owner(&cache);

    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.get(b"nothing"), None);
    let start = Instant::now();
    assert!(
        matches!(cache.set(b"key", NewEntry::new(b"other")), Err(SharedError::Busy { waited, holder: Some(pid) }) if waited == timeout && pid.cast_signed() == child)
    );
    assert!(start.elapsed() >= timeout && start.elapsed() < timeout * 10);
    assert_eq!(cache.stats().timeouts, 1);
    assert_eq!(cache.stats().recoveries, 0);
    let eager = cache.with_lock_timeout(Duration::ZERO);
    assert!(matches!(
        eager.delete(b"key"),
        Err(SharedError::Busy {
            waited: Duration::ZERO,
            holder: None
        })
    ));
    assert_eq!(cache.stats().timeouts, 1, "it did not wait");

    let hasty = cache.with_lock_timeout(Duration::ZERO);
    for _ in 0..100 {
        let tried = hasty.set(b"key", NewEntry::new(b"other"));
        assert!(matches!(
            tried,
            Err(SharedError::Busy {
                waited: Duration::ZERO,
                holder: None
            })
        ));
    }
    assert!(hasty.update::<()>(b"key", |_, _| Ok((0, Vec::new()))).is_err());
    assert!(hasty.incr(b"key", 1, INTEGER).is_err() && hasty.delete(b"key").is_err());
    assert_eq!(hasty.get(b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(cache.stats().timeouts, 1, "a try is not a wait in vain");

    signal(child, libc::SIGCONT);
    assert_eq!(wait(child, 0), End::Exit(0));
    hasty.set(b"key", NewEntry::new(b"third")).unwrap();
    cache.set(b"key", NewEntry::new(b"other")).unwrap();
    assert_eq!(cache.stats().recoveries, 0, "the owner released it itself");
}

#[test]
fn a_stopped_owner_that_is_killed_is_robbed() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let child = stopped_owner(&cache);
    let waiter = {
        let cache = cache.clone();
        thread::spawn(move || cache.set(b"key", NewEntry::new(b"value")))
    };
    thread::sleep(Duration::from_millis(50));
    signal(child, libc::SIGKILL);
    wait(child, 0);
    waiter.join().unwrap().unwrap();
    assert_eq!(cache.stats().recoveries, 1);
    cache.validate().unwrap();
}

#[test]
fn a_hasty_handle_leaves_the_lock_of_the_dead_to_who_waits() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let hasty = cache.with_lock_timeout(Duration::ZERO);
    assert_eq!(hasty.with_clock(SystemClock).lock_timeout(), Duration::ZERO);
    hasty.set(b"key", NewEntry::new(b"value")).unwrap();
    let child = stopped_owner(&cache);
    signal(child, libc::SIGKILL);
    wait(child, 0);
    assert!(hasty.set(b"key", NewEntry::new(b"other")).is_err());
    cache.set(b"key", NewEntry::new(b"other")).unwrap();
    hasty.set(b"key", NewEntry::new(b"third")).unwrap();
    assert_eq!((cache.stats().recoveries, cache.stats().timeouts), (1, 0));
}

#[test]
fn a_parent_that_died_is_dead_though_its_children_live() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let child = spawn(|| {
        let cache = scratch.open();
        let store = cache.store();
        let held = store
            .lock_for(store.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        // Inherits everything, and lives on without ever using it.
        let _grandchild = spawn(|| thread::sleep(Duration::from_millis(1500)));
        std::mem::forget(held);
        // SAFETY: ends this process with the lock in hand.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0);
        }
    });
    wait(child, 0);
    let start = Instant::now();
    cache.set(b"key", NewEntry::new(b"value")).unwrap();
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
    let me = cache.process_id().expect("a place");
    assert_eq!(ProcessId::from_u64(me.to_u64()), me);
    assert!(cache.is_alive(me));
    assert!(!cache.is_alive(ProcessId::from_u64(u64::MAX)));
    assert!(!cache.is_alive(ProcessId::from_u64(0)));
    let told = cache.clone();
    let child = spawn(|| {
        let child = told.process_id().expect("a place");
        assert!(child != me && told.is_alive(me));
        let name = child.to_u64().to_ne_bytes();
        told.set(b"child", NewEntry::new(&name)).expect("room");
        signal(std::process::id().cast_signed(), libc::SIGSTOP);
    });
    assert_eq!(wait(child, libc::WUNTRACED), End::Stopped);
    let name = cache.get(b"child").expect("told");
    let child_process = ProcessId::from_u64(u64::from_ne_bytes(name.try_into().expect("8 bytes")));
    assert!(cache.is_alive(child_process), "though it is stopped");
    signal(child, libc::SIGKILL);
    assert_eq!(wait(child, 0), End::Killed(libc::SIGKILL));
    assert!(!cache.is_alive(child_process));
}

#[test]
fn what_would_expire_after_the_last_year_of_a_record_does_not_expire() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let year = 365.25 * 86_400.0;
    for (years, expires) in [(8_000.0, true), (10_000.0, false), (200_000.0, false)] {
        let ttl = Duration::from_secs_f64(years * year);
        let item = NewEntry::new(b"value").expires_at(cache.expiry(Some(ttl)));
        cache.set(b"key", item).unwrap();
        let found = cache.expires_at(b"key").unwrap();
        assert_eq!(found != Timestamp::NEVER, expires, "{years} years: {found:?}");
        assert!(cache.touch(b"key", Some(ttl)).unwrap());
        assert_eq!(cache.expires_at(b"key").unwrap() != Timestamp::NEVER, expires);
    }
}

#[test]
fn counting_begins_anew_and_says_when() {
    let scratch = Scratch::new();
    let clock = ManualClock::default();
    clock.set(Timestamp::from_unix_micros(5_000_000));
    let cache = scratch.open().with_clock(clock);
    let made = cache.stats().since;
    let age = SystemClock.now().as_unix_micros() - made.as_unix_micros();
    assert!((0..60_000_000).contains(&age), "{age}");
    cache.set(b"key", NewEntry::new(b"value")).expect("room");
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
fn children_count_with_their_parent() {
    const CHILDREN: u32 = 4;
    const EACH: i64 = 5000;
    let scratch = Scratch::new();
    let cache = scratch.open();
    cache
        .set(b"count", NewEntry::new(&0_i64.to_ne_bytes()).kind(INTEGER))
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
fn forks_amid_writes_leave_both_sides_working() {
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
                    cache.set(&key, NewEntry::new(&value(&key, round, 200))).unwrap();
                }
            });
        }
        for round in 0..60_u64 {
            let child = spawn(|| {
                let key = b"child";
                cache.set(key, NewEntry::new(&value(key, round, 60))).unwrap();
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
