//! Entries in a file that all processes of the machine share.

use std::fmt;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use nearcache::shared::{
    EntryInfo, Incremented, NewEntry, OpenError, ReadError, SharedCache, SharedError, Sink, Stamp,
    ValidateError,
};
use nearcache::{Condition, OutOfMemory, Rejected, Timestamp};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::kept::Kept;
use super::upkeep::Upkeep;
use super::{EntryStore, SetOutcome, Stats, StoredKeys};
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::errors::error;
use crate::memory::{format, no_memory};
use crate::objects::{self, interned};
use crate::values::raw::{self, Raw, Reading, Unread};

/// How often `incr` of a value that is no small integer starts again because another writer was faster.
const ADD_ATTEMPTS: u32 = 100;

/// What a file is created with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSize {
    pub(crate) bytes: u64,
    /// None is the default number for these bytes.
    pub(crate) processes: Option<usize>,
}

impl FileSize {
    pub(super) fn open(self, path: &Path) -> Result<SharedCache<Now>, OpenError> {
        let mut builder = SharedCache::builder(path).bytes(self.bytes);
        if let Some(processes) = self.processes {
            builder = builder.max_processes(processes);
        }
        builder.clock(Now::System).open()
    }
}

impl fmt::Display for FileSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processes = self.processes.map_or("the default".to_owned(), |n| n.to_string());
        write!(f, "MAX_MEMORY {} and MAX_PROCESSES {processes}", self.bytes)
    }
}

/// A cache file that this process has open.
pub(crate) struct SharedStore {
    pub(super) path: PathBuf,
    size: FileSize,
    /// Another one after the file was deleted or replaced. Not in a lock: a child of `fork` could inherit that locked.
    pub(super) current: ArcSwap<Opened>,
    pub(super) upkeep: Upkeep,
    told_of_unreadable: AtomicBool,
    told_of_rejection: AtomicBool,
}

impl SharedStore {
    pub(crate) fn open(path: &Path, size: FileSize) -> Result<Self, OpenError> {
        let cache = size.open(path)?;
        Ok(Self {
            path: path.to_owned(),
            size,
            current: ArcSwap::from_pointee(Opened::new(cache)?),
            upkeep: Upkeep::new(),
            told_of_unreadable: AtomicBool::new(false),
            told_of_rejection: AtomicBool::new(false),
        })
    }

    pub(crate) const fn size(&self) -> FileSize {
        self.size
    }

    /// Does some work with the file, at the time of a context.
    #[inline]
    fn with<T>(&self, now: Now, work: impl FnOnce(&SharedCache<Now>) -> T) -> T {
        let current = self.current();
        at(&current.patient, now, work)
    }

    #[inline]
    fn current(&self) -> Guard<Arc<Opened>> {
        if self.upkeep.is_due() {
            self.do_upkeep();
        }
        self.current.load()
    }

    /// Does some work that writes. Where another process is just writing, other threads run while this one waits.
    fn write<T: Send>(
        &self,
        py: Python<'_>,
        now: Now,
        work: impl Fn(&SharedCache<Now>) -> Result<T, SharedError> + Sync,
    ) -> Result<T, Failure> {
        let current = self.current();
        let written = match at(&current.eager, now, &work) {
            Err(SharedError::Busy { .. }) => {
                let patient = &current.patient;
                py.detach(|| at(patient, now, &work))
            }
            done => done,
        };
        written.map_err(|error| match error {
            SharedError::Rejected(rejected) => Failure::TooLarge(rejected),
            other => Failure::Raised(self.raised(py, &other)),
        })
    }

    /// Reads again, where another process is just writing the same entry, while other threads run.
    #[cold]
    fn read_waiting<T: Send>(
        &self,
        context: &CallContext<'_, '_>,
        now: Now,
        read: impl FnOnce(&SharedCache<Now>, Duration) -> T + Send,
    ) -> T {
        let timeout = context.read_timeout.get();
        let start = Instant::now();
        let current = self.current();
        let found = context
            .py()
            .detach(|| at(&current.patient, now, |cache| read(cache, timeout)));
        context.read_timeout.set(timeout.saturating_sub(start.elapsed()));
        found
    }

