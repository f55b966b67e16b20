//! Files that the path of a cache may name, and what may happen to them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::large_stack_arrays)] // in helper code, as in tests; a file is full of one byte

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nearcache::shared::{OpenError, SharedCache};

const BYTES: u64 = 1 << 20;
const WORD: u64 = 8;
const VERSION: u64 = WORD;
const BOOT_ID: u64 = 9 * WORD;

/// A directory that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "nearcache-files-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("cache")
    }

    fn open(&self) -> Result<SharedCache, OpenError> {
        SharedCache::open(self.path(), BYTES)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn works(cache: &SharedCache) {
    cache.insert(b"key", b"value", None).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    cache.validate().unwrap();
}

#[test]
fn a_new_file_is_private_and_allocated_and_has_no_other_name() {
    let scratch = Scratch::new();
    works(&scratch.open().unwrap());
    let found = fs::metadata(scratch.path()).unwrap();
    assert_eq!((found.mode() & 0o7777, found.len()), (0o600, BYTES));
    assert!(found.blocks() * 512 >= BYTES, "not all of the file is allocated");
    assert_eq!(scratch.names(), ["cache"]);
}

#[test]
fn a_symbolic_link_is_refused() {
    let scratch = Scratch::new();
    drop(SharedCache::open(scratch.0.join("elsewhere"), BYTES).unwrap());
    symlink(scratch.0.join("elsewhere"), scratch.path()).unwrap();
    assert!(matches!(scratch.open(), Err(OpenError::NotAFile { .. })));
    fs::remove_file(scratch.path()).unwrap();
    symlink(scratch.0.join("nowhere"), scratch.path()).unwrap();
    assert!(matches!(scratch.open(), Err(OpenError::NotAFile { .. })));
    assert!(!scratch.0.join("nowhere").exists());
}

#[test]
fn a_pipe_is_refused_at_once() {
    let scratch = Scratch::new();
    let name = CString::new(scratch.path().as_os_str().as_bytes()).unwrap();
    // SAFETY: the pointer is to a string that ends with a zero byte.
    #[allow(unsafe_code)]
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0);
    assert!(matches!(scratch.open(), Err(OpenError::NotAFile { .. })));
}

#[test]
fn a_directory_a_device_and_a_socket_are_refused() {
    let scratch = Scratch::new();
    assert!(matches!(
        SharedCache::open(&scratch.0, BYTES),
        Err(OpenError::NotAFile { .. })
    ));
    assert!(matches!(
        SharedCache::open("/dev/null", BYTES),
        Err(OpenError::NotAFile { .. })
    ));
    let _socket = std::os::unix::net::UnixListener::bind(scratch.path()).unwrap();
    assert!(matches!(scratch.open(), Err(OpenError::NotAFile { .. })));
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    for mode in [0o620, 0o602, 0o666] {
        let scratch = Scratch::new();
        drop(scratch.open().unwrap());
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = scratch.open().unwrap_err();
        assert!(matches!(error, OpenError::Exposed { mode: found, .. } if found == mode));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.open().unwrap());
    if std::os::unix::fs::chown(scratch.path(), Some(12_345), None).is_err() {
        return; // only root can give a file away
    }
    assert!(matches!(
        scratch.open(),
        Err(OpenError::Foreign { owner: 12_345, .. })
    ));
}

#[test]
fn a_file_that_is_not_a_cache_is_left_unchanged() {
    for content in [&b"precious"[..], &[0xff; 1 << 20], b"\0\0\0\0\0\0\0\0precious"] {
        let scratch = Scratch::new();
        put(&scratch, content);
        let error = scratch.open().unwrap_err();
        assert!(matches!(error, OpenError::NotACache { .. }), "{error}");
        assert_eq!(fs::read(scratch.path()).unwrap(), content);
    }
}

/// Writes a file that only its user can access.
fn put(scratch: &Scratch, content: &[u8]) {
    put_at(&scratch.path(), content);
}

