//! Helpers: temporary files, values that can be verified, and child processes.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::SharedCache;

pub(super) const BYTES: u64 = 1 << 20;

/// The path of a file that is removed when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let shm = Path::new("/dev/shm");
        let directory = if shm.is_dir() {
            shm.into()
        } else {
            std::env::temp_dir()
        };
        Self(directory.join(format!("nearcache-test-{}-{count}", std::process::id())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn open(&self) -> SharedCache {
        SharedCache::open(&self.0, BYTES).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn stream(key: &[u8], version: u64) -> impl Iterator<Item = u8> {
    let mut state = key
        .iter()
        .fold(version.wrapping_mul(0x9e37_79b9_7f4a_7c15), |state, byte| {
            (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33).to_le_bytes()[0]
    })
}

/// Returns a value of which every byte follows from the key, the version and the length.
pub(super) fn value(key: &[u8], version: u64, len: usize) -> Vec<u8> {
    let head = version
        .to_le_bytes()
        .into_iter()
        .chain((len as u64).to_le_bytes());
    head.chain(stream(key, version)).take(len.max(16)).collect()
}

/// Returns the version of a value. Checks that the value is complete and belongs to the key.
pub(super) fn version(key: &[u8], found: &[u8]) -> u64 {
    let version = u64::from_le_bytes(found[..8].try_into().unwrap());
    let len = u64::from_le_bytes(found[8..16].try_into().unwrap());
    let expected = value(key, version, usize::try_from(len).unwrap());
    assert!(
        found == expected,
        "the value under {:?} is torn or belongs to another key",
        String::from_utf8_lossy(key)
    );
    version
}

/// Runs a function in a child process; returns the pid.
pub(super) fn spawn(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: takes no pointers. The child uses only what is usable after a fork in glibc and musl, the allocator included,
    // and ends without returning.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: takes no pointers. Ends the child without running destructors of the parent.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    pid
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Killed(i32),
    Stopped,
}

pub(super) fn wait(pid: libc::pid_t, options: i32) -> End {
    let mut status = 0;
    // SAFETY: waitpid writes an integer through the pointer, which points to one.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, options) };
    assert_eq!(waited, pid);
    if libc::WIFSTOPPED(status) {
        End::Stopped
    } else if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exit(libc::WEXITSTATUS(status))
    }
}

pub(super) fn signal(pid: libc::pid_t, signal: i32) {
    // SAFETY: takes no pointers. The pid is that of a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}