    /// Describes a live entry, if there is one.
    fn peek(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> Option<EntryInfo> {
        let peek = |cache: &SharedCache<Now>, timeout| cache.peek_within(key, timeout);
        let found = self.with(now, |cache| peek(cache, Duration::ZERO));
        let found = match found {
            Err(ReadError::Busy) => self.read_waiting(context, now, peek),
            done => done,
        };
        // An entry whose write does not end is a miss.
        found.ok().flatten()
    }

    /// Copies a live entry's bytes, and counts that as a read.
    fn get_bytes(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
        value: &mut Vec<u8>,
    ) -> Result<Option<EntryInfo>, OutOfMemory> {
        match self.with(now, |cache| cache.try_get_into(key, value)) {
            Ok(found) => Ok(found),
            Err(ReadError::Busy) => self.read_waiting(context, now, |cache, timeout| {
                cache.get_into_within(key, value, timeout)
            }),
            Err(_) => Err(OutOfMemory),
        }
    }

    #[cold]
    fn get_waiting(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<Py<PyAny>>> {
        let mut value = Vec::new();
        let found = self.get_bytes(context, key, now, &mut value).map_err(no_memory)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let read = Reading::of(context.py(), found.kind, &value)?;
        self.made(context.py(), key, read, now)
    }

    #[cold]
    fn raised(&self, py: Python<'_>, failure: &SharedError) -> PyErr {
        let path = self.path.display();
        let message = format_args!("nearcache: {path}: {failure}");
        match failure {
            SharedError::OutOfMemory(_) | SharedError::Detached(OpenError::OutOfMemory(_)) => no_memory(()),
            SharedError::KeyTooLong { .. } | SharedError::Rejected(_) => error::<PyValueError>(py, message),
            SharedError::Busy { .. } => error::<PyTimeoutError>(py, message),
            SharedError::Detached(_) => error::<PyOSError>(py, message),
            _ => error::<PyRuntimeError>(py, message),
        }
    }

    /// What can be made of a value that was found and counted as a hit.
    fn made(&self, py: Python<'_>, key: &[u8], read: Reading<'_>, now: Now) -> PyResult<Option<Py<PyAny>>> {
        match read.value() {
            Ok(value) => Ok(Some(value)),
            Err(Unread::Failed(raised)) => Err(raised),
            Err(Unread::Unreadable(why)) => {
                self.with(now, SharedCache::count_hit_as_unreadable);
                self.tell_of_unreadable(py, key, why)?;
                Ok(None)
            }
        }
    }

    fn tell_of_unreadable(&self, py: Python<'_>, key: &[u8], error: Option<PyErr>) -> PyResult<()> {
        let why = match error {
            Some(error) => format(format_args!("{error}"))?,
            None => format(format_args!("its bytes are no value's"))?,
        };
        warn_once(py, &self.told_of_unreadable, || {
            format(format_args!(
                "nearcache: the value under \"{}\" in {} cannot be read here, so it counts as missing: {why}. \
                 Others like it will not be told of, but counted: see stats().unreadable.",
                Lossy(key),
                self.path.display()
            ))
        })
    }

    fn tell_of_rejection(&self, py: Python<'_>, key: &[u8], len: usize) -> PyResult<()> {
        let most = self.with(Now::System, |cache| cache.max_value_bytes(key.len()));
        warn_once(py, &self.told_of_rejection, || {
            format(format_args!(
                "nearcache: a value of {len} bytes under \"{}\" was not stored: {} takes values of up to {most} bytes. \
                 A larger MAX_MEMORY takes larger ones. Others like it will not be told of, but counted: see \
                 stats().rejections.",
                Lossy(key),
                self.path.display()
            ))
        })
    }

    /// Adds to a value that is no small integer, or whose sum is none.
    fn add_objects<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
        now: Now,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let mut bytes = Vec::new();
        for _ in 0..ADD_ATTEMPTS {
            let found = self.get_bytes(context, key, now, &mut bytes).map_err(no_memory)?;
            let Some(found) = found else {
                return Ok(None);
            };
            // What cannot be read counts as missing, as in `get`.
            let Some(old) = self.made(py, key, Reading::of(py, found.kind, &bytes)?, now)? else {
                return Ok(None);
            };
            let sum = old.bind(py).add(delta)?;
            let raw = Raw::new(&sum, context.settings.pickle_protocol)?;
            let item = NewEntry::new(raw.bytes())
                .kind(raw.kind)
                .expires_at(found.expires_at);
            let stored = self.write(py, now, |cache| cache.set_if_unchanged(key, item, found.stamp));
            match stored {
                Ok(true) | Err(Failure::TooLarge(_)) => return Ok(Some(sum.unbind())),
                Ok(false) => {}
                Err(Failure::Raised(raised)) => return Err(raised),
            }
        }
        let others = format_args!("other writers of the key were faster {ADD_ATTEMPTS} times");
        Err(error::<PyRuntimeError>(py, others))
    }

    /// A lock that is held with this token.
    fn held(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        now: Now,
        value: &mut Vec<u8>,
    ) -> PyResult<Option<EntryInfo>> {
        let found = self.peek_bytes(context, key, now, value).map_err(no_memory)?;
        Ok(found.filter(|found| is_held(found.kind, value, token)))
    }

    /// Copies a live entry's bytes; counts nothing.
    fn peek_bytes(
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

    /// Checks the whole file. See `Backend._verify`.
    pub(crate) fn verify(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64, u64)> {
        // A file that was truncated or overwritten must not be read.
        self.do_upkeep();
        match py.detach(|| self.with(Now::System, SharedCache::validate)) {
            Ok(report) => Ok((
                report.entries,
                report.payload_bytes,
                report.record_bytes,
                report.torn,
                report.gap_bytes,
            )),
            Err(ValidateError::Cache(failure)) => Err(self.raised(py, &failure)),
            Err(broken) => Err(error::<PyValueError>(py, format_args!("{broken}"))),
        }
    }
}

impl EntryStore for SharedStore {
    fn get(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        let (py, now, current) = (context.py(), context.now()?, self.current());
        let mut sink = Sought {
            read: Reading::new(py),
            kept: &current.kept,
            found: None,
        };
        let entry = match at(&current.patient, now, |cache| cache.try_get_into(key, &mut sink)) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(ReadError::Busy) => return self.get_waiting(context, key, now),
            Err(_) => return Err(no_memory(())),
        };
        if sink.found.is_some() {
            return Ok(sink.found);
        }
        let made = self.made(py, key, sink.read, now)?;
        if let Some(value) = made
            .as_ref()
            .filter(|_| current.kept.may_keep(entry.kind, entry.len))
        {
            current.kept.keep(entry.stamp, entry.len, value.clone_ref(py));
        }
        Ok(made)
    }

    fn set<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome> {
        let raw = Raw::new(value, context.settings.pickle_protocol)?;
        let (expires, now) = context.expires_at(timeout)?;
        let item = NewEntry::new(raw.bytes()).kind(raw.kind).expires_at(expires);
        let stored = self.write(context.py(), now, |cache| cache.set_if(key, item, condition));
        match stored {
            Ok(true) => Ok(SetOutcome::Stored),
            Ok(false) => Ok(SetOutcome::Refused),
            Err(Failure::TooLarge(_)) => {
                self.tell_of_rejection(context.py(), key, item.value.len())?;
                Ok(SetOutcome::Rejected)
            }
            Err(Failure::Raised(raised)) => Err(raised),
        }
    }

    fn incr<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = context.py();
        let now = context.now()?;
        let small = delta
            .cast_exact::<PyInt>()
            .ok()
            .and_then(|delta| delta.extract().ok());
        let Some(small) = small else {
            return self.add_objects(context, key, delta, now);
        };
        let counted = self.write(py, now, |cache| cache.incr(key, small, raw::INT));
        match counted.map_err(|failure| failure.raised(py))? {
            Incremented::Value(sum) => Ok(Some(objects::int(py, sum)?.into_any().unbind())),
            Incremented::Missing => Ok(None),
            _ => self.add_objects(context, key, delta, now),
        }
    }

