//! Creation of files by many processes at the same time, and with little space.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod support;

use std::fs::{self, File};
use std::hint;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nearcache::Condition;
use nearcache::shared::{Incremented, NewEntry, OpenError, SharedCache, remove_unused};
use support::{End, Scratch, shared_words, signal, spawn, wait, with_room_for};

const BYTES: u64 = 64 << 20;
/// A size whose allocation takes long enough for something to happen meanwhile.
const LARGE: u64 = 256 << 20;
const INTEGER: u8 = 7;
const CREATION_LOCK: i64 = (1 << 50) - 2;
/// How long a process waits for a creator that makes no progress.
const PATIENCE: Duration = Duration::from_secs(5);

fn works(cache: &SharedCache) {
    cache.insert(b"key", b"value", None).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    cache.validate().unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// Sleeps until a condition holds.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        hint::spin_loop();
        thread::yield_now();
    }
}

/// Starts processes that open the cache at the same time and increment a counter in it; returns how many failed.
fn start_at_once(path: &Path, processes: u64) -> usize {
    let words = shared_words(3);
    let [ready, go, done] = [&words[0], &words[1], &words[2]];
    let children: Vec<_> = (0..processes)
        .map(|_| {
            spawn(|| {
                ready.fetch_add(1, Ordering::SeqCst);
                until(|| go.load(Ordering::SeqCst) == 1);
                let opened = SharedCache::open(path, BYTES);
                done.fetch_add(1, Ordering::SeqCst);
                let cache = match opened {
                    Ok(cache) => cache,
                    Err(error) => {
                        println!("{error}");
                        return 1;
                    }
                };
                let zero = 0_i64.to_ne_bytes();
                cache
                    .insert_entry_if(b"count", NewEntry::new(&zero).kind(INTEGER), Condition::IfAbsent)
                    .unwrap();
                assert!(matches!(
                    cache.incr(b"count", 1, INTEGER),
                    Ok(Incremented::Value(_))
                ));
                until(|| done.load(Ordering::SeqCst) == processes);
                i32::from(!cache.is_current()) * 2
            })
        })
        .collect();
    until(|| ready.load(Ordering::SeqCst) == processes);
    go.store(1, Ordering::SeqCst);
    let ends: Vec<_> = children.into_iter().map(wait).collect();
    let failed = ends.iter().filter(|end| **end != End::Exit(0)).count();
    if failed == 0 {
        let counted = SharedCache::open(path, BYTES).unwrap().get(b"count").unwrap();
        assert_eq!(
            counted,
            processes.cast_signed().to_ne_bytes(),
            "the processes do not share one file"
        );
    }
    failed
}

#[test]
fn none_of_1000_starts_fails_with_space_for_one_file() {
    with_room_for(BYTES * 6 / 5, |scratch| {
        let mut failed = 0;
        for _ in 0..20 {
            failed += start_at_once(&scratch.path(), 50);
            fs::remove_file(scratch.path()).ok();
            assert!(failed > 0 || names(scratch.directory()).is_empty());
        }
        assert_eq!(failed, 0, "of 1,000");
    });
}

#[test]
fn processes_that_start_with_another_size_at_the_same_time_do_not_fail() {
    with_room_for(BYTES * 6 / 5, |scratch| {
        for round in 0..20 {
            drop(SharedCache::open(scratch.path(), BYTES - (1 << 20)).unwrap());
            assert_eq!(start_at_once(&scratch.path(), 10), 0, "round {round}");
            assert_eq!(names(scratch.directory()), ["cache"]);
            fs::remove_file(scratch.path()).unwrap();
        }
    });
}

#[test]
fn an_unused_file_of_another_size_is_removed_for_the_new_one() {
    with_room_for(BYTES * 6 / 5, |scratch| {
        for bytes in [BYTES, BYTES + (1 << 20), BYTES - (1 << 20)] {
            let cache = SharedCache::open(scratch.path(), bytes).unwrap();
            assert_eq!(cache.stats().capacity_bytes, bytes);
            works(&cache);
            drop(cache);
            assert_eq!(names(scratch.directory()), ["cache"]);
        }
    });
}

