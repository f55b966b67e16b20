//! A cache file that this process has open, and keeps usable: once a second, at the beginning of a call, it is checked.
//!
//! - Does the path still name the file? If the file was deleted or replaced, the process switches to the new one.
//! - Is the file intact? Access to the missing part of a truncated file kills the process with `SIGBUS`. A process that was
//!   idle during the truncation finds it here first.
//! - Is this process still registered in the file? A daemon that closes all its descriptors is not.
//! - Does the process still run as the user that opened the file?
//!
//! A check costs four system calls. No lock is held meanwhile, so the log's handlers may use the cache.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use nearcache::shared::{FileState, OpenError, SharedCache};
use pyo3::prelude::*;

use super::log::log;
use crate::clock::Now;
use crate::system::{coarse_millis, effective_user};

/// How often the file is checked, in milliseconds.
const CHECK_INTERVAL: u64 = 1000;

const REGISTERED_AGAIN: &str = "this process was no longer registered in the file, perhaps because all its descriptors were \
                                closed, and has registered again";
const KEEPS_OLD_FILE: &str =
    ", and this process continues to use it, because the path cannot be opened again";
const OTHER_USER: &str = "It continues to use the file, but a process that starts as that user uses another one or none: see \
                          \"Users\" in docs/how-to/operate-shared-cache.md";

/// The size of a file, and how many processes it has room for, as the options give them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSize {
    pub(crate) bytes: u64,
    /// `None` is the default for this number of bytes.
    pub(crate) processes: Option<usize>,
}

impl FileSize {
    fn open(self, path: &Path) -> Result<SharedCache<Now>, OpenError> {
        let mut builder = SharedCache::builder(path).bytes(self.bytes);
        if let Some(processes) = self.processes {
            builder = builder.max_processes(processes);
        }
        builder.clock(Now::System).open()
    }
}

impl fmt::Display for FileSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processes = self.processes.map_or("the default".to_owned(), |n| n.to_string());
        write!(f, "MAX_MEMORY {} and MAX_PROCESSES {processes}", self.bytes)
    }
}

/// A mapped file, with what this process keeps of it.
pub(super) struct MappedFile {
    pub(super) cache: SharedCache<Now>,
    /// The same cache, but its writes fail at once if another process is writing.
    pub(super) cache_without_waiting: SharedCache<Now>,
    /// No other file that this process has mapped has the same number.
    pub(super) number: u64,
}

impl MappedFile {
    fn new(cache: SharedCache<Now>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            cache_without_waiting: cache.with_lock_timeout(Duration::ZERO),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            cache,
        }
    }
}

/// The file at a path, which may be replaced by another one.
pub(crate) struct SharedFile {
    pub(super) path: PathBuf,
    pub(super) size: FileSize,
    /// Replaced after the file was deleted or replaced. Not in a lock, which a child of `fork` could inherit locked.
    mapped: ArcSwap<MappedFile>,
    /// When the file is checked next, by the coarse clock.
    next_check: AtomicU64,
    /// Whether the log says that the file is lost and cannot be opened again. Reset when it is opened.
    loss_logged: AtomicBool,
    user_logged: AtomicBool,
}

impl SharedFile {
    pub(crate) fn open(path: &Path, size: FileSize) -> Result<Self, OpenError> {
        let mapped = MappedFile::new(size.open(path)?);
        Ok(Self {
            path: path.to_owned(),
            size,
            mapped: ArcSwap::from_pointee(mapped),
            next_check: AtomicU64::new(coarse_millis() + CHECK_INTERVAL),
            loss_logged: AtomicBool::new(false),
            user_logged: AtomicBool::new(false),
        })
    }

    /// Returns the file that is mapped now, after a check if one is due.
    #[inline]
    pub(super) fn mapped(&self) -> Guard<Arc<MappedFile>> {
        // Not by the engine's wall clock, whose conversion to microseconds takes 5 % of a `get`.
        if coarse_millis() >= self.next_check.load(Ordering::Relaxed) {
            self.check();
        }
        self.mapped.load()
    }

    /// Checks the file, and opens its path again if it is lost.
    #[cold]
    pub(super) fn check(&self) {
        self.next_check
            .store(coarse_millis() + CHECK_INTERVAL, Ordering::Relaxed);
        let cache = self.mapped.load().cache.clone();
        self.check_user(&cache);
        match cache.file_state() {
            // If this process cannot register again, its next write says why.
            FileState::Current => {
                if matches!(cache.check_registration(), Ok(true)) {
                    self.log("warning", format_args!("{REGISTERED_AGAIN}"));
                }
            }
            lost => self.switch(lost),
        }
    }

    /// Opens the path again, and logs why. If that fails, the old file keeps serving the processes that have it open.
    fn switch(&self, lost: FileState) {
        let reason = LossReason(lost);
        // Other threads run meanwhile, because another process may be creating the file. At the interpreter's end there is
        // no GIL.
        let opened = Python::try_attach(|py| py.detach(|| self.open_again(lost)));
        let opened = opened.unwrap_or_else(|| self.open_again(lost));
        match opened {
            Ok(cache) => {
                self.mapped.store(Arc::new(MappedFile::new(cache)));
                self.loss_logged.store(false, Ordering::Relaxed);
                let level = if lost == FileState::Replaced {
                    "info"
                } else {
                    "warning"
                };
                self.log(
                    level,
                    format_args!("{reason}; this process now uses the file that the path names"),
                );
            }
            Err(error) => {
                if !self.loss_logged.swap(true, Ordering::Relaxed) {
                    self.log("warning", format_args!("{reason}{KEEPS_OLD_FILE}: {error}"));
                }
            }
        }
    }

    fn open_again(&self, lost: FileState) -> Result<SharedCache<Now>, OpenError> {
        if lost != FileState::Replaced {
            return self.size.open(&self.path);
        }
        // Of any size: two processes that want different sizes would otherwise replace each other's file forever.
        let existing = SharedCache::builder(&self.path).clock(Now::System).open();
        match existing {
            Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                self.size.open(&self.path)
            }
            other => other,
        }
    }

    fn check_user(&self, cache: &SharedCache<Now>) {
        let (opened_as, user) = (cache.opened_as(), effective_user());
        if opened_as == user || self.user_logged.swap(true, Ordering::Relaxed) {
            return;
        }
        self.log(
            "warning",
            format_args!(
                "this process opened the file as uid {opened_as} and runs as uid {user} now. {OTHER_USER}"
            ),
        );
    }

    /// Writes to the log, if there is still an interpreter.
    fn log(&self, level: &str, message: fmt::Arguments<'_>) {
        let message = format!("nearcache: {}: {message}", self.path.display());
        Python::try_attach(|py| {
            if let Err(error) = log(py, level, &message) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// Why a file can no longer be used, for the log.
struct LossReason(FileState);

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str = "which kills processes that use it by SIGBUS or makes them lose entries: see \"Crashes with \
            SIGBUS\" in docs/how-to/operate-shared-cache.md";
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

/// Returns which option an error of the engine is about, as the end of its message.
pub(crate) const fn option_of(error: &OpenError) -> &'static str {
    match error {
        OpenError::NoRoom { .. } => {
            ". The size is OPTIONS[\"MAX_MEMORY\"]. In Docker /dev/shm has 64 MB, unless `--shm-size` is set"
        }
        OpenError::TooManyProcesses { .. } => ". The number is OPTIONS[\"MAX_PROCESSES\"]",
        _ => "",
    }
}
