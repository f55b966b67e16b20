//! Inspection and removal of cache files that this process does not use, for `manage.py nearcache files`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use nearcache::shared::{FileKind, OpenError, inspect, remove_unused};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyValueError};
use pyo3::prelude::*;

/// A file's kind, bytes, creation and last opening in Unix seconds, whether it is in use, and the pids.
type Description = (&'static str, u64, Option<f64>, Option<f64>, bool, Vec<u32>);

/// Describes a cache file, without changing it.
///
/// Returns its kind (``"cache"``, ``"other version"`` or ``"unfinished"``), its size in bytes, when it was created and last
/// opened (Unix seconds, or None), whether a process has it open, and the pids of these processes. Raises ``ValueError`` if
/// it is not a cache file, ``FileNotFoundError`` if it is missing, another ``OSError`` if it cannot be read.
#[pyfunction]
pub(crate) fn inspect_file(py: Python<'_>, path: PathBuf) -> PyResult<Description> {
    let found = py.detach(|| inspect(path)).map_err(to_exception)?;
    let kind = match found.kind {
        FileKind::Cache => "cache",
        FileKind::Unfinished => "unfinished",
        _ => "other version",
    };
    Ok((
        kind,
        found.bytes,
        found.created.map(unix_seconds),
        found.opened.map(unix_seconds),
        found.in_use,
        found.pids,
    ))
}

/// Removes a cache file that no process has open; returns whether it was removed.
///
/// A process that opens the path at the same time either prevents the removal or creates a new file. Errors are those of
/// ``inspect_file``.
#[pyfunction]
pub(crate) fn remove_unused_file(py: Python<'_>, path: PathBuf) -> PyResult<bool> {
    py.detach(|| remove_unused(path)).map_err(to_exception)
}

fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn to_exception(error: OpenError) -> PyErr {
    let message = error.to_string();
    match error {
        OpenError::NotACache { .. } | OpenError::NotAFile { .. } => PyValueError::new_err(message),
        OpenError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            PyFileNotFoundError::new_err(message)
        }
        _ => PyOSError::new_err(message),
    }
}