fn put_at(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_damaged_or_empty_file_is_replaced() {
    for content in [
        &b""[..],
        b"\0\0",
        b"HCACRAEN",
        &[0; 1 << 20],
        b"NEARCACH, of another machine",
    ] {
        let scratch = Scratch::new();
        put(&scratch, content);
        works(&scratch.open().unwrap());
        assert_eq!(scratch.names(), ["cache"]);
        assert!(matches!(
            SharedCache::builder(scratch.0.join("missing")).open(),
            Err(OpenError::Io { .. })
        ));
    }
}

#[test]
fn a_truncated_or_lengthened_file_is_replaced() {
    for bytes in [100, 4096, BYTES / 2, BYTES - 1, BYTES + 4096] {
        let scratch = Scratch::new();
        works(&scratch.open().unwrap());
        OpenOptions::new()
            .write(true)
            .open(scratch.path())
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let unknown = SharedCache::builder(scratch.path()).open();
        assert!(matches!(unknown, Err(OpenError::Unknown { .. })), "{bytes}");
        let cache = scratch.open().unwrap();
        assert_eq!(cache.get(b"key"), None);
        works(&cache);
    }
}

fn change(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).unwrap();
    word[3] ^= 0x55;
    file.write_all_at(&word, at).unwrap();
}

#[test]
fn a_file_is_replaced_if_any_word_of_its_description_is_changed() {
    // Word 0 identifies a cache; without it the file is something else.
    for at in (1..9).chain([11]) {
        let scratch = Scratch::new();
        works(&scratch.open().unwrap());
        change(&scratch.path(), at * WORD);
        assert_eq!(scratch.open().unwrap().get(b"key"), None, "word {at}");
    }
}

#[test]
fn processes_keep_a_file_that_was_replaced() {
    let scratch = Scratch::new();
    let old = scratch.open().unwrap();
    works(&old);
    change(&scratch.path(), VERSION);
    let new = scratch.open().unwrap();
    assert!(new.is_current() && !old.is_current());
    assert_eq!(
        (new.get(b"key"), old.get(b"key").as_deref()),
        (None, Some(&b"value"[..]))
    );
    works(&old);

    let larger = SharedCache::open(scratch.path(), BYTES * 2).unwrap();
    assert!(larger.is_current() && !new.is_current());
    assert_eq!(
        SharedCache::builder(scratch.path())
            .open()
            .unwrap()
            .stats()
            .capacity_bytes,
        BYTES * 2
    );
}

#[test]
fn a_deleted_file_is_reported_and_created_again() {
    let scratch = Scratch::new();
    let old = scratch.open().unwrap();
    fs::remove_file(scratch.path()).unwrap();
    assert!(!old.is_current());
    works(&old);
    let new = scratch.open().unwrap();
    assert!(new.is_current());
    assert_eq!(new.get(b"key"), None);
}

#[test]
fn invalid_sizes_are_refused() {
    let scratch = Scratch::new();
    for bytes in [0, 4096, BYTES - 1, u64::MAX, (1 << 40) + 4096] {
        assert!(
            matches!(
                SharedCache::open(scratch.path(), bytes),
                Err(OpenError::Size { .. })
            ),
            "{bytes}"
        );
    }
    assert!(scratch.names().is_empty());
}

#[test]
fn a_missing_or_read_only_directory_is_an_error() {
    let scratch = Scratch::new();
    let missing = SharedCache::open(scratch.0.join("no/cache"), BYTES);
    assert!(
        matches!(missing, Err(OpenError::Io { action: "create", .. })),
        "{missing:?}"
    );
    let read_only = SharedCache::open("/proc/cache", BYTES);
    assert!(matches!(read_only, Err(OpenError::Io { .. })), "{read_only:?}");
}

#[test]
fn every_process_that_opens_a_cache_removes_leftovers() {
    let leftovers = [
        ".cache.123-0123456789abcdef.new",
        ".other.123-0123456789abcdef.new",
        ".cache.nearcache-lock",
        ".other.nearcache-lock",
    ];
    let scratch = Scratch::new();
    // The first process creates the file, the second finds it.
    for _ in 0..2 {
        for name in leftovers {
            put_at(&scratch.0.join(name), b"");
        }
        works(&scratch.open().unwrap());
        assert_eq!(scratch.names(), ["cache"]);
    }
}

