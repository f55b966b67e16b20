//! Creates and replaces cache files, and removes what killed creators left behind.
//!
//! Locks are taken in this order: the creation lock of the name, the set-up lock of the file that is to be replaced, all
//! of that file's slot locks (tried only). The set-up lock of a temporary file marks its creator as alive; it is only
//! ever tried. Processes that repair or remove a file take its set-up lock and no creation lock.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::creation_lock::{self, Attempt, CreationLock, Patience};
use super::error::OpenError;
use super::file::{
    At, Contents, Found, Look, SetupLock, boot_id, contents, directory_of, is_at, look, open_ours,
    release_setup_lock, remove_if_unused, try_setup_lock,
};
use super::layout::{BOOT, GEOMETRY_CHECK, Geometry, HEADER, SEED, SINCE, geometry_check};
use super::map::Map;
use super::os::{self, LockOwner};
use super::process::CREATOR_LOCK;
use super::words::put;
use super::writer::millis;
use crate::clock::{Clock, SystemClock};

/// How often a file that others keep replacing is looked for.
const TRIES: u32 = 100;
const POLL: Duration = Duration::from_millis(5);
/// So much is allocated at a time: progress can be seen after each slice.
const SLICE: u64 = 16 << 20;
/// How long to wait for room that is given back: of a removed file that others are about to close, or whose creator was
/// killed just now.
const GIVING_BACK: Duration = Duration::from_secs(1);
const TEMPORARY_SUFFIX: &str = ".new";

/// A name that is removed when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // The name may be gone: it was renamed, or removed from outside.
        fs::remove_file(&self.0).ok();
    }
}

/// A file under a temporary name, with its set-up lock.
struct New {
    name: Temporary,
    file: File,
}

/// Opens the cache at a path if it has this geometry; otherwise creates or replaces it.
pub(super) fn open_or_create(path: &Path, geometry: Geometry) -> Result<Found, OpenError> {
    let mut patience = Patience::new();
    let mut tries = 0;
    while tries < TRIES {
        if let Look::Fit(found) = look(path, geometry)? {
            return Ok(found);
        }
        match take_lock(path, geometry)? {
            Attempt::Taken(lock) => {
                if let Some(found) = create(path, geometry, &lock)? {
                    return Ok(found);
                }
                tries += 1;
            }
            Attempt::Held(progress) if patience.lasts(progress) => thread::sleep(POLL),
            Attempt::Held(_) => break,
        }
    }
    Err(OpenError::Busy { path: path.into() })
}

fn take_lock(path: &Path, geometry: Geometry) -> Result<Attempt, OpenError> {
    match CreationLock::try_take(path, geometry.bytes) {
        // Some file systems need room for the name of the lock file, too.
        Err(OpenError::NoRoom { .. }) if remove_leftovers(path) => {
            CreationLock::try_take(path, geometry.bytes)
        }
        attempt => attempt,
    }
}

/// Creates or replaces the file, unless another process was faster without the creation lock: then returns `None`.
fn create(path: &Path, geometry: Geometry, lock: &CreationLock) -> Result<Option<Found>, OpenError> {
    let mut old = match look(path, geometry)? {
        // Its creator held the lock until now.
        Look::Fit(found) => return Ok(Some(found)),
        Look::Unfit(old) => Some(SetupLock::take(path, old)?),
        Look::Missing => None,
    };
    if old.as_ref().is_some_and(|old| !is_at(path, old.file())) {
        return Ok(None);
    }
    remove_leftovers(path);
    let new = match make(path, geometry, lock) {
        Err(error @ OpenError::NoRoom { .. }) => {
            // The room may be taken by the finished file of a process without the lock, or by a leftover.
            if let Look::Fit(found) = look(path, geometry)? {
                return Ok(Some(found));
            }
            if !make_room(path, geometry, &mut old)? {
                return Err(error);
            }
            make(path, geometry, lock)
        }
        made => made,
    };
    match new {
        Err(error @ OpenError::NoRoom { .. }) => match look(path, geometry)? {
            Look::Fit(found) => Ok(Some(found)),
            _ => Err(error),
        },
        new => publish(path, geometry, new?, old.is_some()),
    }
}

/// Removes leftovers, and the old file if no process has it open and the new one fits instead; returns whether to try
/// again.
fn make_room(path: &Path, geometry: Geometry, old: &mut Option<SetupLock<File>>) -> Result<bool, OpenError> {
    let mut has_removed = remove_leftovers(path);
    if let Some(unused) = old.as_ref().map(SetupLock::file)
        && fits_instead(path, unused, geometry)
        && remove_if_unused(path, unused)?
    {
        *old = None; // which closes it: an open file keeps its room
        has_removed = true;
    }
    Ok(has_room_soon(path, geometry.bytes) || has_removed)
}

