//! Children, and memory they share with their parent, for tests of many processes.
#![allow(unsafe_code, clippy::unwrap_used, dead_code)] // in helper code, as in tests; each test uses its part

use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, ptr, slice};

/// A directory of its own, in memory where there is such a file system; removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        };
        let directory = parent.join(format!("nearcache-{test}-{}-{count}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Killed(i32),
}

/// What a child returns with whose operating system does not let it do what the test needs.
pub(crate) const SKIPPED: i32 = 77;

/// Runs something in a child, which returns its exit code; returns its process id.
pub(crate) fn spawn(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child uses the allocator, which glibc and musl make usable after a fork, and ends without returning.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        panic::set_hook(Box::new(|what| {
            // Not captured, as what is printed would be.
            writeln!(std::io::stderr(), "in a child: {what}").ok();
        }));
        let code = panic::catch_unwind(AssertUnwindSafe(child)).unwrap_or(1);
        // SAFETY: ends the process without running what belongs to the parent.
        unsafe { libc::_exit(code) };
    }
    pid
}

fn ended(status: i32) -> End {
    if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exit(libc::WEXITSTATUS(status))
    }
}

pub(crate) fn wait(pid: libc::pid_t) -> End {
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    ended(status)
}

/// How a child ended, if it has.
pub(crate) fn has_ended(pid: libc::pid_t) -> Option<End> {
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (waited == pid).then(|| ended(status))
}

pub(crate) fn signal(pid: libc::pid_t, signal: i32) {
    // SAFETY: a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Runs something in a child; whether it could be done there, which it tells by `SKIPPED` if not.
pub(crate) fn in_child(what: &str, child: impl FnOnce() -> i32) {
    match wait(spawn(child)) {
        End::Exit(0) => {}
        End::Exit(SKIPPED) => println!("skipped: {what}"),
        end => panic!("{what}: {end:?}"),
    }
}

/// Words that this process and its children share, zeros at first. Never freed.
pub(crate) fn shared_words(count: usize) -> &'static [AtomicU64] {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping, wherever the kernel likes.
    let base = unsafe { libc::mmap(ptr::null_mut(), count * 8, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    // SAFETY: so many words are mapped, aligned to pages, for good; zeros are valid.
    unsafe { slice::from_raw_parts(base.cast(), count) }
}