    fn contains(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> bool {
        self.peek(context, key, now).is_some()
    }

    fn delete(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        self.write(context.py(), context.now()?, |cache| cache.delete(key))
            .map_err(|failure| failure.raised(context.py()))
    }

    fn clear(&self) {
        self.with(Now::System, SharedCache::clear);
    }

    fn expires_at(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> Option<Timestamp> {
        self.peek(context, key, now).map(|found| found.expires_at)
    }

    fn expire_at(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        expires: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        self.write(context.py(), now, |cache| cache.expire_at(key, expires))
            .map_err(|failure| failure.raised(context.py()))
    }

    fn persist(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool> {
        let now = context.now()?;
        match self.expires_at(context, key, now) {
            None | Some(Timestamp::NEVER) => Ok(false),
            Some(_) => self.expire_at(context, key, Timestamp::NEVER, now),
        }
    }

    /// A lock whose holder's process has died is free.
    fn acquire_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let lock = |cache: &SharedCache<Now>, stamp| {
            let (kind, bytes) = raw::lock_bytes(cache.process_id()?, token)?;
            let item = NewEntry::new(&bytes).kind(kind).expires_at(expires);
            match stamp {
                None => cache.add(key, item),
                Some(stamp) => cache.set_if_unchanged(key, item, stamp),
            }
        };
        match self.write(context.py(), now, |cache| lock(cache, None)) {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            Err(Failure::TooLarge(rejected)) => {
                let message = format_args!("there is no room for this lock: {rejected}");
                return Err(error::<PyValueError>(context.py(), message));
            }
            Err(Failure::Raised(raised)) => return Err(raised),
        }
        let mut value = Vec::new();
        let found = self
            .peek_bytes(context, key, now, &mut value)
            .map_err(no_memory)?;
        let left_behind = found.and_then(|found| {
            let (holder, _) = raw::lock_of(found.kind, &value)?;
            self.with(now, |cache| !cache.is_alive(holder))
                .then_some(found.stamp)
        });
        match left_behind {
            Some(stamp) => self
                .write(context.py(), now, |cache| lock(cache, Some(stamp)))
                .map_err(|failure| failure.raised(context.py())),
            None => Ok(false),
        }
    }

    fn release_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let held = |kind, value: &[u8]| is_held(kind, value, token);
        self.write(context.py(), context.now()?, |cache| cache.remove_if(key, held))
            .map_err(|failure| failure.raised(context.py()))
    }

    fn holds_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let held = self.held(context, key, token, context.now()?, &mut Vec::new())?;
        Ok(held.is_some())
    }