#[test]
fn a_file_that_is_in_use_or_too_small_to_help_stays() {
    with_room_for(BYTES * 6 / 5, |scratch| {
        let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
        works(&cache);
        let in_use = SharedCache::open(scratch.path(), BYTES + (1 << 20));
        assert!(matches!(in_use, Err(OpenError::NoRoom { .. })), "{in_use:?}");
        assert!(cache.is_current());
        drop(cache);
        let too_large = SharedCache::open(scratch.path(), BYTES * 2);
        match too_large {
            Err(OpenError::NoRoom {
                total, free, bytes, ..
            }) => {
                assert_eq!(
                    (bytes, total),
                    (BYTES * 2, (BYTES * 6 / 5).next_multiple_of(4096))
                );
                assert!(free > 0 && free <= total - BYTES, "{free}");
            }
            other => panic!("{other:?}"),
        }
        let kept = SharedCache::open(scratch.path(), BYTES).unwrap();
        assert_eq!(kept.get(b"key").as_deref(), Some(&b"value"[..]));
        assert_eq!(names(scratch.directory()), ["cache"]);
    });
}

fn has_temporary(directory: &Path) -> bool {
    let is_temporary = |name: &String| Path::new(name).extension().is_some_and(|end| end == "new");
    names(directory).iter().any(is_temporary)
}

/// Starts a process that creates a cache, and sends it a signal during the allocation; returns its pid.
fn interrupted_creator(path: &Path, what: i32) -> libc::pid_t {
    for _ in 0..100 {
        let child = spawn(|| {
            works(&SharedCache::open(path, LARGE).unwrap());
            0
        });
        until(|| has_temporary(path.parent().unwrap()) || path.exists());
        thread::sleep(Duration::from_millis(10));
        signal(child, what);
        thread::sleep(Duration::from_millis(20));
        if !path.exists() {
            return child;
        }
        // It finished before the signal.
        signal(child, libc::SIGKILL);
        wait(child);
        fs::remove_file(path).unwrap();
    }
    panic!("no creator was interrupted during the allocation");
}

#[test]
fn leftovers_of_a_killed_creator_are_removed() {
    with_room_for(LARGE * 2, removes_leftovers);
}

fn removes_leftovers(scratch: &Scratch) {
    let existing = scratch.directory().join("existing");
    drop(SharedCache::open(&existing, 1 << 20).unwrap());
    let killed = || {
        let child = interrupted_creator(&scratch.path(), libc::SIGKILL);
        assert_eq!(wait(child), End::Killed(libc::SIGKILL));
        assert!(has_temporary(scratch.directory()));
    };
    killed();
    drop(SharedCache::open(&existing, 1 << 20).unwrap());
    assert_eq!(
        names(scratch.directory()),
        ["existing"],
        "not removed by a process that finds its file"
    );
    killed();
    drop(SharedCache::builder(&existing).open().unwrap());
    assert_eq!(
        names(scratch.directory()),
        ["existing"],
        "not removed by a process that only opens"
    );
    killed();
    drop(SharedCache::open(scratch.directory().join("other"), 1 << 20).unwrap());
    assert_eq!(
        names(scratch.directory()),
        ["existing", "other"],
        "not removed by a creator of another name"
    );
    killed();
    drop(SharedCache::open(scratch.path(), 1 << 20).unwrap());
    assert_eq!(
        names(scratch.directory()),
        ["cache", "existing", "other"],
        "not removed by a creator of the same name"
    );
}

#[test]
fn leftovers_of_a_killed_creator_are_removed_for_space() {
    with_room_for(LARGE * 6 / 5, |scratch| {
        let child = interrupted_creator(&scratch.path(), libc::SIGKILL);
        wait(child);
        // A process that waits meanwhile proceeds, and needs the space of the leftover.
        let start = Instant::now();
        works(&SharedCache::open(scratch.directory().join("other"), LARGE).unwrap());
        assert!(start.elapsed() < PATIENCE);
        assert_eq!(names(scratch.directory()), ["other"]);
    });
}

#[test]
fn others_time_out_while_a_creator_is_stopped_and_succeed_when_it_continues() {
    with_room_for(LARGE * 2, waits_for_a_stopped_creator);
}

fn waits_for_a_stopped_creator(scratch: &Scratch) {
    let child = interrupted_creator(&scratch.path(), libc::SIGSTOP);
    let start = Instant::now();
    let opened = SharedCache::open(scratch.path(), LARGE);
    assert!(matches!(opened, Err(OpenError::Busy { .. })), "{opened:?}");
    assert!(start.elapsed() >= PATIENCE);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| SharedCache::open(scratch.path(), LARGE).map(|cache| works(&cache)));
        thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        signal(child, libc::SIGCONT);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(wait(child), End::Exit(0));
    assert_eq!(names(scratch.directory()), ["cache"]);
}

