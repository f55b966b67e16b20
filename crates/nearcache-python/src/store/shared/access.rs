//! `SharedStore`, and how its operations read and write the file.
//!
//! An access tries without waiting first, with the GIL held: that is enough nearly always. If another process is writing,
//! the access is repeated with the GIL released, so that other threads run while this one waits.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use nearcache::shared::{EntryInfo, OpenError, ReadError, SharedCache, SharedError, ValidateError};
use nearcache::{OutOfMemory, Rejected};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use super::super::flights::ProcessFlights;
use super::file::{FileSize, MappedFile, SharedFile, option_of};
use super::log::{DisplayKey, warn_once};
use super::object_cache::ObjectCache;
use crate::clock::Now;
use crate::context::CallContext;
use crate::errors::error;
use crate::memory::{format, no_memory};
use crate::values::bytes::{Decoder, Undecodable};

/// The store in a cache file that this process has open.
pub(crate) struct SharedStore {
    pub(super) file: SharedFile,
    pub(crate) objects: ObjectCache,
    pub(super) flights: &'static ProcessFlights,
    unreadable_logged: AtomicBool,
    rejection_logged: AtomicBool,
}

/// Why a write failed.
pub(super) enum WriteFailure {
    /// The value is too large.
    Rejected(Rejected),
    Raised(PyErr),
}

impl WriteFailure {
    /// Returns the exception, for writes that do not handle a value that is too large.
    pub(super) fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Rejected(rejected) => error::<PyValueError>(py, format_args!("{rejected}")),
            Self::Raised(raised) => raised,
        }
    }
}

/// Runs `work` with the cache, whose clock is that of the operation.
#[inline]
pub(super) fn with_clock<T>(
    cache: &SharedCache<Now>,
    now: Now,
    work: impl FnOnce(&SharedCache<Now>) -> T,
) -> T {
    match now {
        Now::System => work(cache),
        Now::Read(_) => work(&cache.with_clock(now)),
    }
}

