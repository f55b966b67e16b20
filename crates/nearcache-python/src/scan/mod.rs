//! Scans: iterating over the keys of a backend instance that match a pattern.
//!
//! A scan reads the store in slices and holds neither a lock nor the GIL between two slices, so other threads wait for at
//! most one slice.

mod key_names;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;

use nearcache::Clock;
use pyo3::exceptions::{PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::arguments::{Any, Version};
use crate::clock::Now;
use crate::errors::error;
use crate::glob::Glob;
use crate::keys::{decode, encode};
use crate::memory::push;
use crate::objects::{self, Count, interned, text};
use crate::open_cache::{OpenCache, Operation};
use crate::panics::guarded;
use crate::store::{ScanPattern, ScanScope, StoredKey, StoredKeys};
use key_names::{KeyNames, encode_pattern, not_a_str};

/// How many stored keys are read before the GIL is taken back.
const KEYS_PER_SLICE: usize = 1024;

/// An iterator over the keys of a cache that match a pattern, returned by `iter_keys`. `delete_pattern` has one for the keys
/// that it deletes.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct KeyIterator {
    backend: Py<PyAny>,
    cache: Arc<OpenCache>,
    version: Option<Py<PyAny>>,
    glob: Glob,
    names: KeyNames,
    /// How many keys so far have another prefix or version, or were made by another function.
    foreign_keys: AtomicU64,
    /// Never locked while Python code can run.
    progress: Mutex<Progress>,
}

struct Progress {
    position: Position,
    /// Keys that were found and not returned yet.
    found: vec::IntoIter<StoredKey>,
}

enum Position {
    At(StoredKeys),
    /// Another thread is reading a slice.
    InUse,
    End,
}

impl KeyIterator {
    /// Starts a scan over the keys of a scope.
    ///
    /// Fails with `TypeError` if the pattern is not a `str`, and with `ImproperlyConfigured` if stored keys have no known
    /// names.
    pub(crate) fn new(
        cache: &Arc<OpenCache>,
        operation: &Operation<'_, '_>,
        scope: ScanScope,
        pattern: Any<'_, '_>,
        version: Version<'_, '_>,
    ) -> PyResult<Self> {
        let context = &operation.context;
        let pattern = encode_pattern(pattern)?;
        let names = KeyNames::new(context, version)?;
        let now = Now::Read(context.now()?.now());
        let scanned = match &names {
            KeyNames::Prefixed(prefix) => ScanPattern {
                prefix,
                name: &pattern,
            },
            KeyNames::Reversed { .. } => ScanPattern {
                prefix: b"",
                name: b"*",
            },
        };
        let keys = operation.entries().keys(context, now, scope, &scanned)?;
        Ok(Self {
            backend: context.backend.clone().unbind(),
            cache: Arc::clone(cache),
            version: version.map(|version| version.clone().unbind()),
            glob: Glob::new(&pattern)?,
            names,
            foreign_keys: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                position: Position::At(keys),
                found: Vec::new().into_iter(),
            }),
        })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the next slice unless keys found before are left; returns `false` at the end. A slice may have no key that
    /// matches.
    fn read_slice(&self, py: Python<'_>) -> PyResult<bool> {
        py.check_signals()?;
        let mut progress = self.progress();
        if progress.found.len() > 0 {
            return Ok(true);
        }
        let mut keys = match std::mem::replace(&mut progress.position, Position::InUse) {
            Position::At(keys) => keys,
            Position::InUse => {
                let message = format_args!("this iterator is in use by another thread");
                return Err(error::<PyValueError>(py, message));
            }
            Position::End => {
                progress.position = Position::End;
                return Ok(false);
            }
        };
        drop(progress);
        let found = py.detach(|| self.next_candidates(&mut keys));
        let mut progress = self.progress();
        let at_end = matches!(found, Ok(None));
        // After an error the scan can continue.
        progress.position = if at_end { Position::End } else { Position::At(keys) };
        progress.found = found?.unwrap_or_default().into_iter();
        Ok(!at_end)
    }

    /// Takes the keys that were found and not returned, and reads a slice first if there are none; returns `None` at the
    /// end.
    fn take_found(&self, py: Python<'_>) -> PyResult<Option<vec::IntoIter<StoredKey>>> {
        Ok(self
            .read_slice(py)?
            .then(|| std::mem::take(&mut self.progress().found)))
    }

    /// Reads the next stored keys and returns those that may match; `None` if there are no more keys.
    ///
    /// Fails if there is no memory, or a server fails. The keys of this slice are then skipped.
    fn next_candidates(&self, keys: &mut StoredKeys) -> PyResult<Option<Vec<StoredKey>>> {
        let mut foreign = 0;
        let mut may_match = |stored: &StoredKey| match &self.names {
            KeyNames::Prefixed(prefix) => {
                let name = stored.strip_prefix(prefix.as_slice());
                foreign += u64::from(name.is_none());
                name.is_some_and(|name| self.glob.matches(name))
            }
            KeyNames::Reversed { .. } => true,
        };
        let (mut candidates, mut ended) = (Vec::new(), false);
        for read in 0..KEYS_PER_SLICE {
            let Some(stored) = keys.next().transpose()? else {
                ended = read == 0;
                break;
            };
            if may_match(&stored) {
                push(&mut candidates, stored)?;
            }
        }
        self.foreign_keys.fetch_add(foreign, Ordering::Relaxed);
        Ok((!ended).then_some(candidates))
    }

    /// Returns the name of a stored key that may match; `None` if it does not.
    fn name<'py>(&self, py: Python<'py>, stored: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (function, method) = match &self.names {
            KeyNames::Prefixed(prefix) => {
                return self.decoded(py, stored.get(prefix.len()..).unwrap_or_default());
            }
            KeyNames::Reversed { function, method } => (function, method),
        };
        let Some(stored) = self.decoded(py, stored)? else {
            return Ok(None);
        };
        let key = function.bind(py).call1((&stored,))?;
        let name = key.cast::<PyString>().map_err(|_| not_a_str(&stored, &key))?;
        if !self.glob.matches(&encode(name)?) {
            return Ok(None);
        }
        let made = self
            .backend
            .bind(py)
            .call_method1(text(py, method)?, (&key, &self.version))?;
        let is_own = made.eq(&stored)?;
        if !is_own {
            self.foreign_keys.fetch_add(1, Ordering::Relaxed);
        }
        Ok(is_own.then_some(key))
    }

    /// Decodes a key; returns `None` for bytes that another program stored in the same file and that are no text.
    fn decoded<'py>(&self, py: Python<'py>, key: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        match decode(py, key) {
            Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => {
                self.foreign_keys.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            decoded => decoded.map(Some),
        }
    }

    /// Deletes the entry of a stored key that may match; returns whether it matched and there was one.
    fn delete_by_name(&self, py: Python<'_>, operation: &Operation<'_, '_>, stored: &[u8]) -> PyResult<bool> {
        let context = &operation.context;
        let Some(key) = self.name(py, stored)? else {
            return Ok(false);
        };
        if context.settings.overrides_delete {
            let delete = interned!(py, "delete")?;
            return context
                .backend
                .call_method1(delete, (key, &self.version))?
                .is_truthy();
        }
        operation.entries().delete(context, stored)
    }
}

