//! Cache files seen from outside: what they are, which processes use them, and how unused ones are removed.
//!
//! A process that uses a cache holds a lock on the byte of its process slot (`process_slot.rs`). [`remove_unused`] locks
//! all of those bytes at once, which succeeds only if no process has the file open, and removes the file's name before it
//! releases them. A process that opens the file at the same time takes its slot either before that, so that the file stays,
//! or after it; then it sees that the name is gone, and opens the path again (`builder.rs`).
//!
//! If that process creates the file, it holds the creator lock until it has its slot. The creator lock is one of the bytes
//! that `remove_unused` locks. So a process that removes a file again and again cannot keep others from opening it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::SystemTime;

use super::error::{OpenError, PathErrors};
use super::file::{self, Contents};
use super::leftovers;
use super::os;
use super::process_slot::{self, SETUP_LOCK, SLOT_LOCKS, TO_THE_END};
use super::setup_lock::SetupLock;

/// What a cache file is to this version of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A cache that this version can open.
    Cache,
    /// A cache of another version or byte order, or with a damaged header. If it is opened with a size, it is replaced.
    OtherVersion,
    /// A file that a process has begun to create and that does not have its name yet.
    Unfinished,
}

/// Describes a cache file that is not open: see [`inspect`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// What the file is.
    pub kind: FileKind,
    /// The size of the file.
    pub bytes: u64,
    /// When the file was created, if the file system records that.
    pub created: Option<SystemTime>,
    /// When a process last opened the file as a cache, if the file system records that.
    pub opened: Option<SystemTime>,
    /// Whether a living process has the file open, or is creating it.
    ///
    /// A child of `fork` counts from its first write.
    pub in_use: bool,
    /// The pids of these processes, each in its own PID namespace. Empty unless `kind` is [`FileKind::Cache`].
    pub pids: Vec<u32>,
}

/// Describes the cache file at a path. Changes nothing.
///
/// # Errors
///
/// [`OpenError::NotACache`] if the file is not a cache. Other variants of [`OpenError`] if it is not a regular file of this
/// user, or cannot be read.
pub fn inspect(path: impl AsRef<Path>) -> Result<FileInfo, OpenError> {
    let path = path.as_ref();
    let (file, kind) = open(path)?;
    let metadata = file.metadata().map_err(PathErrors(path).failed("examine"))?;
    let pids = match file::read_geometry(&file) {
        Some(geometry) if kind == FileKind::Cache => {
            process_slot::pids(&file, &geometry).map_err(PathErrors(path).failed("read"))?
        }
        _ => Vec::new(),
    };
    Ok(FileInfo {
        kind,
        bytes: metadata.len(),
        created: metadata.created().ok(),
        opened: metadata.accessed().ok(),
        in_use: !pids.is_empty() || is_locked(&file, kind),
        pids,
    })
}

/// Removes the cache file at a path if no living process has it open; returns whether it did.
///
/// A process that opens the file at the same time either prevents the removal or opens a new file.
///
/// # Errors
///
/// As [`inspect`], and if the file cannot be removed.
pub fn remove_unused(path: impl AsRef<Path>) -> Result<bool, OpenError> {
    let path = path.as_ref();
    let (file, kind) = open(path)?;
    // As long as this lock is held, no process sets up, adopts or replaces the file.
    let Some(_lock) = SetupLock::try_take(path, &file)? else {
        return Ok(false);
    };
    if kind != FileKind::Unfinished {
        return file::remove_if_unused(path, &file);
    }
    let is_leftover = file::is_at(path, &file);
    if is_leftover {
        fs::remove_file(path).map_err(PathErrors(path).failed("remove"))?;
    }
    Ok(is_leftover)
}

/// Opens a file without changing its access time, which tells when it was last opened as a cache.
fn open(path: &Path) -> Result<(File, FileKind), OpenError> {
    let file = file::open_checked(path)?;
    os::keep_access_time(&file);
    let kind = match file::contents(&file) {
        Contents::Cache | Contents::Nothing if leftovers::is_temporary(path) => FileKind::Unfinished,
        Contents::Cache if file::read_geometry(&file).is_some() => FileKind::Cache,
        Contents::Cache => FileKind::OtherVersion,
        Contents::Nothing | Contents::Other => return Err(OpenError::NotACache { path: path.into() }),
    };
    Ok((file, kind))
}

fn is_locked(file: &File, kind: FileKind) -> bool {
    let (first, count) = match kind {
        FileKind::Unfinished => (SETUP_LOCK, 1),
        FileKind::Cache | FileKind::OtherVersion => (SLOT_LOCKS, TO_THE_END),
    };
    os::any_is_locked(file.as_raw_fd(), first, count)
}