/// Waits for room as long as it grows; returns whether there is enough.
fn has_room_soon(path: &Path, bytes: u64) -> bool {
    let mut free = free_room(path);
    let mut since = Instant::now();
    while free < bytes && since.elapsed() < GIVING_BACK {
        thread::sleep(POLL);
        let found = free_room(path);
        if found > free {
            (free, since) = (found, Instant::now());
        }
    }
    free >= bytes
}

/// Whether there is room for a new file once the old one is removed, as far as the file system tells.
fn fits_instead(path: &Path, old: &File, geometry: Geometry) -> bool {
    const BLOCK: u64 = 512;
    let given_back = old.metadata().map_or(0, |old| old.blocks() * BLOCK);
    free_room(path).saturating_add(given_back) >= geometry.bytes
}

fn free_room(path: &Path) -> u64 {
    os::room(directory_of(path)).unwrap_or_default().free
}

/// Gives a whole file its name; `None` if another process was faster. The file keeps the creator lock, so that no process
/// removes it as unused before its creator has a slot in it.
fn publish(path: &Path, geometry: Geometry, new: New, replaces: bool) -> Result<Option<Found>, OpenError> {
    let New { name, file } = new;
    let locked = LockOwner::Description.try_lock(file.as_raw_fd(), CREATOR_LOCK);
    locked.map_err(At(path).failed("lock"))?;
    let (action, named) = if replaces {
        ("replace", fs::rename(&name.0, path))
    } else {
        ("name", fs::hard_link(&name.0, path))
    };
    drop(name);
    // Explicitly: a child that was forked meanwhile shares the lock.
    release_setup_lock(&file);
    match named {
        Ok(()) => Ok(Some((file, geometry))),
        // `NotFound`: the temporary name was removed from outside.
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(At(path).failed(action)(error)),
    }
}

/// Makes a whole file under a temporary name, locked for as long as it has that name.
fn make(path: &Path, geometry: Geometry, lock: &CreationLock) -> Result<New, OpenError> {
    // Not one slice after the other until there is no room for anybody. Some file systems tell no size.
    let total = os::room(directory_of(path)).unwrap_or_default().total;
    if total != 0 && geometry.bytes > total {
        return Err(At(path).no_room(geometry.bytes));
    }
    let new = make_empty(path, geometry)?;
    let mut first = 0;
    while first < geometry.bytes {
        let count = SLICE.min(geometry.bytes - first);
        let allocated = os::allocate(&new.file, first, count);
        allocated.map_err(|error| {
            // What is free is told as it is without this file.
            new.file.set_len(0).ok();
            At(path).failed_for_room("allocate", geometry.bytes)(error)
        })?;
        lock.show_progress();
        first += count;
    }
    let map = Map::new(&new.file, HEADER).map_err(At(path).failed("map"))?;
    let (described, seed) = (geometry.described(), random());
    let header = described.into_iter().chain([seed]).chain(boot_id());
    for (word, value) in map.words().iter().zip(header) {
        put(word, value, Ordering::Relaxed);
    }
    put(&map.words()[SINCE], millis(SystemClock.now()), Ordering::Relaxed);
    let check = geometry_check(&described, seed);
    put(&map.words()[GEOMETRY_CHECK], check, Ordering::Release);
    debug_assert_eq!(BOOT, SEED + 1);
    Ok(new)
}

/// Creates an empty file under a temporary name, with its set-up lock.
fn make_empty(path: &Path, geometry: Geometry) -> Result<New, OpenError> {
    for _ in 0..TRIES {
        let name = temporary_name(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&name)
            .map_err(At(path).failed_for_room("create", geometry.bytes))?;
        let name = Temporary(name);
        // Until it is locked, the file looks like a leftover, and others may remove it.
        let is_locked = try_setup_lock(&file).map_err(At(path).failed("lock"))?;
        if is_locked && is_at(&name.0, &file) {
            return Ok(New { name, file });
        }
    }
    Err(OpenError::Busy { path: path.into() })
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{:016x}{TEMPORARY_SUFFIX}", process::id(), random()));
    path.with_file_name(name)
}

/// Whether a name is one that `temporary_name` returns for some path: `.NAME.PID-RANDOM.new`.
pub(super) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX))
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

/// Removes what killed creators of any cache left behind in the directory of a path; returns whether there was anything.
pub(super) fn remove_leftovers(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory_of(path)) else {
        return false;
    };
    let mut has_removed = false;
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = entry.path();
        has_removed |= if is_temporary(&name) {
            remove_temporary(&name).unwrap_or(false)
        } else {
            creation_lock::is_lock_file(&name) && CreationLock::remove_abandoned(&name)
        };
    }
    has_removed
}

/// Removes a temporary file whose creator was killed; returns whether it did.
fn remove_temporary(name: &Path) -> Result<bool, OpenError> {
    let file = open_ours(name)?;
    let Some(_lock) = SetupLock::try_take(name, &file)? else {
        return Ok(false);
    };
    // A creator that has finished meanwhile has taken the name away.
    let is_leftover = contents(&file) != Contents::Other && is_at(name, &file);
    Ok(is_leftover && fs::remove_file(name).is_ok())
}
