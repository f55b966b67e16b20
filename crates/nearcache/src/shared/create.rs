//! Creating and replacing cache files.
//!
//! A new file is made under a temporary name, completely, and then gets its name with `link`, or replaces the old file with
//! `rename`. So a file that has its name is complete.
//!
//! Locks are taken in this order: the creation lock of the name, the set-up lock of the file to be replaced, all slot locks
//! of that file (tried only). The set-up lock of a temporary file shows that its creator is alive; it is only ever tried.
//! Processes that adopt or remove a file take its set-up lock and no creation lock. So there is no deadlock.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::adoption::boot_id;
use super::creation_lock::{Attempt, CreationLock, ProgressTimeout};
use super::error::{OpenError, PathErrors};
use super::file::{ExistingFile, OpenedFile, directory_of, examine, is_at, remove_if_unused};
use super::layout::{BOOT, GEOMETRY_CHECK, Geometry, HEADER, SEED, SINCE, geometry_check};
use super::leftovers::{self, random, temporary_name};
use super::mapped_words::store;
use super::mapping::Mapping;
use super::os::{self, LockOwner};
use super::process_slot::CREATOR_LOCK;
use super::setup_lock::{self, SetupLock};
use super::time::to_millis;
use crate::clock::{Clock, SystemClock};

/// How often a file that others keep replacing is examined.
const TRIES: u32 = 100;
const POLL: Duration = Duration::from_millis(5);
/// How many bytes are allocated at a time. Waiting processes see progress after each slice.
const SLICE: u64 = 16 << 20;
/// How long to wait for space to be freed: of a removed file that others are about to close, or whose creator was just
/// killed.
const SPACE_TIMEOUT: Duration = Duration::from_secs(1);

/// A name that is removed when this is dropped.
struct TemporaryName(PathBuf);

impl Drop for TemporaryName {
    fn drop(&mut self) {
        // The name may be gone: it was renamed, or another program removed it.
        fs::remove_file(&self.0).ok();
    }
}

/// A file under a temporary name. This process holds its set-up lock.
struct TemporaryFile {
    name: TemporaryName,
    file: File,
}

/// Opens the cache at a path if it has this geometry; otherwise creates or replaces it.
pub(super) fn open_or_create(path: &Path, geometry: Geometry) -> Result<OpenedFile, OpenError> {
    let mut timeout = ProgressTimeout::new();
    let mut tries = 0;
    while tries < TRIES {
        if let ExistingFile::Usable(opened) = examine(path, geometry)? {
            return Ok(opened);
        }
        match take_creation_lock(path, geometry)? {
            Attempt::Taken(lock) => {
                if let Some(opened) = create(path, geometry, &lock)? {
                    return Ok(opened);
                }
                tries += 1;
            }
            Attempt::Held(progress) if timeout.may_wait(progress) => thread::sleep(POLL),
            Attempt::Held(_) => break,
        }
    }
    Err(OpenError::Busy { path: path.into() })
}

fn take_creation_lock(path: &Path, geometry: Geometry) -> Result<Attempt, OpenError> {
    match CreationLock::try_take(path, geometry.bytes) {
        // Some file systems need space even for the name of the lock file.
        Err(OpenError::NoRoom { .. }) if leftovers::remove_all(path) => {
            CreationLock::try_take(path, geometry.bytes)
        }
        attempt => attempt,
    }
}

/// Creates or replaces the file. Returns `None` if another process did so meanwhile without the creation lock.
fn create(path: &Path, geometry: Geometry, lock: &CreationLock) -> Result<Option<OpenedFile>, OpenError> {
    let mut old = match examine(path, geometry)? {
        // Its creator held the lock until now.
        ExistingFile::Usable(opened) => return Ok(Some(opened)),
        ExistingFile::Replaceable(old) => Some(SetupLock::take(path, old)?),
        ExistingFile::Missing => None,
    };
    if old.as_ref().is_some_and(|old| !is_at(path, old.file())) {
        return Ok(None);
    }
    leftovers::remove_all(path);
    let made = match make(path, geometry, lock) {
        Err(error @ OpenError::NoRoom { .. }) => {
            // The space may be taken by a finished file, of a process without the lock, or by a leftover.
            if let ExistingFile::Usable(opened) = examine(path, geometry)? {
                return Ok(Some(opened));
            }
            if !free_space(path, geometry, &mut old)? {
                return Err(error);
            }
            make(path, geometry, lock)
        }
        made => made,
    };
    match made {
        Err(error @ OpenError::NoRoom { .. }) => match examine(path, geometry)? {
            ExistingFile::Usable(opened) => Ok(Some(opened)),
            _ => Err(error),
        },
        made => publish(path, geometry, made?, old.is_some()),
    }
}

