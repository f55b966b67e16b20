//! Opening and examining files: whether a file is a cache that this process may use, and which geometry it has.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use super::error::{OpenError, PathErrors};
use super::layout::{
    GEOMETRY_CHECK, Geometry, HEADER, MAGIC, PROCESSES, SEED, WORD, default_processes, geometry_check,
    most_processes,
};
use super::os::{self, LockOwner};
use super::process_slot::{SLOT_LOCKS, TO_THE_END};
use super::{create, leftovers};

const OTHERS_MAY_WRITE: u32 = 0o022;

/// Returns the directory of a path.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A cache file that was opened and examined.
pub(super) type OpenedFile = (File, Geometry);

/// Returns the geometry of a file with this size and number of process slots.
fn requested_geometry(bytes: u64, processes: Option<usize>) -> Result<Geometry, OpenError> {
    let default = default_processes(bytes);
    if Geometry::new(bytes, default).is_none() {
        return Err(OpenError::Size { bytes });
    }
    let processes = processes.unwrap_or(default);
    Geometry::new(bytes, processes).ok_or(OpenError::Processes {
        processes,
        bytes,
        most: most_processes(bytes),
    })
}

/// Opens the cache at a path. With `bytes`, the file is created if it is missing, or has another size, version or number of
/// process slots.
pub(super) fn open(
    path: &Path,
    bytes: Option<u64>,
    processes: Option<usize>,
) -> Result<OpenedFile, OpenError> {
    let opened = if let Some(bytes) = bytes {
        create::open_or_create(path, requested_geometry(bytes, processes)?)?
    } else {
        let file = open_checked(path)?;
        let geometry = read_geometry(&file).ok_or_else(|| OpenError::Unknown { path: path.into() })?;
        (file, geometry)
    };
    leftovers::remove_all(path);
    Ok(opened)
}

/// What is at the path of a cache.
pub(super) enum ExistingFile {
    /// A cache of the requested geometry.
    Usable(OpenedFile),
    /// A cache of another geometry or version, or an empty file.
    Replaceable(File),
    Missing,
}

/// Opens what is at a path, and compares it with the requested geometry.
pub(super) fn examine(path: &Path, requested: Geometry) -> Result<ExistingFile, OpenError> {
    let file = match open_checked(path) {
        Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(ExistingFile::Missing);
        }
        opened => opened?,
    };
    match read_geometry(&file) {
        Some(found) if found == requested => Ok(ExistingFile::Usable((file, found))),
        _ if contents(&file) == Contents::Other => Err(OpenError::NotACache { path: path.into() }),
        _ => Ok(ExistingFile::Replaceable(file)),
    }
}

/// Opens a regular file that belongs to this user and that no other user may write to.
pub(super) fn open_checked(path: &Path) -> Result<File, OpenError> {
    let file = open_existing(path).map_err(|error| {
        if is_not_a_regular_file(&error) {
            OpenError::NotAFile { path: path.into() }
        } else {
            PathErrors(path).failed("open")(error)
        }
    })?;
    check_access(path, &file)?;
    Ok(file)
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Returns whether opening failed because the path names a link, a directory, a socket, or a device that does not exist.
pub(super) fn is_not_a_regular_file(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ENODEV)
    )
}

/// Checks that a file is regular and local, belongs to this user, and cannot be written by other users.
pub(super) fn check_access(path: &Path, file: &File) -> Result<(), OpenError> {
    let found = file.metadata().map_err(PathErrors(path).failed("examine"))?;
    if !found.is_file() {
        return Err(OpenError::NotAFile { path: path.into() });
    }
    if os::file_system(file).is_ok_and(os::is_network) {
        return Err(OpenError::NotLocal { path: path.into() });
    }
    if found.uid() != os::user() {
        return Err(OpenError::Foreign {
            path: path.into(),
            owner: found.uid(),
            user: os::user(),
        });
    }
    let mode = found.mode() & 0o7777;
    if mode & OTHERS_MAY_WRITE != 0 {
        return Err(OpenError::Exposed {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

/// Returns the geometry of a file if it is a complete cache of this version, and its header describes a file of its size.
pub(super) fn read_geometry(file: &File) -> Option<Geometry> {
    let bytes = file.metadata().ok()?.len();
    let mut header = [0; HEADER * WORD];
    file.read_exact_at(&mut header, 0).ok()?;
    let (words, _) = header.as_chunks::<WORD>();
    let word = |at: usize| u64::from_ne_bytes(words[at]);
    let processes = usize::try_from(word(PROCESSES)).ok()?;
    let geometry = Geometry::new(bytes, processes).filter(|geometry| geometry.bytes == bytes)?;
    let described = geometry.described();
    let fits = described
        .iter()
        .enumerate()
        .all(|(at, described)| word(at) == *described);
    (fits && word(GEOMETRY_CHECK) == geometry_check(&described, word(SEED))).then_some(geometry)
}

/// What a file contains, according to its header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// A cache, of any version and byte order.
    Cache,
    /// Nothing, or only zeros, as after a power failure.
    Nothing,
    /// Something that is not a cache, or cannot be read.
    Other,
}

pub(super) fn contents(file: &File) -> Contents {
    let mut header = [0; HEADER * WORD];
    let Ok(read) = file.read_at(&mut header, 0) else {
        return Contents::Other;
    };
    let magic = header.first_chunk().map(|first| u64::from_ne_bytes(*first));
    if magic.is_some_and(|magic| [MAGIC, MAGIC.swap_bytes()].contains(&magic)) {
        Contents::Cache
    } else if header[..read].iter().all(|byte| *byte == 0) {
        Contents::Nothing
    } else {
        Contents::Other
    }
}

/// Records in the access time that a process opened the file now: see [`inspect`](super::inspect()). If that fails, people
/// see an earlier time; nothing else depends on it.
pub(super) fn mark_opened(file: &File) {
    let now = FileTimes::new().set_accessed(SystemTime::now());
    file.set_times(now).ok();
}

/// Returns whether a path names this file.
pub(super) fn is_at(path: &Path, file: &File) -> bool {
    fs::symlink_metadata(path)
        .and_then(|there| Ok((there, file.metadata()?)))
        .is_ok_and(|(there, file)| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// Removes the name of a file that no process has open; returns whether it did. The caller holds the file's set-up lock.
pub(super) fn remove_if_unused(path: &Path, file: &File) -> Result<bool, OpenError> {
    let fd = file.as_raw_fd();
    let owner = LockOwner::Description;
    let locked = owner.try_lock_range(fd, SLOT_LOCKS, TO_THE_END);
    if !locked.map_err(PathErrors(path).failed("lock"))? {
        return Ok(false);
    }
    let removed = if is_at(path, file) {
        fs::remove_file(path).map(|()| true)
    } else {
        Ok(false)
    };
    owner.unlock_range(fd, SLOT_LOCKS, TO_THE_END);
    removed.map_err(PathErrors(path).failed("remove"))
}
