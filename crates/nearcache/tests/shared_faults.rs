//! Faults of the environment: full file systems, missing permissions, files that change, clocks that are set, PID
//! namespaces.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod support;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{hint, thread};

use nearcache::shared::{Incremented, NewEntry, OpenError, SharedCache};
use nearcache::{Clock, Condition, ManualClock, Timestamp};
use support::{
    End, SKIPPED, Scratch, has_ended, in_child, shared_words, signal, spawn, unshare, wait, with_room_for,
};

const BYTES: u64 = 1 << 20;
const INTEGER: u8 = 7;
/// A user (uid) that no test runs as.
const SOMEBODY: u32 = 54_321;

fn works(cache: &SharedCache) {
    cache.insert(b"key", b"value", None).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    cache.validate().unwrap();
}

/// Writes until every page of the file has been written, and reads everything.
fn fill(cache: &SharedCache) {
    for number in 0..4000_u64 {
        cache.insert(&number.to_le_bytes(), &[1; 1000], None).unwrap();
    }
    let read = cache
        .keys()
        .map(Result::unwrap)
        .filter(|key| cache.get(key).is_some())
        .count();
    assert!(read > 500, "{read}");
    cache.validate().unwrap();
}

/// Fills a file system.
fn fill_file_system(directory: &Path) {
    let mut file = fs::File::create(directory.join("ballast")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_file_system_smaller_than_the_cache_is_an_error() {
    with_room_for(BYTES / 2, |scratch| {
        let error = SharedCache::open(scratch.path(), BYTES).unwrap_err();
        assert!(matches!(error, OpenError::NoRoom { bytes: BYTES, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("has 524288 bytes, 524288 of them free"), "{text}");
        assert!(text.contains("at least 1048576"), "{text}");
        assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
    });
}

#[test]
fn a_full_file_system_is_an_error() {
    with_room_for(BYTES * 4, |scratch| {
        fill_file_system(scratch.directory());
        let error = SharedCache::open(scratch.path(), BYTES).unwrap_err();
        assert!(matches!(error, OpenError::NoRoom { .. }), "{error}");
        fs::remove_file(scratch.directory().join("ballast")).unwrap();
        works(&SharedCache::open(scratch.path(), BYTES).unwrap());
    });
}

#[test]
fn a_file_system_that_fills_up_later_does_not_affect_the_cache() {
    with_room_for(BYTES * 2, |scratch| {
        let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
        fill_file_system(scratch.directory());
        fill(&cache);
        fill(&SharedCache::open(scratch.path(), BYTES).unwrap());
        // There is no space for a larger file. The old one stays unchanged.
        let larger = SharedCache::open(scratch.path(), BYTES * 2);
        assert!(matches!(larger, Err(OpenError::NoRoom { .. })), "{larger:?}");
        assert!(cache.is_current());
        works(&cache);
    });
}

/// Makes this process run as another user; returns whether that is allowed.
#[allow(unsafe_code)]
fn become_another_user() -> bool {
    // SAFETY: takes no pointers, and this process has only one thread.
    unsafe {
        libc::setresgid(SOMEBODY, SOMEBODY, SOMEBODY) == 0
            && libc::setresuid(SOMEBODY, SOMEBODY, SOMEBODY) == 0
    }
}

#[test]
fn missing_permissions_are_reported() {
    let scratch = Scratch::new("users");
    drop(SharedCache::open(scratch.path(), BYTES).unwrap());
    fs::set_permissions(scratch.directory(), Permissions::from_mode(0o755)).unwrap();
    in_child("another user: only root can become one", || {
        if !become_another_user() {
            return SKIPPED;
        }
        let is_denied = |opened: Result<SharedCache, OpenError>| match opened {
            Err(OpenError::Io { source, .. }) => source.kind() == io::ErrorKind::PermissionDenied,
            other => panic!("{other:?}"),
        };
        assert!(is_denied(SharedCache::open(scratch.path(), BYTES)));
        assert!(is_denied(SharedCache::open(
            scratch.directory().join("new"),
            BYTES
        )));
        0
    });
    // A file of another user that everybody can write is not trusted.
    let planted = scratch.directory().join("planted");
    drop(SharedCache::open(&planted, BYTES).unwrap());
    if chown(&planted, Some(SOMEBODY), None).is_ok() {
        let opened = SharedCache::open(&planted, BYTES);
        assert!(
            matches!(opened, Err(OpenError::Foreign { owner: SOMEBODY, .. })),
            "{opened:?}"
        );
    }
}

#[test]
fn a_file_truncated_while_open_is_replaced_when_it_is_opened() {
    for bytes in [0, 4096, BYTES / 2] {
        let scratch = Scratch::new("truncated");
        let old = SharedCache::open(scratch.path(), BYTES).unwrap();
        let file = OpenOptions::new().write(true).open(scratch.path()).unwrap();
        file.set_len(bytes).unwrap();
        let new = SharedCache::open(scratch.path(), BYTES).unwrap();
        assert!(new.is_current() && !old.is_current(), "{bytes}");
        works(&new);
        // A process that still uses the old file is killed by SIGBUS; others are not affected.
        let end = wait(spawn(|| {
            fill(&old);
            0
        }));
        assert_eq!(end, End::Killed(libc::SIGBUS));
        works(&new);
    }
}

#[test]
fn processes_that_open_a_deleted_file_again_share_the_new_one() {
    let scratch = Scratch::new("deleted");
    let olds = [(); 3].map(|()| SharedCache::open(scratch.path(), BYTES).unwrap());
    fs::remove_file(scratch.path()).unwrap();
    assert!(olds.iter().all(|old| !old.is_current()));
    // They still share the old file.
    olds[0].insert(b"key", b"value", None).unwrap();
    assert_eq!(olds[2].get(b"key").as_deref(), Some(&b"value"[..]));
    let news = olds.map(|_| SharedCache::open(scratch.path(), BYTES).unwrap());
    assert_eq!(news[0].get(b"key"), None);
    news[1].insert(b"key", b"other", None).unwrap();
    for new in &news {
        assert!(new.is_current());
        assert_eq!(new.get(b"key").as_deref(), Some(&b"other"[..]));
    }
}

/// Opens a new cache in each round, at the same time as the other children, and increments a counter in it.
fn create_at_once(
    scratch: &Scratch,
    rounds: u64,
    meeting: &[std::sync::atomic::AtomicU64],
    parties: u64,
) -> i32 {
    for round in 1..=rounds {
        meeting[0].fetch_add(1, Ordering::SeqCst);
        while meeting[0].load(Ordering::SeqCst) < round * parties {
            hint::spin_loop();
            thread::yield_now();
        }
        let cache = SharedCache::open(scratch.directory().join(round.to_string()), BYTES).unwrap();
        let zero = 0_i64.to_ne_bytes();
        cache
            .insert_entry_if(b"count", NewEntry::new(&zero).kind(INTEGER), Condition::IfAbsent)
            .unwrap();
        assert!(matches!(
            cache.incr(b"count", 1, INTEGER),
            Ok(Incremented::Value(_))
        ));
        assert!(cache.is_current());
        meeting[1].fetch_add(1, Ordering::SeqCst);
        // Each child reads the counter after all have incremented it.
        while meeting[1].load(Ordering::SeqCst) < round * parties {
            thread::yield_now();
        }
        let counted = cache.get(b"count").unwrap();
        assert_eq!(counted, parties.cast_signed().to_ne_bytes(), "round {round}");
        fs::remove_file(scratch.directory().join(round.to_string())).ok();
    }
    0
}

#[test]
fn processes_that_create_at_the_same_time_share_one_file() {
    let scratch = Scratch::new("moment");
    let meeting = shared_words(2);
    let children = [(); 2].map(|()| spawn(|| create_at_once(&scratch, 1000, meeting, 2)));
    let ends = children.map(wait);
    assert_eq!(ends, [End::Exit(0); 2]);
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}

#[test]
fn a_clock_that_is_set_by_an_hour_does_not_extend_lives_or_end_endless_ones() {
    const HOUR: i64 = 3_600_000_000;
    let scratch = Scratch::new("clock");
    let clock = Arc::new(ManualClock::default());
    let start = Timestamp::from_unix_micros(1_700_000_000_000_000);
    let at = |micros: i64| Timestamp::from_unix_micros(start.as_unix_micros() + micros);
    clock.set(start);
    let cache = SharedCache::builder(scratch.path())
        .bytes(BYTES)
        .clock(Arc::clone(&clock))
        .open()
        .unwrap();
    let insert = |key: &[u8], ttl: Option<u64>| {
        cache.insert(key, b"value", ttl.map(Duration::from_secs)).unwrap();
    };
    let lives = |key: &[u8]| cache.get(key).is_some();
    for (key, ttl) in [
        (&b"minute"[..], Some(60)),
        (b"day", Some(86_400)),
        (b"ever", None),
    ] {
        insert(key, ttl);
    }
    // Forward: entries that would have expired in that hour have expired.
    clock.set(at(HOUR));
    assert!(!lives(b"minute") && lives(b"day") && lives(b"ever"));
    insert(b"minute", Some(60));
    assert!(lives(b"minute"));
    // Back again: entries that were written in the future would live an hour too long.
    clock.set(start);
    assert!(!lives(b"minute") && lives(b"day") && lives(b"ever"));
    // Back to before all entries were written.
    clock.set(at(-HOUR));
    assert!(!lives(b"day") && lives(b"ever"));
    insert(b"minute", Some(60));
    assert!(lives(b"minute"));
    clock.set(at(-HOUR + 61_000_000));
    assert!(!lives(b"minute") && lives(b"ever"));
    cache.validate().unwrap();
    assert_eq!(cache.clone().stats().damages, 0);
    assert!(clock.now() < start);
}

/// Runs `inside` in a new PID namespace, where its pid is 1, and `outside` in this one, at the same time.
fn inside_and_outside(inside: impl FnOnce() -> i32, outside: impl FnOnce(libc::pid_t)) {
    let child = spawn(|| {
        if unshare(libc::CLONE_NEWPID).is_err() {
            return SKIPPED;
        }
        let first = spawn(|| {
            assert_eq!(std::process::id(), 1);
            inside()
        });
        match wait(first) {
            End::Exit(code) => code,
            End::Killed(_) => 2,
        }
    });
    thread::sleep(Duration::from_millis(20));
    if has_ended(child) == Some(End::Exit(SKIPPED)) {
        println!("skipped: a PID namespace: unsharing is not allowed here");
        return;
    }
    outside(child);
}

#[test]
fn processes_of_two_pid_namespaces_share_a_counter() {
    const EACH: i64 = 20_000;
    let scratch = Scratch::new("namespaces");
    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
    let zero = 0_i64.to_ne_bytes();
    cache
        .insert_entry(b"count", NewEntry::new(&zero).kind(INTEGER))
        .unwrap();
    let count = |cache: &SharedCache| {
        for _ in 0..EACH {
            assert!(matches!(
                cache.incr(b"count", 1, INTEGER),
                Ok(Incremented::Value(_))
            ));
        }
    };
    inside_and_outside(
        || {
            // Longer than the parent waits before it checks whether the namespace was allowed.
            thread::sleep(Duration::from_millis(100));
            count(&SharedCache::open(scratch.path(), BYTES).unwrap());
            0
        },
        |child| {
            count(&cache);
            assert_eq!(wait(child), End::Exit(0));
            assert_eq!(cache.get(b"count").unwrap(), (2 * EACH).to_ne_bytes());
            assert_eq!((cache.stats().recoveries, cache.stats().timeouts), (0, 0));
            cache.validate().unwrap();
        },
    );
}

#[test]
fn a_writer_of_another_pid_namespace_that_is_killed_is_noticed() {
    let scratch = Scratch::new("killed");
    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
    let progress = shared_words(1);
    inside_and_outside(
        || {
            // The child's child writes large values until it is killed, most likely during a write.
            for _ in 0..40 {
                let writer = spawn(|| {
                    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
                    let large = vec![1; 200_000];
                    loop {
                        cache.insert(b"large", &large, None).unwrap();
                        progress[0].fetch_add(1, Ordering::Relaxed);
                    }
                });
                let before = progress[0].load(Ordering::Relaxed);
                while progress[0].load(Ordering::Relaxed) < before + 3 {
                    thread::yield_now();
                }
                signal(writer, libc::SIGKILL);
                assert_eq!(wait(writer), End::Killed(libc::SIGKILL));
            }
            0
        },
        |child| {
            let mut end = None;
            while end.is_none() {
                cache.insert(b"small", b"value", None).unwrap();
                if let Some(found) = cache.get(b"large") {
                    assert!(found.len() == 200_000 && found.iter().all(|byte| *byte == 1));
                }
                end = has_ended(child);
            }
            assert_eq!(end, Some(End::Exit(0)));
            let stats = cache.stats();
            println!("locks taken over: {}", stats.recoveries);
            // Reads may have timed out, waiting for a writer that got no processor time; no write has.
            assert_eq!(stats.damages, 0);
            cache.validate().unwrap();
        },
    );
}
