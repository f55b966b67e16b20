//! Files of their own, values that tell whether they are whole, and children.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::SharedCache;

pub(super) const BYTES: u64 = 1 << 20;

/// A name for a file, removed at the end.
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

/// A value that tells its version, and whose every byte follows from that, the key and its length.
pub(super) fn value(key: &[u8], version: u64, len: usize) -> Vec<u8> {
    let head = version
        .to_le_bytes()
        .into_iter()
        .chain((len as u64).to_le_bytes());
    head.chain(stream(key, version)).take(len.max(16)).collect()
}

/// The version of a value, which has to be whole and this key's.
pub(super) fn version(key: &[u8], found: &[u8]) -> u64 {
    let version = u64::from_le_bytes(found[..8].try_into().unwrap());
    let len = u64::from_le_bytes(found[8..16].try_into().unwrap());
    let expected = value(key, version, usize::try_from(len).unwrap());
    assert!(
        found == expected,
        "a torn or foreign value under {:?}",
        String::from_utf8_lossy(key)
    );
    version
}

/// Runs something in a child; returns its process id.
pub(super) fn spawn(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child uses the allocator, which glibc and musl make usable after a fork, and ends without returning.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: ends the process without running what belongs to the parent.
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
    // SAFETY: `status` is there to be written.
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
    // SAFETY: a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}
