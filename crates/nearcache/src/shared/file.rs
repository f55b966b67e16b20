//! Finds and judges the file: whether it is a cache, and of which geometry.

use std::borrow::Borrow;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::create;
use super::error::OpenError;
use super::layout::{
    GEOMETRY_CHECK, Geometry, HEADER, MAGIC, PROCESSES, SEED, WORD, default_processes, geometry_check,
    most_processes,
};
use super::os::{self, LockOwner};
use super::process::{SETUP_LOCK, SLOT_LOCKS, TO_THE_END};

const SETUP_PATIENCE: Duration = Duration::from_secs(5);
const SETUP_POLL: Duration = Duration::from_millis(5);
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Errors of one path.
pub(super) struct At<'a>(pub(super) &'a Path);

impl At<'_> {
    pub(super) fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> OpenError {
        let path = self.0.to_path_buf();
        move |source| OpenError::Io {
            action,
            path: path.clone(),
            source,
        }
    }

    /// As [`failed`](Self::failed), for an action that takes room for a file of `bytes`.
    pub(super) fn failed_for_room(
        &self,
        action: &'static str,
        bytes: u64,
    ) -> impl Fn(io::Error) -> OpenError {
        let path = self.0.to_path_buf();
        move |source| match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => At(&path).no_room(bytes),
            _ => At(&path).failed(action)(source),
        }
    }

    pub(super) fn no_room(&self, bytes: u64) -> OpenError {
        let room = os::room(directory_of(self.0)).unwrap_or_default();
        OpenError::NoRoom {
            path: self.0.into(),
            bytes,
            total: room.total,
            free: room.free,
        }
    }
}

/// The directory that a path is in.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file of ours, with its geometry.
pub(super) type Found = (File, Geometry);

/// Computes the geometry of a file that may have to be made.
fn wanted(bytes: u64, processes: Option<usize>) -> Result<Geometry, OpenError> {
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

/// Opens the cache at a path. With `bytes`, a file that is missing, or has another size, version or number of process
/// slots, is created.
pub(super) fn open(path: &Path, bytes: Option<u64>, processes: Option<usize>) -> Result<Found, OpenError> {
    let found = if let Some(bytes) = bytes {
        create::open_or_create(path, wanted(bytes, processes)?)?
    } else {
        let file = open_ours(path)?;
        let geometry = read_geometry(&file).ok_or_else(|| OpenError::Unknown { path: path.into() })?;
        (file, geometry)
    };
    create::remove_leftovers(path);
    Ok(found)
}

/// What is at a path where a cache of some geometry is to be.
pub(super) enum Look {
    /// That cache.
    Fit(Found),
    /// A cache of another geometry or version, or an empty file: to be replaced.
    Unfit(File),
    Missing,
}

/// Looks for a cache of this geometry.
pub(super) fn look(path: &Path, wanted: Geometry) -> Result<Look, OpenError> {
    let file = match open_ours(path) {
        Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Look::Missing);
        }
        opened => opened?,
    };
    match read_geometry(&file) {
        Some(found) if found == wanted => Ok(Look::Fit((file, found))),
        _ if contents(&file) == Contents::Other => Err(OpenError::NotACache { path: path.into() }),
        _ => Ok(Look::Unfit(file)),
    }
}

/// Opens a regular file of this user that others may not write to.
pub(super) fn open_ours(path: &Path) -> Result<File, OpenError> {
    let file = open_existing(path).map_err(|error| {
        if is_of_another_kind(&error) {
            OpenError::NotAFile { path: path.into() }
        } else {
            At(path).failed("open")(error)
        }
    })?;
    judge(path, &file)?;
    Ok(file)
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// A link, a directory, a socket, or a device that is not there.
pub(super) fn is_of_another_kind(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ENODEV)
    )
}

/// Refuses what somebody else may have made, or may change.
pub(super) fn judge(path: &Path, file: &File) -> Result<(), OpenError> {
    let found = file.metadata().map_err(At(path).failed("look at"))?;
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

/// The geometry, if the file is a whole cache of this version, and its header describes a file of its size.
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

/// What the header of a file says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// A cache, of any version and byte order.
    Cache,
    /// Nothing: the file is empty, as one may be after the power failed.
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

/// Records that a process opened the file now, in its access time: for [`inspect`](super::inspect()).
pub(super) fn mark_opened(file: &File) {
    let now = FileTimes::new().set_accessed(SystemTime::now());
    // Where it fails, people see an older time; nothing else depends on it.
    file.set_times(now).ok();
}

/// Whether a path still names this file.
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
    if !locked.map_err(At(path).failed("lock"))? {
        return Ok(false);
    }
    let removed = if is_at(path, file) {
        fs::remove_file(path).map(|()| true)
    } else {
        Ok(false)
    };
    owner.unlock_range(fd, SLOT_LOCKS, TO_THE_END);
    removed.map_err(At(path).failed("remove"))
}

/// Held while the file is set up, repaired, replaced or removed.
pub(super) struct SetupLock<F: Borrow<File>>(F);

impl<F: Borrow<File>> SetupLock<F> {
    pub(super) fn take(path: &Path, file: F) -> Result<Self, OpenError> {
        let start = Instant::now();
        while !try_setup_lock(file.borrow()).map_err(At(path).failed("lock"))? {
            if start.elapsed() > SETUP_PATIENCE {
                return Err(OpenError::Busy { path: path.into() });
            }
            thread::sleep(SETUP_POLL);
        }
        Ok(Self(file))
    }

    /// Takes the lock if it is free.
    pub(super) fn try_take(path: &Path, file: F) -> Result<Option<Self>, OpenError> {
        let is_locked = try_setup_lock(file.borrow()).map_err(At(path).failed("lock"))?;
        Ok(is_locked.then(|| Self(file)))
    }

    pub(super) fn file(&self) -> &File {
        self.0.borrow()
    }
}

impl<F: Borrow<File>> Drop for SetupLock<F> {
    fn drop(&mut self) {
        release_setup_lock(self.0.borrow());
    }
}

/// Takes the set-up lock until it is released or the file is closed; returns whether it did.
pub(super) fn try_setup_lock(file: &File) -> io::Result<bool> {
    LockOwner::Description.try_lock(file.as_raw_fd(), SETUP_LOCK)
}

pub(super) fn release_setup_lock(file: &File) {
    LockOwner::Description.unlock(file.as_raw_fd(), SETUP_LOCK);
}

/// What the kernel calls this boot; zeros if it does not say.
pub(super) fn boot_id() -> [u64; 2] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |from| {
        digits
            .get(from..from + 16)
            .and_then(|half| u64::from_str_radix(half, 16).ok())
            .unwrap_or_default()
    };
    [half(0), half(16)]
}
