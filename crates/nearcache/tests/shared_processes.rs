//! Registration of processes: after a change of user, after their descriptors were closed, and up to the number of slots.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, unsafe_code)] // in helper code, as in tests; descriptors, users and forks

mod support;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nearcache::shared::{FileState, OpenError, ProcessId, SharedCache, SharedError, default_processes};
use support::{End, SKIPPED, Scratch, in_child, shared_words, signal, spawn, wait};

const BYTES: u64 = 1 << 20;
/// A user (uid) that no test runs as.
const SOMEBODY: u32 = 54_321;

fn works(cache: &SharedCache) {
    cache.insert(b"key", b"value", None).unwrap();
    assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    cache.validate().unwrap();
}

/// Makes this process run as another user; returns whether that is allowed.
fn become_another_user() -> bool {
    // SAFETY: takes no pointers, and this process has only one thread.
    unsafe {
        libc::setresgid(SOMEBODY, SOMEBODY, SOMEBODY) == 0
            && libc::setresuid(SOMEBODY, SOMEBODY, SOMEBODY) == 0
    }
}

/// Returns the descriptors of a file that this process has open.
fn descriptors_of(path: &Path) -> Vec<RawFd> {
    let file = fs::metadata(path).unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let of_it = open.filter(|entry| {
        fs::metadata(entry.path()).is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
    });
    of_it
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

/// Closes all descriptors of a file, as a daemon does that closes everything it finds open.
fn close_all(path: &Path) -> Vec<RawFd> {
    let open = descriptors_of(path);
    for fd in &open {
        // SAFETY: takes no pointers. That the cache copes with a closed descriptor is what is tested.
        assert_eq!(unsafe { libc::close(*fd) }, 0);
    }
    open
}

/// Makes each of these numbers a descriptor of another file.
fn reuse(numbers: &[RawFd], file: RawFd) {
    for number in numbers {
        // SAFETY: takes no pointers. The first number is an open descriptor.
        assert_eq!(unsafe { libc::dup2(file, *number) }, *number);
    }
}

fn name(word: &AtomicU64) -> ProcessId {
    ProcessId::from_u64(word.load(Ordering::SeqCst))
}

fn wait_for(word: &AtomicU64) {
    let start = Instant::now();
    while word.load(Ordering::SeqCst) == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "a child has failed");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a child that runs `before`, stores its id and stays. Checks that the cache finds it alive, and dead after it is
/// killed.
fn lives_until_killed(cache: &SharedCache, before: impl FnOnce() -> bool) -> Result<(), ()> {
    let words = shared_words(2);
    let child = spawn(|| {
        if !before() {
            words[0].store(1, Ordering::SeqCst);
            return SKIPPED;
        }
        works(cache);
        words[1].store(cache.process_id().unwrap().to_u64(), Ordering::SeqCst);
        words[0].store(1, Ordering::SeqCst);
        thread::sleep(Duration::from_secs(100));
        0
    });
    wait_for(&words[0]);
    if words[1].load(Ordering::SeqCst) == 0 {
        assert_eq!(wait(child), End::Exit(SKIPPED));
        return Err(());
    }
    assert!(name(&words[1]) != cache.process_id().unwrap());
    assert!(cache.is_alive(name(&words[1])));
    signal(child, libc::SIGKILL);
    assert_eq!(wait(child), End::Killed(libc::SIGKILL));
    assert!(!cache.is_alive(name(&words[1])));
    Ok(())
}

#[test]
fn a_child_that_changes_its_user_can_write_and_is_alive() {
    let scratch = Scratch::new("child");
    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
    let changed = lives_until_killed(&cache, || {
        let descriptors = descriptors_of(&scratch.path());
        assert_eq!(descriptors.len(), 2, "the child has no descriptor of its own");
        become_another_user()
    });
    if changed.is_err() {
        println!("skipped: another user: only root can become one");
        return;
    }
    // A process that took its slot before the change keeps it.
    let id_of = |cache: &SharedCache| cache.process_id().unwrap();
    lives_until_killed(&cache, || {
        let before = id_of(&cache);
        become_another_user() && id_of(&cache) == before
    })
    .unwrap();
    works(&cache);
}

#[test]
fn children_of_a_process_that_changed_its_user_can_write_and_are_alive() {
    let scratch = Scratch::new("grandchild");
    let path = scratch.path();
    in_child("another user: only root can become one", || {
        let cache = SharedCache::open(&path, BYTES).unwrap();
        if !become_another_user() {
            return SKIPPED;
        }
        works(&cache);
        // The children cannot open the file, and inherit no lock.
        assert!(File::open(&path).is_err());
        lives_until_killed(&cache, || true).unwrap();
        lives_until_killed(&cache, || {
            assert!(!cache.check_registration().unwrap(), "its lock was lost");
            true
        })
        .unwrap();
        // Nor can their children, whose parent holds a lock by then.
        assert_eq!(
            wait(spawn(|| {
                works(&cache);
                lives_until_killed(&cache, || true).unwrap();
                0
            })),
            End::Exit(0)
        );
        works(&cache);
        0
    });
}

#[test]
fn a_process_with_another_user_and_no_descriptors_can_read_and_reports_why_it_cannot_write() {
    let scratch = Scratch::new("nothing");
    let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
    works(&cache);
    in_child("another user: only root can become one", || {
        assert_eq!(close_all(&scratch.path()).len(), 2);
        if !become_another_user() {
            return SKIPPED;
        }
        let error = cache.insert(b"key", b"other", None).unwrap_err();
        assert!(
            matches!(
                error,
                SharedError::Detached(OpenError::UserChanged { opened_as, user: SOMEBODY, .. })
                    if opened_as == cache.opened_as()
            ),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("now runs as uid 54321") && text.contains("start the process as"),
            "{text}"
        );
        assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
        0
    });
}

#[test]
fn a_process_whose_descriptors_were_closed_takes_its_former_slot() {
    let scratch = Scratch::new("closed");
    let other = SharedCache::open(scratch.path(), BYTES).unwrap();
    in_child("closed descriptors", || {
        let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
        let me = cache.process_id().unwrap();
        works(&other);
        assert!(!cache.check_registration().unwrap());
        assert_eq!(close_all(&scratch.path()).len(), 4);
        // The other mapping is of this process, too; it notices first.
        assert!(other.check_registration().unwrap());
        assert!(!other.is_alive(me), "a process without its lock is alive");
        assert!(cache.check_registration().unwrap());
        assert!(!cache.check_registration().unwrap());
        assert!(cache.process_id().unwrap() == me, "it has another slot");
        assert!(other.is_alive(me) && cache.is_alive(other.process_id().unwrap()));
        works(&cache);
        // Neither mapping has taken the other's descriptors for its own.
        drop(other);
        assert!(!cache.check_registration().unwrap());
        works(&cache);
        0
    });
}

#[test]
fn threads_that_register_a_child_at_the_same_time_take_one_slot() {
    const THREADS: usize = 8;
    let scratch = Scratch::new("threads");
    let builder = SharedCache::builder(scratch.path()).bytes(BYTES);
    let cache = builder.max_processes(2).open().unwrap();
    for _ in 0..200 {
        let child = spawn(|| {
            let barrier = Barrier::new(THREADS);
            let names: Vec<_> = thread::scope(|scope| {
                let register = || {
                    barrier.wait();
                    let name = cache.process_id().unwrap();
                    works(&cache);
                    name
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(register)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(names.iter().all(|name| *name == names[0]));
            0
        });
        assert_eq!(wait(child), End::Exit(0));
    }
}

#[test]
fn process_id_registers_the_process_again() {
    let scratch = Scratch::new("name");
    in_child("closed descriptors", || {
        let cache = SharedCache::open(scratch.path(), BYTES).unwrap();
        close_all(&scratch.path());
        let me = cache.process_id().unwrap();
        assert!(!cache.check_registration().unwrap());
        let other = SharedCache::open(scratch.path(), BYTES).unwrap();
        assert!(other.is_alive(me));
        0
    });
}

#[test]
fn a_process_that_cannot_check_others_registers_again() {
    let scratch = Scratch::new("asked");
    let path = scratch.path();
    in_child("closed descriptors", || {
        let cache = SharedCache::open(&path, BYTES).unwrap();
        let me = cache.process_id().unwrap();
        let holder = stopped_holder(&path);
        close_all(&path);
        assert!(
            cache.is_alive(name(&holder.1[0])),
            "a process that cannot be checked counts as dead"
        );
        works(&cache);
        let other = SharedCache::open(&path, BYTES).unwrap();
        assert!(other.is_alive(me));
        end(&holder);
        assert!(!cache.is_alive(name(&holder.1[0])));
        0
    });
}

#[test]
fn descriptors_that_were_reused_for_other_files_are_not_touched() {
    let scratch = Scratch::new("reused");
    let log = scratch.directory().join("log");
    in_child("reused descriptors", || {
        let path = scratch.path();
        let cache = SharedCache::open(&path, BYTES).unwrap();
        let (mut socket, _peer) = UnixStream::pair().unwrap();
        let mut file = File::create(&log).unwrap();
        let others = [socket.as_raw_fd(), file.as_raw_fd()];
        let mut reused = Vec::new();
        for other in others {
            let numbers = close_all(&path);
            assert_eq!(numbers.len(), 2);
            reuse(&numbers, other);
            // Through these numbers every lock would look free, and its owner dead.
            let holder = stopped_holder(&path);
            assert!(
                cache.is_alive(name(&holder.1[0])),
                "a process that cannot be checked counts as dead"
            );
            end(&holder);
            assert!(cache.check_registration().unwrap());
            works(&cache);
            // A child uses its parent's descriptors, not these.
            assert_eq!(
                wait(spawn(|| {
                    works(&cache);
                    0
                })),
                End::Exit(0)
            );
            reused.extend(numbers);
        }
        drop(cache);
        for number in reused {
            // SAFETY: takes no pointers.
            assert_ne!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1, "it was closed");
        }
        file.write_all(b"line").unwrap();
        socket.write_all(b"line").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"line");
        0
    });
}

type Holder = (libc::pid_t, &'static [AtomicU64]);

/// Starts a process that opens the file and stays; returns it with its id.
fn stopped_holder(path: &Path) -> Holder {
    let words = shared_words(1);
    let child = spawn(|| {
        let cache = SharedCache::open(path, BYTES).unwrap();
        words[0].store(cache.process_id().unwrap().to_u64(), Ordering::SeqCst);
        thread::sleep(Duration::from_secs(100));
        0
    });
    wait_for(&words[0]);
    (child, words)
}

fn end(holder: &Holder) {
    signal(holder.0, libc::SIGKILL);
    assert_eq!(wait(holder.0), End::Killed(libc::SIGKILL));
}

#[test]
fn a_process_whose_slot_was_taken_takes_another_slot() {
    let scratch = Scratch::new("taken");
    let path = scratch.path();
    let one = SharedCache::builder(&path)
        .bytes(BYTES)
        .max_processes(1)
        .open()
        .unwrap();
    drop(one);
    in_child("a slot taken meanwhile", || {
        let cache = SharedCache::builder(&path).open().unwrap();
        let me = cache.process_id().unwrap();
        close_all(&path);
        // There is only one slot.
        let other = SharedCache::builder(&path).open().unwrap();
        assert!(other.process_id().unwrap() != me);
        let error = cache.check_registration().unwrap_err();
        assert!(
            matches!(
                error,
                SharedError::Detached(OpenError::TooManyProcesses { processes: 1, .. })
            ),
            "{error}"
        );
        assert!(!other.is_alive(me));
        works(&other);
        drop(other);
        assert!(cache.check_registration().unwrap());
        assert!(cache.process_id().unwrap() != me);
        works(&cache);
        0
    });
}

#[test]
fn as_many_processes_as_slots_can_open_the_file() {
    let scratch = Scratch::new("many");
    let open = |processes: usize| {
        SharedCache::builder(scratch.path())
            .bytes(BYTES)
            .max_processes(processes)
            .open()
    };
    for processes in [1, 3, 200] {
        let opened: Vec<_> = (0..processes).map(|_| open(processes).unwrap()).collect();
        assert_eq!(opened[0].max_processes(), processes);
        let error = open(processes).unwrap_err();
        assert!(matches!(error, OpenError::TooManyProcesses { processes: slots, .. } if slots == processes));
        assert!(
            error.to_string().contains("a larger number of processes"),
            "{error}"
        );
        works(&opened[processes - 1]);
    }
}

#[test]
fn another_number_of_processes_recreates_the_file() {
    let scratch = Scratch::new("geometry");
    let builder = || SharedCache::builder(scratch.path());
    let default = builder().bytes(BYTES).open().unwrap();
    assert_eq!(default.max_processes(), default_processes(BYTES));
    works(&default);
    let explicit = builder()
        .bytes(BYTES)
        .max_processes(default_processes(BYTES))
        .open()
        .unwrap();
    assert!(default.is_current() && explicit.get(b"key").is_some());
    let more = builder().bytes(BYTES).max_processes(65).open().unwrap();
    assert_eq!(default.file_state(), FileState::Replaced);
    assert!(more.is_current() && more.get(b"key").is_none());
    works(&more);
    // Without a size, any cache is opened.
    assert_eq!(builder().open().unwrap().max_processes(), 65);
    assert!(more.is_current());
    for processes in [0, 513, usize::MAX] {
        let error = builder()
            .bytes(BYTES)
            .max_processes(processes)
            .open()
            .unwrap_err();
        assert!(
            matches!(error, OpenError::Processes { most: 512, .. }),
            "{processes}: {error}"
        );
    }
    assert!(more.is_current());
}

#[test]
fn file_state_reports_what_became_of_the_file() {
    let scratch = Scratch::new("state");
    let path = scratch.path();
    let open = || SharedCache::open(&path, BYTES).unwrap();
    let cache = open();
    assert_eq!(cache.file_state(), FileState::Current);
    for bytes in [BYTES - 1, 4096, 0] {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(bytes).unwrap();
        assert_eq!(cache.file_state(), FileState::Truncated { bytes });
    }
    let cache = open();
    assert_eq!(cache.file_state(), FileState::Current);
    // Another cache of this size, written over the file as `cp` does.
    let other = scratch.directory().join("other");
    drop(SharedCache::open(&other, BYTES).unwrap());
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&fs::read(&other).unwrap(), 0).unwrap();
    assert_eq!(cache.file_state(), FileState::Overwritten);
    fs::rename(&other, &path).unwrap();
    assert_eq!(cache.file_state(), FileState::Replaced);
    let cache = open();
    assert_eq!(cache.file_state(), FileState::Current);
    fs::remove_file(&path).unwrap();
    assert_eq!(cache.file_state(), FileState::Replaced);
}

#[test]
fn file_state_works_if_the_path_is_inaccessible() {
    let scratch = Scratch::new("hidden");
    let path = scratch.path();
    fs::set_permissions(scratch.directory(), Permissions::from_mode(0o700)).unwrap();
    let cache = SharedCache::open(&path, BYTES).unwrap();
    let turns = shared_words(1);
    let child = spawn(|| {
        if !become_another_user() {
            turns[0].store(u64::MAX, Ordering::SeqCst);
            return SKIPPED;
        }
        assert_eq!(cache.file_state(), FileState::Current);
        turns[0].store(1, Ordering::SeqCst);
        while turns[0].load(Ordering::SeqCst) < 2 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(cache.file_state(), FileState::Replaced);
        0
    });
    wait_for(&turns[0]);
    if turns[0].load(Ordering::SeqCst) == 1 {
        fs::remove_file(&path).unwrap();
        turns[0].store(2, Ordering::SeqCst);
        assert_eq!(wait(child), End::Exit(0));
    } else {
        assert_eq!(wait(child), End::Exit(SKIPPED));
        println!("skipped: another user: only root can become one");
    }
}