/// Takes the creation lock as a creator does.
#[allow(unsafe_code)]
fn creation_lock(name: &Path) -> File {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(name)
        .unwrap();
    // SAFETY: `flock` is a C struct of integers, for which all zeros are a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap();
    lock.l_start = CREATION_LOCK;
    lock.l_len = 1;
    // SAFETY: fcntl reads a `flock` through the pointer, which points to one that is alive.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(locked, 0);
    file
}

#[test]
fn others_wait_as_long_as_a_creator_makes_progress() {
    let scratch = Scratch::new("slow-creator");
    let name = scratch.directory().join(".cache.nearcache-lock");
    let creator = creation_lock(&name);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| SharedCache::open(scratch.path(), BYTES).map(|cache| works(&cache)));
        let start = Instant::now();
        while start.elapsed() < PATIENCE * 3 / 2 {
            thread::sleep(PATIENCE / 5);
            creator.set_modified(SystemTime::now()).unwrap();
            assert!(!waiting.is_finished());
        }
        // As the kernel does when a process is killed.
        drop(creator);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(names(scratch.directory()), ["cache"]);
}

#[test]
fn a_file_that_appears_while_there_is_no_space_is_opened() {
    // Space for two files and most of a third.
    with_room_for(LARGE * 19 / 10, |scratch| {
        let finished = scratch.directory().join("finished");
        drop(SharedCache::open(&finished, LARGE).unwrap());
        for _ in 0..50 {
            let opened = thread::scope(|scope| {
                let opener = scope.spawn(|| SharedCache::open(scratch.path(), LARGE));
                until(|| has_temporary(scratch.directory()) || opener.is_finished());
                fs::hard_link(&finished, scratch.path()).unwrap();
                let was_in_time = has_temporary(scratch.directory());
                (opener.join().unwrap(), was_in_time)
            });
            fs::remove_file(scratch.path()).unwrap();
            match opened {
                (opened, true) => return works(&opened.unwrap()),
                (opened, false) => assert!(
                    matches!(opened, Ok(_) | Err(OpenError::NoRoom { .. })),
                    "{opened:?}"
                ),
            }
        }
        panic!("the opener finished first in every attempt");
    });
}

#[test]
fn the_file_of_a_living_creator_is_not_removed_as_a_leftover() {
    let scratch = Scratch::new("removers");
    let existing = scratch.directory().join("existing");
    drop(SharedCache::open(&existing, 1 << 20).unwrap());
    let (ends, openings) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let removers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !ends.load(Ordering::Relaxed) {
                        drop(SharedCache::open(&existing, 1 << 20).unwrap());
                        openings.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let creator = || {
            for _ in 0..500 {
                let cache = SharedCache::open(scratch.path(), 1 << 20).unwrap();
                assert!(cache.is_current());
                fs::remove_file(scratch.path()).unwrap();
            }
        };
        let created = thread::Builder::new()
            .spawn_scoped(scope, creator)
            .unwrap()
            .join();
        ends.store(true, Ordering::Relaxed);
        for remover in removers {
            remover.join().unwrap();
        }
        created.unwrap();
    });
    assert!(openings.into_inner() > 100);
    assert_eq!(names(scratch.directory()), ["existing"]);
}

/// Repeatedly opens the cache, and removes it if no other process has it open; returns when opening fails.
fn open_and_remove(path: &Path, opened: &AtomicU64) -> i32 {
    loop {
        match SharedCache::open(path, BYTES) {
            Ok(cache) => works(&cache),
            Err(error) => panic!("{error}"),
        }
        opened.fetch_add(1, Ordering::Relaxed);
        remove_unused(path).ok(); // another process may have removed it
    }
}

#[test]
fn processes_killed_at_random_do_not_prevent_others_from_starting() {
    with_room_for(BYTES * 6 / 5, |scratch| {
        let opened = &shared_words(1)[0];
        let start = || spawn(|| open_and_remove(&scratch.path(), opened));
        let mut children = [(); 4].map(|()| start());
        let (begun, mut kills) = (Instant::now(), 0_usize);
        while begun.elapsed() < Duration::from_secs(3) {
            thread::sleep(Duration::from_millis(7));
            let child = &mut children[kills % 4];
            signal(*child, libc::SIGKILL);
            assert_eq!(wait(*child), End::Killed(libc::SIGKILL));
            *child = start();
            kills += 1;
        }
        for child in children {
            signal(child, libc::SIGKILL);
            assert_eq!(wait(child), End::Killed(libc::SIGKILL));
        }
        println!("{kills} killed, {} openings", opened.load(Ordering::Relaxed));
        works(&SharedCache::open(scratch.path(), BYTES).unwrap());
        assert_eq!(names(scratch.directory()), ["cache"]);
    });
}
