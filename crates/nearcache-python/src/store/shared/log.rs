//! Messages in the log `nearcache`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::objects::{interned, text};

/// Writes a message to the log.
pub(crate) fn log(py: Python<'_>, level: &str, message: &str) -> PyResult<()> {
    let (level, message) = (text(py, level)?, text(py, message)?);
    let logging = py.import(interned!(py, "logging")?)?;
    let logger = logging.call_method1(interned!(py, "getLogger")?, (interned!(py, "nearcache")?,))?;
    logger.call_method1(level, (interned!(py, "%s")?, message))?;
    Ok(())
}

/// Writes a warning to the log, unless `logged` says that it was written before.
pub(super) fn warn_once(
    py: Python<'_>,
    logged: &AtomicBool,
    message: impl FnOnce() -> PyResult<String>,
) -> PyResult<()> {
    if logged.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    log(py, "warning", &message()?)
}

/// A key in a message. Bytes that are not UTF-8 are shown as U+FFFD.
pub(super) struct DisplayKey<'a>(pub(super) &'a [u8]);

impl fmt::Display for DisplayKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            if !chunk.invalid().is_empty() {
                write!(f, "{}", char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}