    fn extend_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        end: &dyn Fn(Timestamp) -> Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let mut value = Vec::new();
        while let Some(found) = self.held(context, key, token, now, &mut value)? {
            let expires = end(found.expires_at);
            let item = NewEntry::new(&value).kind(found.kind).expires_at(expires);
            let extended = self.write(context.py(), now, |cache| {
                cache.set_if_unchanged(key, item, found.stamp)
            });
            if extended.map_err(|failure| failure.raised(context.py()))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn keys(&'static self, now: Now) -> StoredKeys {
        let keys = self.with(Now::System, |cache| cache.with_clock(now).keys());
        StoredKeys::Shared(keys)
    }

    fn stats(&self, _: &CallContext<'_, '_>) -> PyResult<Stats> {
        Ok(Stats::of_shared(&self.with(Now::System, SharedCache::stats)))
    }

    fn reset_stats(&self) {
        self.with(Now::System, SharedCache::reset_stats);
    }

    fn panic(&self, _: &[u8]) {
        // No code runs under a lock of the file's.
        panic!("asked for by a test");
    }
}

/// A file that is open.
pub(super) struct Opened {
    pub(super) patient: SharedCache<Now>,
    /// The same, whose writes do not wait.
    eager: SharedCache<Now>,
    kept: Kept,
}

impl Opened {
    pub(super) fn new(patient: SharedCache<Now>) -> Result<Self, OutOfMemory> {
        Ok(Self {
            eager: patient.with_lock_timeout(Duration::ZERO),
            kept: Kept::new(patient.capacity_bytes())?,
            patient,
        })
    }
}

/// A value that is wanted: one that is kept already, or else the one that is read.
struct Sought<'a, 'py> {
    read: Reading<'py>,
    kept: &'a Kept,
    found: Option<Py<PyAny>>,
}

#[allow(unsafe_code)]
impl Sink for Sought<'_, '_> {
    #[inline]
    fn has_copy(&mut self, kind: u8, len: usize, stamp: &Stamp) -> bool {
        if self.kept.may_keep(kind, len) {
            self.found = self.kept.find(self.read.py(), stamp);
        }
        self.found.is_some()
    }

    #[inline]
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.read.buffer(kind, len)
    }

    #[inline]
    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.read.filled(len) };
    }
}

/// Does some work at the time of a context.
#[inline]
fn at<T>(cache: &SharedCache<Now>, now: Now, work: impl FnOnce(&SharedCache<Now>) -> T) -> T {
    match now {
        Now::System => work(cache),
        Now::Read(_) => work(&cache.with_clock(now)),
    }
}

/// Why a write did not come to pass.
enum Failure {
    TooLarge(Rejected),
    Raised(PyErr),
}

impl Failure {
    /// As an exception, where nothing too large is expected.
    fn raised(self, py: Python<'_>) -> PyErr {
        match self {
            Self::TooLarge(rejected) => error::<PyValueError>(py, format_args!("{rejected}")),
            Self::Raised(raised) => raised,
        }
    }
}

fn is_held(kind: u8, value: &[u8], token: &str) -> bool {
    raw::lock_of(kind, value).is_some_and(|(_, held)| held == token.as_bytes())
}

/// Writes a warning to the log, unless `told` says that it was written before.
fn warn_once(py: Python<'_>, told: &AtomicBool, message: impl FnOnce() -> PyResult<String>) -> PyResult<()> {
    if told.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    log(py, "warning", &message()?)
}

/// Writes to the log `nearcache`.
pub(super) fn log(py: Python<'_>, level: &str, message: &str) -> PyResult<()> {
    let (level, message) = (objects::text(py, level)?, objects::text(py, message)?);
    let logging = py.import(interned!(py, "logging")?)?;
    let logger = logging.call_method1(interned!(py, "getLogger")?, (interned!(py, "nearcache")?,))?;
    logger.call_method1(level, (interned!(py, "%s")?, message))?;
    Ok(())
}

/// A key in a message; what is no UTF-8 is shown as U+FFFD.
struct Lossy<'a>(&'a [u8]);

impl fmt::Display for Lossy<'_> {
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