#[pymethods]
impl KeyIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guarded(py, || {
            loop {
                let found = self.progress().found.next();
                match found {
                    Some(stored) => {
                        if let Some(key) = self.name(py, &stored)? {
                            return Ok(Some(key));
                        }
                    }
                    None if self.read_slice(py)? => {}
                    None => return Ok(None),
                }
            }
        })
    }

    /// How many keys were skipped so far because another prefix, version or key function made them.
    #[getter]
    #[pyo3(name = "_others")]
    fn others(&self) -> u64 {
        self.foreign_keys.load(Ordering::Relaxed)
    }

    /// Returns a list of the next keys, which may be empty, or None at the end. Reads about a thousand keys of the store.
    #[pyo3(name = "_next_some")]
    fn next_some<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        guarded(py, || {
            let Some(found) = self.take_found(py)? else {
                return Ok(None);
            };
            let names = objects::list(py)?;
            for stored in found {
                if let Some(name) = self.name(py, &stored)? {
                    names.append(name)?;
                }
            }
            Ok(Some(names))
        })
    }

    /// Deletes the next keys; returns how many of them had entries, or None at the end.
    #[pyo3(name = "_delete_some")]
    pub(crate) fn delete_some(&self, py: Python<'_>) -> PyResult<Option<Count>> {
        self.cache.run(self.backend.bind(py), |operation| {
            let Some(found) = self.take_found(py)? else {
                return Ok(None);
            };
            let is_by_name = operation.context.settings.overrides_delete
                || matches!(self.names, KeyNames::Reversed { .. });
            if !is_by_name {
                let deleted = operation
                    .entries()
                    .delete_batch(&operation.context, found.as_slice())?;
                return Ok(Some(Count(deleted)));
            }
            let mut deleted = 0;
            for stored in found {
                deleted += u64::from(self.delete_by_name(py, &operation, &stored)?);
            }
            Ok(Some(Count(deleted)))
        })
    }
}