impl SharedStore {
    pub(crate) const fn new(
        file: SharedFile,
        objects: ObjectCache,
        flights: &'static ProcessFlights,
    ) -> Self {
        Self {
            file,
            objects,
            flights,
            unreadable_logged: AtomicBool::new(false),
            rejection_logged: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) const fn size(&self) -> FileSize {
        self.file.size
    }

    /// Runs `work` with the file, at the time of the operation.
    #[inline]
    pub(super) fn with<T>(&self, now: Now, work: impl FnOnce(&SharedCache<Now>) -> T) -> T {
        with_clock(&self.file.mapped().cache, now, work)
    }

    /// Runs `work`, which writes, and repeats it with the GIL released if another process is writing.
    pub(super) fn write<T: Send>(
        &self,
        py: Python<'_>,
        now: Now,
        work: impl Fn(&SharedCache<Now>) -> Result<T, SharedError> + Sync,
    ) -> Result<T, WriteFailure> {
        let mapped = self.file.mapped();
        let MappedFile {
            cache,
            cache_without_waiting,
            ..
        } = &**mapped;
        let written = match with_clock(cache_without_waiting, now, &work) {
            Err(SharedError::Busy { .. }) => py.detach(|| with_clock(cache, now, &work)),
            done => done,
        };
        written.map_err(|error| match error {
            SharedError::Rejected(rejected) => WriteFailure::Rejected(rejected),
            other => WriteFailure::Raised(self.to_exception(py, &other)),
        })
    }

    /// Runs `read` with the GIL released, for at most what is left of the call's read timeout.
    #[cold]
    fn read_with_waiting<T: Send>(
        &self,
        context: &CallContext<'_, '_>,
        now: Now,
        read: impl FnOnce(&SharedCache<Now>, Duration) -> T + Send,
    ) -> T {
        let timeout = context.read_timeout.get();
        let start = Instant::now();
        let mapped = self.file.mapped();
        let found = context
            .py()
            .detach(|| with_clock(&mapped.cache, now, |cache| read(cache, timeout)));
        context.read_timeout.set(timeout.saturating_sub(start.elapsed()));
        found
    }

    /// Describes a live entry. Counts neither as a use nor in the statistics.
    pub(super) fn peek(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> Option<EntryInfo> {
        let peek = |cache: &SharedCache<Now>, timeout| cache.peek_within(key, timeout);
        let found = self.with(now, |cache| peek(cache, Duration::ZERO));
        let found = match found {
            Err(ReadError::Busy) => self.read_with_waiting(context, now, peek),
            done => done,
        };
        // An entry whose write does not end is a miss.
        found.ok().flatten()
    }

    /// Copies a live entry's bytes. Counts as a read.
    pub(super) fn read_bytes(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
        value: &mut Vec<u8>,
    ) -> Result<Option<EntryInfo>, OutOfMemory> {
        match self.with(now, |cache| cache.try_get_into(key, value)) {
            Ok(found) => Ok(found),
            Err(ReadError::Busy) => self.read_with_waiting(context, now, |cache, timeout| {
                cache.get_into_within(key, value, timeout)
            }),
            Err(_) => Err(OutOfMemory),
        }
    }

    /// Copies a live entry's bytes. Counts neither as a use nor in the statistics.
    pub(super) fn peek_bytes(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
        value: &mut Vec<u8>,
    ) -> Result<Option<EntryInfo>, OutOfMemory> {
        context
            .py()
            .detach(|| self.with(now, |cache| cache.peek_into(key, value)))
    }

    /// Returns the object for a value whose read was counted as a hit; `None` if this process cannot decode it.
    pub(super) fn decode(
        &self,
        py: Python<'_>,
        key: &[u8],
        value: Decoder<'_>,
        now: Now,
    ) -> PyResult<Option<Py<PyAny>>> {
        self.readable(py, key, value.object(), now)
    }

    /// Returns an object, or counts as unreadable that there is none.
    pub(super) fn readable(
        &self,
        py: Python<'_>,
        key: &[u8],
        decoded: Result<Py<PyAny>, Undecodable>,
        now: Now,
    ) -> PyResult<Option<Py<PyAny>>> {
        match decoded {
            Ok(object) => Ok(Some(object)),
            Err(Undecodable::Raised(raised)) => Err(raised),
            Err(Undecodable::Invalid(cause)) => {
                self.with(now, SharedCache::count_hit_as_unreadable);
                self.log_unreadable(py, key, cause)?;
                Ok(None)
            }
        }
    }

    #[cold]
    fn log_unreadable(&self, py: Python<'_>, key: &[u8], cause: Option<PyErr>) -> PyResult<()> {
        let cause = match cause {
            Some(cause) => format(format_args!("{cause}"))?,
            None => format(format_args!("its bytes are not a value that nearcache writes"))?,
        };
        warn_once(py, &self.unreadable_logged, || {
            format(format_args!(
                "nearcache: this process cannot read the value under \"{}\" in {}, which counts as a miss: {cause}. Further \
                 ones are not logged; stats().unreadable counts them.",
                DisplayKey(key),
                self.file.path.display()
            ))
        })
    }

    #[cold]
    pub(super) fn log_rejection(&self, py: Python<'_>, key: &[u8], len: usize) -> PyResult<()> {
        let most = self.with(Now::System, |cache| cache.max_value_bytes(key.len()));
        warn_once(py, &self.rejection_logged, || {
            format(format_args!(
                "nearcache: the value under \"{}\" was not stored: it has {len} bytes, and {} accepts at most {most}. Increase \
                 MAX_MEMORY to store larger values. Further ones are not logged; stats().rejections counts them.",
                DisplayKey(key),
                self.file.path.display()
            ))
        })
    }

    #[cold]
    fn to_exception(&self, py: Python<'_>, failure: &SharedError) -> PyErr {
        let path = self.file.path.display();
        let option = match failure {
            SharedError::Detached(reason) => option_of(reason),
            _ => "",
        };
        let error = match failure {
            SharedError::OutOfMemory(_) | SharedError::Detached(OpenError::OutOfMemory(_)) => {
                return no_memory(());
            }
            SharedError::KeyTooLong { .. } | SharedError::Rejected(_) => error::<PyValueError>,
            SharedError::Busy { .. } => error::<PyTimeoutError>,
            SharedError::Detached(_) => error::<PyOSError>,
            _ => error::<PyRuntimeError>,
        };
        error(py, format_args!("nearcache: {path}: {failure}{option}"))
    }

    /// Checks the whole file; see `Backend._verify`.
    pub(crate) fn verify(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64, u64)> {
        // A file that was truncated or overwritten must not be read.
        self.file.check();
        match py.detach(|| self.with(Now::System, SharedCache::validate)) {
            Ok(report) => Ok((
                report.entries,
                report.payload_bytes,
                report.record_bytes,
                report.torn,
                report.gap_bytes,
            )),
            Err(ValidateError::Cache(failure)) => Err(self.to_exception(py, &failure)),
            Err(damage) => Err(error::<PyValueError>(py, format_args!("{damage}"))),
        }
    }
}
