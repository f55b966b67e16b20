//! Temporary files and lock files that killed creators left behind.
//!
//! A creator makes a file under the temporary name `.NAME.PID-RANDOM.new` and holds the set-up lock of the file as long as
//! it has that name. So a temporary file whose set-up lock is free is a leftover. Every process that opens a cache removes
//! the leftovers of all caches in its directory.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process;

use super::creation_lock::{self, CreationLock};
use super::error::OpenError;
use super::file::{Contents, contents, directory_of, is_at, open_checked};
use super::setup_lock::SetupLock;

const TEMPORARY_SUFFIX: &str = ".new";

/// Returns a new temporary name for a cache.
pub(super) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{:016x}{TEMPORARY_SUFFIX}", process::id(), random()));
    path.with_file_name(name)
}

/// Returns whether a name is one that [`temporary_name`] returns for some path.
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

/// Returns an unpredictable word.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Removes the leftovers in the directory of a path; returns whether there were any.
pub(super) fn remove_all(path: &Path) -> bool {
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
    let file = open_checked(name)?;
    let Some(_lock) = SetupLock::try_take(name, &file)? else {
        return Ok(false);
    };
    // If the creator has finished meanwhile, the name is gone.
    let is_leftover = contents(&file) != Contents::Other && is_at(name, &file);
    Ok(is_leftover && fs::remove_file(name).is_ok())
}