/// Gives a complete file its name. Returns `None` if another process did so first.
///
/// The file keeps the creator lock, so that no process removes it as unused before its creator has a slot in it.
fn publish(
    path: &Path,
    geometry: Geometry,
    made: TemporaryFile,
    replaces: bool,
) -> Result<Option<OpenedFile>, OpenError> {
    let TemporaryFile { name, file } = made;
    let locked = LockOwner::Description.try_lock(file.as_raw_fd(), CREATOR_LOCK);
    locked.map_err(PathErrors(path).failed("lock"))?;
    let (action, named) = if replaces {
        ("replace", fs::rename(&name.0, path))
    } else {
        ("name", fs::hard_link(&name.0, path))
    };
    drop(name);
    // Explicitly: a child that was forked meanwhile shares the lock.
    setup_lock::unlock(&file);
    match named {
        Ok(()) => Ok(Some((file, geometry))),
        // `NotFound`: another program removed the temporary name.
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(PathErrors(path).failed(action)(error)),
    }
}

/// Makes a complete file under a temporary name.
fn make(path: &Path, geometry: Geometry, lock: &CreationLock) -> Result<TemporaryFile, OpenError> {
    // Checked first, so that a file that can never fit does not fill the file system. Some file systems report no size.
    let total = os::space(directory_of(path)).unwrap_or_default().total;
    if total != 0 && geometry.bytes > total {
        return Err(PathErrors(path).no_space(geometry.bytes));
    }
    let made = make_empty(path, geometry)?;
    allocate(path, geometry, &made.file, lock)?;
    write_header(path, geometry, &made.file)?;
    Ok(made)
}

/// Creates an empty file under a temporary name and takes its set-up lock.
fn make_empty(path: &Path, geometry: Geometry) -> Result<TemporaryFile, OpenError> {
    for _ in 0..TRIES {
        let name = temporary_name(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&name)
            .map_err(PathErrors(path).failed_to_allocate("create", geometry.bytes))?;
        let name = TemporaryName(name);
        // Until it is locked, the file looks like a leftover, and another process may remove it.
        let is_locked = setup_lock::try_lock(&file).map_err(PathErrors(path).failed("lock"))?;
        if is_locked && is_at(&name.0, &file) {
            return Ok(TemporaryFile { name, file });
        }
    }
    Err(OpenError::Busy { path: path.into() })
}

fn allocate(path: &Path, geometry: Geometry, file: &File, lock: &CreationLock) -> Result<(), OpenError> {
    let mut first = 0;
    while first < geometry.bytes {
        let count = SLICE.min(geometry.bytes - first);
        let allocated = os::allocate(file, first, count);
        allocated.map_err(|error| {
            // So that the error reports the free space without this file.
            file.set_len(0).ok();
            PathErrors(path).failed_to_allocate("allocate", geometry.bytes)(error)
        })?;
        lock.show_progress();
        first += count;
    }
    Ok(())
}

fn write_header(path: &Path, geometry: Geometry, file: &File) -> Result<(), OpenError> {
    let mapping = Mapping::new(file, HEADER).map_err(PathErrors(path).failed("map"))?;
    let words = mapping.words();
    let (described, seed) = (geometry.described(), random());
    debug_assert_eq!(BOOT, SEED + 1);
    let header = described.into_iter().chain([seed]).chain(boot_id());
    for (word, value) in words.iter().zip(header) {
        store(word, value, Ordering::Relaxed);
    }
    store(&words[SINCE], to_millis(SystemClock.now()), Ordering::Relaxed);
    let check = geometry_check(&described, seed);
    store(&words[GEOMETRY_CHECK], check, Ordering::Release);
    Ok(())
}

/// Removes leftovers, and also the old file if no process has it open and the new one then fits. Returns whether to try
/// again.
fn free_space(path: &Path, geometry: Geometry, old: &mut Option<SetupLock<File>>) -> Result<bool, OpenError> {
    let mut has_removed = leftovers::remove_all(path);
    if let Some(unused) = old.as_ref().map(SetupLock::file)
        && fits_instead(path, unused, geometry)
        && remove_if_unused(path, unused)?
    {
        *old = None; // closes the file, which keeps its space as long as it is open
        has_removed = true;
    }
    Ok(wait_for_space(path, geometry.bytes) || has_removed)
}

/// Waits for space as long as it grows; returns whether there is enough.
fn wait_for_space(path: &Path, bytes: u64) -> bool {
    let mut free = available_space(path);
    let mut since = Instant::now();
    while free < bytes && since.elapsed() < SPACE_TIMEOUT {
        thread::sleep(POLL);
        let found = available_space(path);
        if found > free {
            (free, since) = (found, Instant::now());
        }
    }
    free >= bytes
}

/// Returns whether the file system has space for a new file once the old one is removed.
fn fits_instead(path: &Path, old: &File, geometry: Geometry) -> bool {
    const BLOCK: u64 = 512;
    let freed = old.metadata().map_or(0, |old| old.blocks() * BLOCK);
    available_space(path).saturating_add(freed) >= geometry.bytes
}

fn available_space(path: &Path) -> u64 {
    os::space(directory_of(path)).unwrap_or_default().free
}
