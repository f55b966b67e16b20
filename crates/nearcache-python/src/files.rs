//! Cache files seen from outside, for `manage.py nearcache files`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use nearcache::shared::{FileKind, OpenError, inspect, remove_unused};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyValueError};
use pyo3::prelude::*;

/// Kind, bytes, creation and last opening (Unix seconds), use, and pids.
type Description = (&'static str, u64, Option<f64>, Option<f64>, bool, Vec<u32>);

/// Describes a cache file and changes nothing: its kind (``"cache"``, ``"other version"`` or ``"unfinished"``), its size in
/// bytes, when it was created and last opened (Unix seconds, or None), whether a process has it open, and their pids.
///
/// Raises `ValueError` if it is not a cache file, `OSError` if it is missing or belongs to another user.
#[pyfunction]
pub(crate) fn inspect_file(py: Python<'_>, path: PathBuf) -> PyResult<Description> {
    let found = py.detach(|| inspect(path)).map_err(raised)?;
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

/// Removes a cache file that no process has open; returns whether it did.
///
/// A process that opens the file at the same time either keeps it from being removed or opens a new one. Raises as
/// `inspect_file` does.
#[pyfunction]
pub(crate) fn remove_unused_file(py: Python<'_>, path: PathBuf) -> PyResult<bool> {
    py.detach(|| remove_unused(path)).map_err(raised)
}

fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn raised(error: OpenError) -> PyErr {
    let message = error.to_string();
    match error {
        OpenError::NotACache { .. } | OpenError::NotAFile { .. } => PyValueError::new_err(message),
        OpenError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            PyFileNotFoundError::new_err(message)
        }
        _ => PyOSError::new_err(message),
    }
}
