//! Finding, judging and making the file.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::error::OpenError;
use super::layout::{BOOT, GEOMETRY_CHECK, Geometry, HEADER, MAGIC, SEED, SINCE, WORD, geometry_check};
use super::map::Map;
use super::os;
use super::process::SETUP_LOCK;
use super::words::put;
use super::writer::millis;
use crate::clock::{Clock, SystemClock};

/// How often a file that others keep replacing is looked for.
const TRIES: u32 = 100;
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
}

/// A file of ours, with its geometry.
pub(super) type Found = (File, Geometry);

/// Opens the cache at a path. With `bytes` a missing or unknown file is made anew.
pub(super) fn open(path: &Path, bytes: Option<u64>) -> Result<Found, OpenError> {
    let wanted = bytes
        .map(|bytes| Geometry::of(bytes).ok_or(OpenError::Size { bytes }))
        .transpose()?;
    for _ in 0..TRIES {
        let file = match open_ours(path) {
            Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound && wanted.is_some() => {
                None
            }
            other => Some(other?),
        };
        let found = match (file, wanted) {
            (Some(file), _) => {
                match read_geometry(&file).filter(|found| wanted.is_none_or(|wanted| wanted == *found)) {
                    Some(geometry) => return Ok((file, geometry)),
                    None => match wanted {
                        Some(wanted) if contents(&file) != Contents::Other => replace(path, &file, wanted)?,
                        Some(_) => return Err(OpenError::NotACache { path: path.into() }),
                        None => return Err(OpenError::Unknown { path: path.into() }),
                    },
                }
            }
            (None, Some(wanted)) => create(path, wanted)?,
            (None, None) => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(OpenError::Busy { path: path.into() })
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
fn is_of_another_kind(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ELOOP | libc::EISDIR | libc::ENXIO | libc::ENODEV)
    )
}

/// Refuses what somebody else may have made, or may change.
fn judge(path: &Path, file: &File) -> Result<(), OpenError> {
    let found = file.metadata().map_err(At(path).failed("look at"))?;
    if !found.is_file() {
        return Err(OpenError::NotAFile { path: path.into() });
    }
    if found.uid() != os::user() {
        return Err(OpenError::Foreign {
            path: path.into(),
            owner: found.uid(),
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

/// The geometry, if the file is a cache of this version, whole, and says of itself what its size says.
pub(super) fn read_geometry(file: &File) -> Option<Geometry> {
    let bytes = file.metadata().ok()?.len();
    let geometry = Geometry::of(bytes).filter(|geometry| geometry.bytes == bytes)?;
    let mut header = [0; HEADER * WORD];
    file.read_exact_at(&mut header, 0).ok()?;
    let (words, _) = header.as_chunks::<WORD>();
    let word = |at: usize| u64::from_ne_bytes(words[at]);
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

/// Makes the file, unless another process is faster: then `None`.
fn create(path: &Path, geometry: Geometry) -> Result<Option<Found>, OpenError> {
    remove_leftovers(path);
    let (name, file) = make(path, geometry)?;
    let linked = fs::hard_link(&name.0, path);
    drop(name);
    os::unlock_byte(file.as_raw_fd(), SETUP_LOCK);
    match linked {
        Ok(()) => Ok(Some((file, geometry))),
        // Taken for a dead one's: see `remove_leftovers`.
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(At(path).failed("name")(error)),
    }
}

/// Puts a new file in the place of one that is no cache of ours, unless another process is faster: then `None`.
fn replace(path: &Path, old: &File, geometry: Geometry) -> Result<Option<Found>, OpenError> {
    let _lock = SetupLock::take(path, old)?;
    if !is_at(path, old) {
        return Ok(None);
    }
    remove_leftovers(path);
    let (name, file) = make(path, geometry)?;
    let renamed = fs::rename(&name.0, path);
    os::unlock_byte(file.as_raw_fd(), SETUP_LOCK);
    match renamed {
        Ok(()) => Ok(Some((file, geometry))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(At(path).failed("replace")(error)),
    }
}

/// Records that a process opened the file now, in its access time: for [`inspect`](super::inspect()).
pub(super) fn mark_opened(file: &File) {
    let now = FileTimes::new().set_accessed(SystemTime::now());
    // Where it fails, people see an older time; nothing else depends on it.
    file.set_times(now).ok();
}

/// Whether a file's name still is this one.
pub(super) fn is_at(path: &Path, file: &File) -> bool {
    fs::symlink_metadata(path)
        .and_then(|there| Ok((there, file.metadata()?)))
        .is_ok_and(|(there, file)| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// The lock of whoever changes what the file is.
pub(super) struct SetupLock<'a>(&'a File);

impl<'a> SetupLock<'a> {
    pub(super) fn take(path: &Path, file: &'a File) -> Result<Self, OpenError> {
        let start = Instant::now();
        while !os::try_lock_byte(file.as_raw_fd(), SETUP_LOCK).map_err(At(path).failed("lock"))? {
            if start.elapsed() > SETUP_PATIENCE {
                return Err(OpenError::Busy { path: path.into() });
            }
            thread::sleep(SETUP_POLL);
        }
        Ok(Self(file))
    }
}

impl Drop for SetupLock<'_> {
    fn drop(&mut self) {
        os::unlock_byte(self.0.as_raw_fd(), SETUP_LOCK);
    }
}

/// A name to be removed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been renamed, or removed by somebody who took us for dead.
        fs::remove_file(&self.0).ok();
    }
}

fn temporary_prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

const TEMPORARY_SUFFIX: &str = ".new";

/// Whether a name is one that `make` gives: `.NAME.PID-RANDOM.new`.
pub(super) fn is_temporary(path: &Path) -> bool {
    let random = path
        .file_name()
        .and_then(OsStr::to_str)
        .and_then(|name| name.strip_prefix('.')?.strip_suffix(TEMPORARY_SUFFIX))
        .and_then(|name| name.rsplit_once('.')?.1.split_once('-'));
    random.is_some_and(|(pid, random)| {
        pid.parse::<u32>().is_ok()
            && random.len() == 16
            && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A word that nobody can guess.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Makes a whole file under a temporary name, locked for as long as it has that.
fn make(path: &Path, geometry: Geometry) -> Result<(Temporary, File), OpenError> {
    let mut name = temporary_prefix(path);
    name.push(format!("{}-{:016x}{TEMPORARY_SUFFIX}", process::id(), random()));
    let name = path.with_file_name(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&name)
        .map_err(At(path).failed("create"))?;
    let name = Temporary(name);
    // If somebody else has it, he removes the name, and we begin again.
    os::try_lock_byte(file.as_raw_fd(), SETUP_LOCK).map_err(At(path).failed("lock"))?;
    os::allocate(&file, geometry.bytes).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => OpenError::NoRoom {
            path: path.into(),
            bytes: geometry.bytes,
        },
        _ => At(path).failed("allocate")(error),
    })?;
    let map = Map::new(&file, HEADER).map_err(At(path).failed("map"))?;
    let (described, seed) = (geometry.described(), random());
    let header = described.into_iter().chain([seed]).chain(boot_id());
    for (word, value) in map.words().iter().zip(header) {
        put(word, value, Ordering::Relaxed);
    }
    put(&map.words()[SINCE], millis(SystemClock.now()), Ordering::Relaxed);
    let check = geometry_check(&described, seed);
    put(&map.words()[GEOMETRY_CHECK], check, Ordering::Release);
    debug_assert_eq!(BOOT, SEED + 1);
    Ok((name, file))
}

/// Removes what creators left behind who died: nobody has it locked.
fn remove_leftovers(path: &Path) {
    let prefix = temporary_prefix(path);
    let Some(Ok(entries)) = path.parent().map(|parent| {
        fs::read_dir(if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        })
    }) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        if !bytes.starts_with(prefix.as_encoded_bytes()) || !bytes.ends_with(TEMPORARY_SUFFIX.as_bytes()) {
            continue;
        }
        let left = entry.path();
        let Ok(file) = open_ours(&left) else {
            continue;
        };
        if os::try_lock_byte(file.as_raw_fd(), SETUP_LOCK).unwrap_or(false) {
            fs::remove_file(&left).ok();
        }
    }
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
