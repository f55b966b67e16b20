//! Cache files seen from outside: what they are, which processes use them, and how unused ones are removed.
//!
//! A process that uses a cache holds a lock on the byte of its process slot (`process.rs`). [`remove_unused`] locks all
//! of those bytes at once, which succeeds only if no process has the file open, and removes the file's name before it
//! releases them. A process that opens the file at the same moment takes its slot either before that, so that the file
//! stays, or after it: then it sees that the name is gone, and opens again (`builder.rs`). It may have to create the file
//! then. The creator lock is one of the bytes that `remove_unused` locks, and a creator holds it until it has its slot. So a
//! process that removes the same file again and again cannot keep others from opening it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::SystemTime;

use super::create;
use super::error::OpenError;
use super::file::{self, At, Contents, SetupLock};
use super::os;
use super::process::{self, SETUP_LOCK, SLOT_LOCKS, TO_THE_END};

/// What a file is to this version of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A cache that this version can open.
    Cache,
    /// A cache of another version or byte order, or one whose header is damaged: opening it with a size replaces it.
    OtherVersion,
    /// A file that a process began to create and that has not got its name yet.
    Unfinished,
}

/// What is known of a cache file without opening it as a cache: see [`inspect`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// What the file is.
    pub kind: FileKind,
    /// The file's size.
    pub bytes: u64,
    /// When the file was created, if the file system records that.
    pub created: Option<SystemTime>,
    /// When a process last opened the file as a cache, if the file system records that.
    pub opened: Option<SystemTime>,
    /// Whether a living process has the file open, or is creating it.
    ///
    /// A child of `fork` counts from the time it first writes.
    pub in_use: bool,
    /// The pids of these processes, each in its own PID namespace; empty unless `kind` is [`FileKind::Cache`].
    pub pids: Vec<u32>,
}

/// Describes a cache file, and changes nothing.
///
/// # Errors
///
/// [`OpenError::NotACache`] if the file holds something else; [`OpenError`] if it is not a regular file of this user, or
/// cannot be read.
pub fn inspect(path: impl AsRef<Path>) -> Result<FileInfo, OpenError> {
    let path = path.as_ref();
    let (file, kind) = open(path)?;
    let metadata = file.metadata().map_err(At(path).failed("look at"))?;
    let pids = match file::read_geometry(&file) {
        Some(geometry) if kind == FileKind::Cache => {
            process::pids(&file, &geometry).map_err(At(path).failed("read"))?
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

/// Removes a cache file that no living process has open; returns whether it did.
///
/// A process that opens the file at the same time either keeps it from being removed or opens a new one.
///
/// # Errors
///
/// As [`inspect`], and if the file cannot be removed.
pub fn remove_unused(path: impl AsRef<Path>) -> Result<bool, OpenError> {
    let path = path.as_ref();
    let (file, kind) = open(path)?;
    // As long as this is held, no process sets up, repairs or replaces the file.
    let Some(_lock) = SetupLock::try_take(path, &file)? else {
        return Ok(false);
    };
    if kind != FileKind::Unfinished {
        return file::remove_if_unused(path, &file);
    }
    let is_leftover = file::is_at(path, &file);
    if is_leftover {
        fs::remove_file(path).map_err(At(path).failed("remove"))?;
    }
    Ok(is_leftover)
}

/// Opens a file without a trace in its access time, which tells when it was last opened as a cache.
fn open(path: &Path) -> Result<(File, FileKind), OpenError> {
    let file = file::open_ours(path)?;
    os::keep_access_time(&file);
    let kind = match file::contents(&file) {
        Contents::Cache | Contents::Nothing if create::is_temporary(path) => FileKind::Unfinished,
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
