//! Inspection of cache files, and removal of unused ones.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

use std::fs::{self, File, FileTimes, OpenOptions};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use nearcache::shared::{FileKind, OpenError, SharedCache, inspect, remove_unused};

const BYTES: u64 = 1 << 20;
const WORD: u64 = 8;
const VERSION: u64 = WORD;
const SETUP_LOCK: i64 = (1 << 50) - 1;
const DAYS: Duration = Duration::from_secs(200_000);

/// A directory that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearcache-inspect-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn open(path: &Path) -> SharedCache {
    SharedCache::open(path, BYTES).unwrap()
}

fn is_not_a_cache<T>(result: &Result<T, OpenError>) -> bool {
    matches!(result, Err(OpenError::NotACache { .. }))
}

#[test]
fn a_cache_is_described() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    let cache = open(&path);
    let found = inspect(&path).unwrap();
    assert_eq!((found.kind, found.bytes), (FileKind::Cache, BYTES));
    assert!(found.in_use);
    assert_eq!(found.pids, [std::process::id()]);
    assert!(found.opened.unwrap().elapsed().unwrap() < Duration::from_secs(100));

    let second = open(&path);
    assert_eq!(
        inspect(&path).unwrap().pids,
        [std::process::id()],
        "a process is not listed once"
    );

    drop((cache, second));
    let found = inspect(&path).unwrap();
    assert!(!found.in_use);
    assert!(found.pids.is_empty(), "a process that has ended is listed");
}

#[test]
fn inspection_does_not_change_when_a_file_was_opened() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    drop(open(&path));
    let (accessed, modified) = (SystemTime::now() - 2 * DAYS, SystemTime::now() - DAYS);
    let times = FileTimes::new().set_accessed(accessed).set_modified(modified);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(times)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(inspect(&path).unwrap().opened, Some(accessed));
    }
    drop(open(&path));
    assert!(inspect(&path).unwrap().opened.unwrap() > modified);
}

#[test]
fn only_an_unused_cache_is_removed() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    let cache = open(&path);
    assert!(!remove_unused(&path).unwrap());
    cache.insert(b"key", b"value", None).unwrap();
    drop(cache);
    assert_eq!(
        open(&path).get(b"key").as_deref(),
        Some(&b"value"[..]),
        "the entry is gone"
    );
    assert!(remove_unused(&path).unwrap());
    assert!(!path.exists());
    assert!(
        matches!(remove_unused(&path), Err(OpenError::Io { .. })),
        "a missing file was removed"
    );
    assert_eq!(open(&path).get(b"key"), None);
}

#[test]
fn a_cache_of_another_version_is_recognised_and_removed_if_unused() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    let cache = open(&path);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 8], VERSION).unwrap();
    let found = inspect(&path).unwrap();
    assert_eq!(found.kind, FileKind::OtherVersion);
    assert!(found.in_use);
    assert!(!remove_unused(&path).unwrap());
    drop(cache);
    assert!(!inspect(&path).unwrap().in_use);
    assert!(remove_unused(&path).unwrap());
}

#[test]
fn a_file_that_is_not_a_cache_is_not_removed() {
    let scratch = Scratch::new();
    for name in ["notes", ".notes.1-0123456789abcdef.new"] {
        let path = scratch.path(name);
        fs::write(&path, "the file of another program").unwrap();
        assert!(
            is_not_a_cache(&inspect(&path)) && is_not_a_cache(&remove_unused(&path)),
            "{name}"
        );
    }
    for name in [
        "empty",
        ".new",
        ".empty.new",
        ".empty.x-0123456789abcdef.new",
        ".empty.1-23.new",
    ] {
        let path = scratch.path(name);
        fs::write(&path, "").unwrap();
        assert!(
            is_not_a_cache(&inspect(&path)) && is_not_a_cache(&remove_unused(&path)),
            "{name}"
        );
    }
    assert!(matches!(
        remove_unused(&scratch.0),
        Err(OpenError::NotAFile { .. })
    ));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 7);
}

#[test]
fn unfinished_files_are_removed_only_if_their_creator_is_dead() {
    let scratch = Scratch::new();
    let path = scratch.path(".cache.1-0123456789abcdef.new");
    let file = File::create(&path).unwrap();
    file.set_len(BYTES).unwrap();
    let creator = lock(&path, SETUP_LOCK..=SETUP_LOCK);
    let found = inspect(&path).unwrap();
    assert_eq!((found.kind, found.in_use), (FileKind::Unfinished, true));
    assert!(!remove_unused(&path).unwrap());
    drop(creator);
    assert!(!inspect(&path).unwrap().in_use);
    assert!(remove_unused(&path).unwrap());
    assert!(!path.exists());
}

/// Locks bytes of a file as another process does.
#[allow(unsafe_code)]
fn lock(path: &Path, bytes: RangeInclusive<i64>) -> File {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    // SAFETY: `flock` is a C struct of integers, for which all zeros are a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).unwrap();
    lock.l_start = *bytes.start();
    lock.l_len = bytes.end() - bytes.start() + 1;
    // SAFETY: fcntl reads a `flock` through the pointer, which points to one that is alive.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(locked, 0);
    file
}

#[test]
fn a_file_that_is_being_opened_is_not_removed() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    let ends = AtomicBool::new(false);
    let opens_well = || SharedCache::open(&path, BYTES).is_ok_and(|cache| cache.is_current());
    thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let mut all = true;
            while !ends.load(Ordering::Relaxed) {
                all &= opens_well();
            }
            all
        });
        let mut removals = 0;
        while removals < 100 {
            removals += u32::from(remove_unused(&path).unwrap_or(false)); // it may not be there just then
        }
        ends.store(true, Ordering::Relaxed);
        let all_opened_well = opener.join().unwrap();
        assert!(
            all_opened_well,
            "a file in use was removed, or a file could not be opened"
        );
    });
}

#[test]
fn an_opener_waits_for_a_removal_that_is_abandoned() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    drop(open(&path));
    let remover = lock(&path, SETUP_LOCK..=SETUP_LOCK + 10_000);
    thread::scope(|scope| {
        let opener = scope.spawn(|| SharedCache::open(&path, BYTES).map(drop));
        thread::sleep(Duration::from_millis(100));
        assert!(!opener.is_finished());
        drop(remover);
        opener.join().unwrap().unwrap();
    });
}

/// Does nothing unless the user may give files away.
#[test]
fn another_users_file_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("cache");
    drop(open(&path));
    let given = Command::new("chown").arg("12345").arg(&path).status();
    if !given.is_ok_and(|status| status.success()) {
        return;
    }
    assert_eq!(fs::metadata(&path).unwrap().uid(), 12345);
    assert!(matches!(
        inspect(&path),
        Err(OpenError::Foreign { owner: 12345, .. })
    ));
    assert!(matches!(
        remove_unused(&path),
        Err(OpenError::Foreign { owner: 12345, .. })
    ));
}
