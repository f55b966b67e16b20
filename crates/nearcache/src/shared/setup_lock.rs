//! The set-up lock of a cache file, which is held while the file is set up, adopted, replaced or removed.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::error::{OpenError, PathErrors};
use super::os::LockOwner;
use super::process_slot::SETUP_LOCK;

const TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// The set-up lock of an open file. Dropping it releases the lock.
pub(super) struct SetupLock<F: Borrow<File>>(F);

impl<F: Borrow<File>> SetupLock<F> {
    /// Waits for the lock and takes it. Fails with [`OpenError::Busy`] after 5 s.
    pub(super) fn take(path: &Path, file: F) -> Result<Self, OpenError> {
        let start = Instant::now();
        while !try_lock(file.borrow()).map_err(PathErrors(path).failed("lock"))? {
            if start.elapsed() > TIMEOUT {
                return Err(OpenError::Busy { path: path.into() });
            }
            thread::sleep(POLL);
        }
        Ok(Self(file))
    }

    /// Takes the lock if it is free.
    pub(super) fn try_take(path: &Path, file: F) -> Result<Option<Self>, OpenError> {
        let is_locked = try_lock(file.borrow()).map_err(PathErrors(path).failed("lock"))?;
        Ok(is_locked.then(|| Self(file)))
    }

    pub(super) fn file(&self) -> &File {
        self.0.borrow()
    }
}

impl<F: Borrow<File>> Drop for SetupLock<F> {
    fn drop(&mut self) {
        unlock(self.0.borrow());
    }
}

/// Takes the lock until it is released or the file is closed; returns whether it did.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    LockOwner::Description.try_lock(file.as_raw_fd(), SETUP_LOCK)
}

pub(super) fn unlock(file: &File) {
    LockOwner::Description.unlock(file.as_raw_fd(), SETUP_LOCK);
}
