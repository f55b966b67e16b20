//! Looking through the keys of a store for those that are a handle's and fit a pattern.
//!
//! A slice of the store at a time, with neither lock nor GIL held in between, so that others wait for one slice at most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec;

use nearcache::{Clock, OutOfMemory};
use pyo3::exceptions::{PyTypeError, PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::arguments::{Any, Version};
use crate::backend::Backend;
use crate::call::Call;
use crate::expiry::Now;
use crate::fallible::{self, Count, error, error_about, format, interned, no_memory, repr, text};
use crate::glob::Glob;
use crate::imported::Imported;
use crate::keys::{as_str, decode, encode};
use crate::panics::guarded;
use crate::settings::default_key_func;
use crate::store::StoredKeys;

/// How many stored keys are looked at before the GIL is taken back.
const KEYS_AT_ONCE: usize = 1024;

type StoredKey = Box<[u8]>;

/// What callers call a handle's keys.
enum Naming {
    /// What comes after this prefix of the stored key.
    Prefixed(Vec<u8>),
    /// What this function makes of the stored key, if the key made of that is the stored one.
    Reversed {
        function: Py<PyAny>,
        /// The method that makes keys.
        maker: &'static str,
    },
}

impl Naming {
    /// How the keys of a handle in this version are called.
    ///
    /// Fails with `ImproperlyConfigured` if they are made in an unknown way and nothing says how it is reversed.
    fn of(call: &Call<'_, '_>, version: Version<'_, '_>) -> PyResult<Self> {
        let py = call.py();
        let reverse = call.backend.getattr(interned!(py, "reverse_key_func")?)?;
        if !reverse.is_none() {
            return Ok(Self::Reversed {
                function: reverse.unbind(),
                maker: call.settings.key_maker.name,
            });
        }
        let unknown = if call.settings.key_maker.own {
            Some(format(format_args!(
                "{} has a {} of its own, so it needs a reverse_key_func",
                call.backend.get_type(),
                call.settings.key_maker.name
            ))?)
        } else if !call
            .backend
            .getattr(interned!(py, "key_func")?)?
            .is(default_key_func(py)?)
        {
            Some(format(format_args!(
                "this cache has a KEY_FUNCTION, so it needs a REVERSE_KEY_FUNCTION beside it in CACHES"
            ))?)
        } else {
            None
        };
        if let Some(problem) = unknown {
            return Err(improperly_configured(
                py,
                &format(format_args!(
                    "nearcache: to find keys by a pattern, {problem}: a function of a stored key that returns the key \
                     it was made of"
                ))?,
            ));
        }
        let prefix = call
            .backend
            .call_method1(interned!(py, "make_key")?, (interned!(py, "")?, version))?;
        Ok(Self::Prefixed(encode(as_str(&prefix)?)?))
    }
}

fn improperly_configured(py: Python<'_>, message: &str) -> PyErr {
    static IMPROPERLY_CONFIGURED: Imported<Py<PyAny>> = Imported::new();
    let raised = IMPROPERLY_CONFIGURED
        .attribute(py, "django.core.exceptions", "ImproperlyConfigured")
        .and_then(|error| error.call1((text(py, message)?,)));
    match raised {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// An iterator over the keys of a handle that fit a pattern; `iter_keys` makes it.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct KeyIterator {
    backend: Py<Backend>,
    version: Option<Py<PyAny>>,
    glob: Glob,
    naming: Naming,
    /// Keys of other handles seen so far: with another prefix or version, or made by another function.
    others: AtomicU64,
    /// Never locked while Python code can run.
    progress: Mutex<Progress>,
}

struct Progress {
    place: Place,
    /// Found, but not given out yet.
    found: vec::IntoIter<StoredKey>,
}

enum Place {
    At(StoredKeys),
    /// Another call is looking just now.
    Taken,
    End,
}

impl KeyIterator {
    /// Begins to look for the keys of a handle's version that fit a pattern.
    ///
    /// Fails if the pattern is no text, or as [`Naming::of`].
    pub(crate) fn new(
        slf: &Bound<'_, Backend>,
        call: &Call<'_, '_>,
        pattern: Any<'_, '_>,
        version: Version<'_, '_>,
    ) -> PyResult<Self> {
        let glob = pattern
            .cast::<PyString>()
            .map_err(|_| error_about::<PyTypeError>(format_args!("a pattern must be a str, not"), pattern))?;
        let naming = Naming::of(call, version)?;
        let keys = call.keep().keys(Now::Read(call.now()?.now()));
        Ok(Self {
            backend: slf.clone().unbind(),
            version: version.map(|version| version.clone().unbind()),
            glob: Glob::new(&encode(glob)?)?,
            naming,
            others: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                place: Place::At(keys),
                found: Vec::new().into_iter(),
            }),
        })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks on, unless something found before is still there; `false` at the end. It may find nothing and not be at the end.
    fn look_on(&self, py: Python<'_>) -> PyResult<bool> {
        py.check_signals()?;
        let mut progress = self.progress();
        if progress.found.len() > 0 {
            return Ok(true);
        }
        let mut keys = match std::mem::replace(&mut progress.place, Place::Taken) {
            Place::At(keys) => keys,
            Place::Taken => {
                let message = format_args!("this iterator is in use by another thread");
                return Err(error::<PyValueError>(py, message));
            }
            Place::End => {
                progress.place = Place::End;
                return Ok(false);
            }
        };
        drop(progress);
        let found = py.detach(|| self.slice(&mut keys));
        let mut progress = self.progress();
        let at_end = matches!(found, Ok(None));
        // After an error it can be tried again.
        progress.place = if at_end { Place::End } else { Place::At(keys) };
        progress.found = found.map_err(no_memory)?.unwrap_or_default().into_iter();
        Ok(!at_end)
    }

    /// What is found and not given out yet, after looking on for it if it is nothing; `None` at the end.
    fn take_found(&self, py: Python<'_>) -> PyResult<Option<vec::IntoIter<StoredKey>>> {
        Ok(self
            .look_on(py)?
            .then(|| std::mem::take(&mut self.progress().found)))
    }

    /// Which of the next stored keys may be meant; `None` if there is no next one. An error if there is no memory, and then
    /// what was found is found no more.
    fn slice(&self, keys: &mut StoredKeys) -> Result<Option<Vec<StoredKey>>, OutOfMemory> {
        let mut others = 0;
        let mut may_be_meant = |stored: &StoredKey| match &self.naming {
            Naming::Prefixed(prefix) => {
                let own = stored.strip_prefix(prefix.as_slice());
                others += u64::from(own.is_none());
                own.is_some_and(|key| self.glob.matches(key))
            }
            Naming::Reversed { .. } => true,
        };
        let (mut meant, mut ended) = (Vec::new(), false);
        for looked_at in 0..KEYS_AT_ONCE {
            let Some(stored) = keys.next().transpose()? else {
                ended = looked_at == 0;
                break;
            };
            if may_be_meant(&stored) {
                meant.try_reserve(1)?;
                meant.push(stored);
            }
        }
        self.others.fetch_add(others, Ordering::Relaxed);
        Ok((!ended).then_some(meant))
    }

    /// What a caller calls a stored key that may be meant; `None` if it was not.
    fn name<'py>(&self, py: Python<'py>, stored: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (function, maker) = match &self.naming {
            Naming::Prefixed(prefix) => {
                return self.decoded(py, stored.get(prefix.len()..).unwrap_or_default());
            }
            Naming::Reversed { function, maker } => (function, maker),
        };
        let Some(stored) = self.decoded(py, stored)? else {
            return Ok(None);
        };
        let key = function.bind(py).call1((&stored,))?;
        let name = key.cast::<PyString>().map_err(|_| {
            let rule = "the REVERSE_KEY_FUNCTION must return a str, but for";
            match repr(&stored) {
                Ok(stored) => error_about::<PyTypeError>(format_args!("{rule} {stored} it returned"), &key),
                Err(error) => error,
            }
        })?;
        if !self.glob.matches(&encode(name)?) {
            return Ok(None);
        }
        let made = self
            .backend
            .bind(py)
            .call_method1(text(py, maker)?, (&key, &self.version))?;
        let is_own = made.eq(&stored)?;
        if !is_own {
            self.others.fetch_add(1, Ordering::Relaxed);
        }
        Ok(is_own.then_some(key))
    }

    /// A key as text. A Rust program that uses the same file may store any bytes: those are another's key.
    fn decoded<'py>(&self, py: Python<'py>, key: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        match decode(py, key) {
            Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => {
                self.others.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            decoded => decoded.map(Some),
        }
    }

    /// Removes an entry that may be meant; whether there was one and it was.
    fn delete(&self, py: Python<'_>, call: &Call<'_, '_>, stored: &[u8]) -> PyResult<bool> {
        let named = matches!(self.naming, Naming::Reversed { .. });
        if named || call.settings.own_delete {
            let Some(key) = self.name(py, stored)? else {
                return Ok(false);
            };
            if call.settings.own_delete {
                let delete = interned!(py, "delete")?;
                return call
                    .backend
                    .call_method1(delete, (key, &self.version))?
                    .is_truthy();
            }
        }
        call.keep().remove(call, stored)
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
                    None if self.look_on(py)? => {}
                    None => return Ok(None),
                }
            }
        })
    }

    /// The keys passed over so far that another prefix, version or key function made.
    #[getter]
    #[pyo3(name = "_others")]
    fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    /// Returns a list of the next keys, which may be empty, or None at the end. Looks at a thousand of the store's.
    #[pyo3(name = "_next_some")]
    fn next_some<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        guarded(py, || {
            let Some(found) = self.take_found(py)? else {
                return Ok(None);
            };
            let names = fallible::list(py)?;
            for stored in found {
                if let Some(name) = self.name(py, &stored)? {
                    names.append(name)?;
                }
            }
            Ok(Some(names))
        })
    }

    /// Deletes the next keys' entries; returns how many there were, or None at the end.
    #[pyo3(name = "_delete_some")]
    pub(crate) fn delete_some(&self, py: Python<'_>) -> PyResult<Option<Count>> {
        Call::run(self.backend.bind(py), |call| {
            let Some(found) = self.take_found(py)? else {
                return Ok(None);
            };
            let mut deleted = 0;
            for stored in found {
                deleted += u64::from(self.delete(py, &call, &stored)?);
            }
            Ok(Some(Count(deleted)))
        })
    }
}
