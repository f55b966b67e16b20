//! What a process checks of its open cache file once a second, at the beginning of a call.
//!
//! - Whether the path still names the file. If the file was deleted or replaced, the process switches to the new one.
//! - Whether the file is whole. A process that touches the missing part of a truncated file is killed by `SIGBUS`; one that
//!   was idle notices the truncation here first.
//! - Whether this process is still registered in the file. A daemon that closes all descriptors is not.
//! - Whether the process has changed its user since it opened the file.
//!
//! That costs four system calls. Nothing is locked, so the log's handlers may use the cache.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nearcache::shared::{FileState, OpenError, SharedCache};
use pyo3::prelude::*;

use super::shared::{Opened, SharedStore, log};
use crate::clock::Now;
use crate::system::effective_user;

/// How often a process checks its file, in milliseconds.
const EVERY: u64 = 1000;

const REGISTERED_AGAIN: &str = "this process had lost its registration in the file, perhaps because all its descriptors \
                                were closed, and has registered again";
const GOES_ON: &str = ", and this process goes on using it, because it cannot open the path again";
const OTHER_USER: &str = "It goes on using the file, but a process that starts as that user uses another one or none: see \
                          \"Users\" in docs/shared-cache.md";

/// When to check next, and what was logged.
pub(super) struct Upkeep {
    /// By the coarse clock.
    next: AtomicU64,
    /// Logged that the file is lost and cannot be opened again. Reset when it is.
    told_of_failure: AtomicBool,
    told_of_user: AtomicBool,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self {
            next: AtomicU64::new(coarse_millis() + EVERY),
            told_of_failure: AtomicBool::new(false),
            told_of_user: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn is_due(&self) -> bool {
        coarse_millis() >= self.next.load(Ordering::Relaxed)
    }
}

impl SharedStore {
    #[cold]
    pub(super) fn do_upkeep(&self) {
        self.upkeep.next.store(coarse_millis() + EVERY, Ordering::Relaxed);
        let cache = self.current.load().patient.clone();
        self.check_user(&cache);
        match cache.file_state() {
            // If this process cannot register again, its writes say why.
            FileState::Current => {
                if matches!(cache.check_registration(), Ok(true)) {
                    self.log("warning", format_args!("{REGISTERED_AGAIN}"));
                }
            }
            lost => self.switch(lost),
        }
    }

    /// Opens the path again, and logs why. If that fails, the old file goes on serving the processes that have it open.
    fn switch(&self, lost: FileState) {
        let what = Lost(lost);
        // Others run meanwhile: another process may be creating the file. Without an interpreter there is no GIL.
        let opened = Python::try_attach(|py| py.detach(|| self.open_again(lost)));
        let opened = opened.unwrap_or_else(|| self.open_again(lost));
        let opened = opened.and_then(|cache| Ok(Opened::new(cache)?));
        match opened {
            Ok(opened) => {
                self.current.store(Arc::new(opened));
                self.upkeep.told_of_failure.store(false, Ordering::Relaxed);
                let level = if lost == FileState::Replaced {
                    "info"
                } else {
                    "warning"
                };
                self.log(
                    level,
                    format_args!("{what}; this process uses the file that the path names now"),
                );
            }
            Err(error) => {
                if !self.upkeep.told_of_failure.swap(true, Ordering::Relaxed) {
                    self.log("warning", format_args!("{what}{GOES_ON}: {error}"));
                }
            }
        }
    }

    fn open_again(&self, lost: FileState) -> Result<SharedCache<Now>, OpenError> {
        if lost != FileState::Replaced {
            return self.size().open(&self.path);
        }
        // Whatever size it has: two processes that want different sizes would go on replacing each other's file.
        let existing = SharedCache::builder(&self.path).clock(Now::System).open();
        match existing {
            Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.size().open(&self.path)
            }
            other => other,
        }
    }

    fn check_user(&self, cache: &SharedCache<Now>) {
        let (opened_as, user) = (cache.opened_as(), effective_user());
        if opened_as == user || self.upkeep.told_of_user.swap(true, Ordering::Relaxed) {
            return;
        }
        self.log(
            "warning",
            format_args!(
                "this process opened the file as uid {opened_as} and runs as uid {user} now. {OTHER_USER}"
            ),
        );
    }

    /// Writes to the log. Where there is no interpreter any longer, there is no log either.
    fn log(&self, level: &str, message: fmt::Arguments<'_>) {
        let message = format!("nearcache: {}: {message}", self.path.display());
        Python::try_attach(|py| {
            if let Err(error) = log(py, level, &message) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// Why a file cannot be used any longer, for the log.
struct Lost(FileState);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str = "which kills processes that use it by SIGBUS or makes them lose entries: see \"Crashes with \
            SIGBUS\" in docs/shared-cache.md";
        match self.0 {
            FileState::Truncated { bytes } => write!(
                f,
                "the file was truncated to {bytes} bytes while it was in use, {ADVICE}"
            ),
            FileState::Overwritten => write!(f, "the file was overwritten while it was in use, {ADVICE}"),
            _ => write!(f, "the file was deleted or replaced"),
        }
    }
}

/// Milliseconds of a clock that only goes forward, to the tick of the system's timer. Costs a few nanoseconds.
#[allow(unsafe_code)]
fn coarse_millis() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is there to be written. It cannot fail: every Linux has that clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000
}
