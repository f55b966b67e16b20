//! What may go wrong around a shared cache: full and forbidden places, files that change, clocks, namespaces.
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
use nearcache::{Clock, ManualClock, Timestamp};
use support::{
    End, SKIPPED, Scratch, has_ended, in_child, shared_words, signal, spawn, unshare, wait, with_room_for,
};

const BYTES: u64 = 1 << 20;
const INTEGER: u8 = 7;
/// Nobody that a test runs as.
const SOMEBODY: u32 = 54_321;

fn works(cache: &SharedCache) {
    cache.set(b"key", NewEntry::new(b"value")).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    cache.validate().unwrap();
}

/// Writes until every page of the file has been written to, and reads it all.
fn fill(cache: &SharedCache) {
    for number in 0..4000_u64 {
        cache
            .set(&number.to_le_bytes(), NewEntry::new(&[1; 1000]))
            .unwrap();
    }
    let read = cache
        .keys()
        .map(Result::unwrap)
        .filter(|key| cache.get(key).is_some())
        .count();
    assert!(read > 500, "{read}");
    cache.validate().unwrap();
}

/// Fills whatever room a file system has.
fn take_all_room(directory: &Path) {
    let mut file = fs::File::create(directory.join("ballast")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_file_system_smaller_than_the_cache_is_an_error_at_once() {
    with_room_for(BYTES / 2, |scratch| {
        let error = SharedCache::open(scratch.path(), BYTES).unwrap_err();
        assert!(matches!(error, OpenError::NoRoom { bytes: BYTES, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("has 524288 bytes, 524288 of them free"), "{text}");
        assert!(
            text.contains("at least 1048576") && text.contains("--shm-size"),
            "{text}"
        );
        assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
    });
}

#[test]
fn a_full_file_system_is_an_error() {
    with_room_for(BYTES * 4, |scratch| {
        take_all_room(scratch.directory());
        let error = SharedCache::open(scratch.path(), BYTES).unwrap_err();
        assert!(matches!(error, OpenError::NoRoom { .. }), "{error}");
        fs::remove_file(scratch.directory().join("ballast")).unwrap();
        works(&SharedCache::open(scratch.path(), BYTES).unwrap());
    });
}

#[test]
fn a_file_system_that_fills_up_later_does_no_harm() {
    with_room_for(BYTES * 2, |scratch| {
        let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
        take_all_room(scratch.directory());
        fill(&cache);
        fill(&SharedCache::open(scratch.path(), BYTES).unwrap());
        // A larger one has no room; the old one stays as it is.
        let larger = SharedCache::open(scratch.path(), BYTES * 2);
        assert!(matches!(larger, Err(OpenError::NoRoom { .. })), "{larger:?}");
        assert!(cache.is_current());
        works(&cache);
    });
}

/// Goes on as another user; whether that is allowed.
#[allow(unsafe_code)]
fn become_somebody() -> bool {
    // SAFETY: takes numbers only, in a process with one thread.
    unsafe {
        libc::setresgid(SOMEBODY, SOMEBODY, SOMEBODY) == 0
            && libc::setresuid(SOMEBODY, SOMEBODY, SOMEBODY) == 0
    }
}

#[test]
fn who_may_not_write_to_a_directory_or_a_file_is_told() {
    let scratch = Scratch::new("users");
    drop(SharedCache::open(scratch.path(), BYTES).unwrap());
    fs::set_permissions(scratch.directory(), Permissions::from_mode(0o755)).unwrap();
    in_child("another user: only root can become one", || {
        if !become_somebody() {
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
    // What somebody else left there, for all to write, is not trusted.
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
fn a_file_truncated_while_open_is_replaced_by_who_opens_it() {
    for bytes in [0, 4096, BYTES / 2] {
        let scratch = Scratch::new("truncated");
        let old = SharedCache::open(scratch.path(), BYTES).unwrap();
        let file = OpenOptions::new().write(true).open(scratch.path()).unwrap();
        file.set_len(bytes).unwrap();
        let new = SharedCache::open(scratch.path(), BYTES).unwrap();
        assert!(new.is_current() && !old.is_current(), "{bytes}");
        works(&new);
        // Who still uses the old one ends with SIGBUS where there is nothing: nobody else notices.
        let end = wait(spawn(|| {
            fill(&old);
            0
        }));
        assert_eq!(end, End::Killed(libc::SIGBUS));
        works(&new);
    }
}

#[test]
fn those_who_reopen_a_deleted_file_meet_again() {
    let scratch = Scratch::new("deleted");
    let olds = [(); 3].map(|()| SharedCache::open(scratch.path(), BYTES).unwrap());
    fs::remove_file(scratch.path()).unwrap();
    assert!(olds.iter().all(|old| !old.is_current()));
    // They still share what they had.
    olds[0].set(b"key", NewEntry::new(b"value")).unwrap();
    assert_eq!(olds[2].get(b"key").as_deref(), Some(&b"value"[..]));
    let news = olds.map(|_| SharedCache::open(scratch.path(), BYTES).unwrap());
    assert_eq!(news[0].get(b"key"), None);
    news[1].set(b"key", NewEntry::new(b"other")).unwrap();
    for new in &news {
        assert!(new.is_current());
        assert_eq!(new.get(b"key").as_deref(), Some(&b"other"[..]));
    }
}

/// Opens round after round at the same moment as the other child, and counts itself there.
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
        cache.add(b"count", NewEntry::new(&zero).kind(INTEGER)).unwrap();
        assert!(matches!(
            cache.incr(b"count", 1, INTEGER),
            Ok(Incremented::Value(_))
        ));
        assert!(cache.is_current());
        meeting[1].fetch_add(1, Ordering::SeqCst);
        // Each looks when all have counted.
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
fn processes_that_create_at_the_same_moment_share_one_file() {
    let scratch = Scratch::new("moment");
    let meeting = shared_words(2);
    let children = [(); 2].map(|()| spawn(|| create_at_once(&scratch, 1000, meeting, 2)));
    let ends = children.map(wait);
    assert_eq!(ends, [End::Exit(0); 2]);
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}

#[test]
fn a_clock_stepped_by_an_hour_neither_extends_lives_nor_ends_those_without_end() {
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
    let store = |key: &[u8], ttl: Option<u64>| {
        let expires = cache.expiry(ttl.map(Duration::from_secs));
        cache
            .set(key, NewEntry::new(b"value").expires_at(expires))
            .unwrap();
    };
    let lives = |key: &[u8]| cache.get(key).is_some();
    for (key, ttl) in [
        (&b"minute"[..], Some(60)),
        (b"day", Some(86_400)),
        (b"ever", None),
    ] {
        store(key, ttl);
    }
    // Forward: what would have died in that hour has.
    clock.set(at(HOUR));
    assert!(!lives(b"minute") && lives(b"day") && lives(b"ever"));
    store(b"minute", Some(60));
    assert!(lives(b"minute"));
    // Back again: what was written in the future would live an hour too long.
    clock.set(start);
    assert!(!lives(b"minute") && lives(b"day") && lives(b"ever"));
    // Back behind what everything was written at.
    clock.set(at(-HOUR));
    assert!(!lives(b"day") && lives(b"ever"));
    store(b"minute", Some(60));
    assert!(lives(b"minute"));
    clock.set(at(-HOUR + 61_000_000));
    assert!(!lives(b"minute") && lives(b"ever"));
    cache.validate().unwrap();
    assert_eq!(cache.clone().stats().damages, 0);
    assert!(clock.now() < start);
}

/// Runs something in a PID namespace of its own, where it is process 1, and once more outside at the same time.
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
fn processes_of_two_pid_namespaces_count_together() {
    const EACH: i64 = 20_000;
    let scratch = Scratch::new("namespaces");
    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
    let zero = 0_i64.to_ne_bytes();
    cache.set(b"count", NewEntry::new(&zero).kind(INTEGER)).unwrap();
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
            // Longer than the other end waits before it looks whether this was allowed.
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
    let told = shared_words(1);
    inside_and_outside(
        || {
            // Its own child writes large values until it is killed, most likely amid one.
            for _ in 0..40 {
                let writer = spawn(|| {
                    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
                    let large = vec![1; 200_000];
                    loop {
                        cache.set(b"large", NewEntry::new(&large)).unwrap();
                        told[0].fetch_add(1, Ordering::Relaxed);
                    }
                });
                let before = told[0].load(Ordering::Relaxed);
                while told[0].load(Ordering::Relaxed) < before + 3 {
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
                cache.set(b"small", NewEntry::new(b"value")).unwrap();
                if let Some(found) = cache.get(b"large") {
                    assert!(found.len() == 200_000 && found.iter().all(|byte| *byte == 1));
                }
                end = has_ended(child);
            }
            assert_eq!(end, Some(End::Exit(0)));
            let stats = cache.stats();
            println!("taken over from the dead: {}", stats.recoveries);
            // Readers may have waited in vain for a writer that was not given its turn; a write has not.
            assert_eq!(stats.damages, 0);
            cache.validate().unwrap();
        },
    );
}