#[test]
fn files_that_resemble_leftovers_are_kept() {
    let scratch = Scratch::new();
    let precious = [
        ".other.123-0123456789abcdef.new",
        ".cache.nearcache-lock",
        ".other.nearcache-lock",
    ];
    for name in precious {
        put_at(&scratch.0.join(name), b"precious");
    }
    put_at(&scratch.0.join(".other.lock"), b"");
    put_at(&scratch.0.join(".other.new"), b"");
    for _ in 0..2 {
        works(&scratch.open().unwrap());
    }
    assert_eq!(scratch.names().len(), 6);
    for name in precious {
        assert_eq!(fs::read(scratch.0.join(name)).unwrap(), b"precious");
    }
}

#[test]
fn a_lock_file_that_others_can_write_is_refused() {
    let scratch = Scratch::new();
    let lock = scratch.0.join(".cache.nearcache-lock");
    symlink(scratch.0.join("elsewhere"), &lock).unwrap();
    assert!(matches!(scratch.open(), Err(OpenError::NotAFile { path }) if path == lock));
    assert_eq!(scratch.names().len(), 1);
    fs::remove_file(&lock).unwrap();
    put_at(&lock, b"");
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(scratch.open(), Err(OpenError::Exposed { path, .. }) if path == lock));
}

#[test]
fn threads_that_create_at_the_same_time_share_one_file() {
    const OPENERS: usize = 4;
    for round in 0..250 {
        let scratch = Scratch::new();
        if round % 2 == 0 {
            // Replaced at the same time, and not created.
            put(&scratch, b"");
        }
        let barrier = Barrier::new(OPENERS);
        let caches: Vec<SharedCache> = thread::scope(|scope| {
            let open = || {
                barrier.wait();
                scratch.open().unwrap()
            };
            let openers: Vec<_> = (0..OPENERS).map(|_| scope.spawn(open)).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        caches[0].insert(b"key", b"value", None).unwrap();
        for cache in &caches {
            assert!(cache.is_current());
            assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]), "round {round}");
        }
        assert_eq!(scratch.names(), ["cache"]);
    }
}

#[test]
fn no_more_processes_than_slots_can_open_a_file() {
    let scratch = Scratch::new();
    let opened: Vec<_> = (0..64).map(|_| scratch.open().unwrap()).collect();
    assert!(matches!(
        scratch.open(),
        Err(OpenError::TooManyProcesses { processes: 64, .. })
    ));
    drop(opened);
    works(&scratch.open().unwrap());
}

#[test]
fn undamaged_records_survive_a_reboot() {
    let scratch = Scratch::new();
    let cache = scratch.open().unwrap();
    let key = |number: u64| number.to_le_bytes();
    let value = |number: u64| vec![number.to_le_bytes()[0]; 700];
    for number in 0..1000 {
        cache.insert(&key(number), &value(number), None).unwrap();
    }
    drop(cache);
    change(&scratch.path(), BOOT_ID);
    // A torn page.
    let file = OpenOptions::new().write(true).open(scratch.path()).unwrap();
    file.write_all_at(&[0xee; 4096], BYTES / 2).unwrap();
    let mut lost = 0;
    for _ in 0..2 {
        let cache = scratch.open().unwrap();
        lost = 0;
        for number in 0..1000 {
            match cache.get(&key(number)) {
                Some(found) => assert_eq!(found, value(number)),
                None => lost += 1,
            }
        }
        let damages = cache.stats().damages;
        cache.validate().unwrap();
        for number in 0..1000 {
            drop(cache.get(&key(number)));
        }
        assert_eq!(
            cache.stats().damages,
            damages,
            "the damaged record is still there"
        );
    }
    assert!(lost > 0 && lost < 900, "{lost} lost");
    works(&scratch.open().unwrap());
}
