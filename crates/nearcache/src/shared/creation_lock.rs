//! The lock that is held while a cache file is created or replaced, so that only one process at a time allocates space.
//!
//! For a cache NAME it is a lock on a byte of the empty file `.NAME.nearcache-lock` in the same directory. The kernel
//! releases it when its holder ends. The holder removes the name of the lock file before it releases the lock. Therefore
//! a process that gets the lock checks that the name still leads to the file that it locked, and starts again if not. So at
//! any time only one process holds the lock of the file that has the name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::error::{OpenError, PathErrors};
use super::file::{check_access, is_at, is_not_a_regular_file, open_checked};
use super::os::LockOwner;
use super::process_slot::SETUP_LOCK;

/// A byte that no cache locks: another cache may have the name of the lock file.
const CREATION_LOCK: i64 = SETUP_LOCK - 1;
const SUFFIX: &str = ".nearcache-lock";
/// How often a lock file that others remove is opened.
const TRIES: u32 = 100;
/// How long a process waits for a holder that makes no progress.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The lock. Dropping it releases the lock.
pub(super) struct CreationLock {
    name: PathBuf,
    file: File,
}

/// The result of an attempt to take the lock.
pub(super) enum Attempt {
    Taken(CreationLock),
    /// Another process holds the lock.
    Held(Progress),
}

/// The progress of a holder. It changes with each step, and when another process becomes the holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    inode: u64,
    modified: (i64, i64),
}

impl CreationLock {
    /// Tries to take the lock for the cache at `path`. Creates the lock file if it is missing.
    pub(super) fn try_take(path: &Path, bytes: u64) -> Result<Attempt, OpenError> {
        let name = name_for(path);
        for _ in 0..TRIES {
            let file = open_or_create(&name).map_err(|error| {
                if is_not_a_regular_file(&error) {
                    OpenError::NotAFile { path: name.clone() }
                } else {
                    PathErrors(path).failed_to_allocate("create", bytes)(error)
                }
            })?;
            check_access(&name, &file)?;
            if !try_lock(&file).map_err(PathErrors(path).failed("lock"))? {
                let found = file.metadata().map_err(PathErrors(path).failed("examine"))?;
                return Ok(Attempt::Held(Progress {
                    inode: found.ino(),
                    modified: (found.mtime(), found.mtime_nsec()),
                }));
            }
            if is_at(&name, &file) {
                let lock = Self { name, file };
                lock.show_progress();
                return Ok(Attempt::Taken(lock));
            }
            // The previous holder removed the name after this process opened the file.
            unlock(&file);
        }
        Err(OpenError::Busy { path: path.into() })
    }

    /// Shows waiting processes that this one makes progress. If that fails, they give up after [`TIMEOUT`].
    pub(super) fn show_progress(&self) {
        self.file.set_modified(SystemTime::now()).ok();
    }

    /// Removes a lock file whose holder was killed; returns whether it did.
    pub(super) fn remove_abandoned(name: &Path) -> bool {
        let Ok(file) = open_checked(name) else {
            return false;
        };
        if !try_lock(&file).unwrap_or(false) {
            return false;
        }
        let removed = is_at(name, &file) && remove_if_empty(name, &file);
        unlock(&file);
        removed
    }
}

impl Drop for CreationLock {
    fn drop(&mut self) {
        remove_if_empty(&self.name, &self.file);
        // Explicitly: a child that was forked meanwhile shares the lock.
        unlock(&self.file);
    }
}

/// The time that a process has waited for the lock since the holder last made progress.
pub(super) struct ProgressTimeout {
    seen: Option<Progress>,
    since: Instant,
}

impl ProgressTimeout {
    pub(super) fn new() -> Self {
        Self {
            seen: None,
            since: Instant::now(),
        }
    }

    /// Returns whether to continue to wait for a holder whose present progress is this.
    pub(super) fn may_wait(&mut self, progress: Progress) -> bool {
        if self.seen != Some(progress) {
            self.seen = Some(progress);
            self.since = Instant::now();
        }
        self.since.elapsed() < TIMEOUT
    }
}

/// Returns whether a name is that of a lock file.
pub(super) fn is_lock_file(name: &Path) -> bool {
    let name = name.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(SUFFIX.as_bytes())
}

fn name_for(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(SUFFIX);
    path.with_file_name(name)
}

fn open_or_create(name: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(name)
}

fn try_lock(file: &File) -> io::Result<bool> {
    LockOwner::Description.try_lock(file.as_raw_fd(), CREATION_LOCK)
}

fn unlock(file: &File) {
    LockOwner::Description.unlock(file.as_raw_fd(), CREATION_LOCK);
}

/// Removes a lock file, unless it has contents: then it is something else.
fn remove_if_empty(name: &Path, file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.len() == 0) && fs::remove_file(name).is_ok()
}
