//! Looking through the keys of a store for those that are a handle's and fit a pattern.
//!
//! A slice of the store at a time, with neither lock nor GIL held in between, so that others wait for one slice at most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec;

use nearcache::Clock;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{Any, Version};
use crate::backend::Backend;
use crate::call::Call;
use crate::expiry::Now;
use crate::glob::Glob;
use crate::imported::Imported;
use crate::keys::{as_str, decode, encode};
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
        let reverse = call.backend.getattr(intern!(py, "reverse_key_func"))?;
        if !reverse.is_none() {
            return Ok(Self::Reversed {
                function: reverse.unbind(),
                maker: call.settings.key_maker.name,
            });
        }
        let unknown = if call.settings.key_maker.own {
            Some(format!(
                "{} has a {} of its own, so it needs a reverse_key_func",
                call.backend.get_type(),
                call.settings.key_maker.name
            ))
        } else if !call.backend.getattr("key_func")?.is(default_key_func(py)?) {
            Some(
                "this cache has a KEY_FUNCTION, so it needs a REVERSE_KEY_FUNCTION beside it in CACHES"
                    .to_owned(),
            )
        } else {
            None
        };
        if let Some(problem) = unknown {
            return Err(improperly_configured(
                py,
                &format!(
                    "nearcache: to find keys by a pattern, {problem}: a function of a stored key that returns the key \
                     it was made of"
                ),
            ));
        }
        let prefix = call
            .backend
            .call_method1(intern!(py, "make_key"), ("", version))?;
        Ok(Self::Prefixed(encode(as_str(&prefix)?)?))
    }
}

fn improperly_configured(py: Python<'_>, message: &str) -> PyErr {
    static IMPROPERLY_CONFIGURED: Imported<Py<PyAny>> = Imported::new();
    let raised = IMPROPERLY_CONFIGURED
        .attribute(py, "django.core.exceptions", "ImproperlyConfigured")
        .and_then(|error| error.call1((message,)));
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
        pattern: Any<'_, '_>,
        version: Version<'_, '_>,
    ) -> PyResult<Self> {
        let call = Call::new(slf)?;
        let text = pattern.cast::<PyString>().map_err(|_| {
            let kind = pattern.get_type();
            PyTypeError::new_err(format!("a pattern must be a str, not {pattern:?} ({kind})"))
        })?;
        let naming = Naming::of(&call, version)?;
        let keys = call.keep().keys(Now::Read(call.now()?.now()));
        Ok(Self {
            backend: slf.clone().unbind(),
            version: version.map(|version| version.clone().unbind()),
            glob: Glob::new(&encode(text)?),
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
            Place::Taken => return Err(PyValueError::new_err("this iterator is in use by another thread")),
            Place::End => {
                progress.place = Place::End;
                return Ok(false);
            }
        };
        drop(progress);
        let found = py.detach(|| self.slice(&mut keys));
        let mut progress = self.progress();
        let more = found.is_some();
        progress.place = if more { Place::At(keys) } else { Place::End };
        progress.found = found.unwrap_or_default().into_iter();
        Ok(more)
    }

    /// What is found and not given out yet, after looking on for it if it is nothing; `None` at the end.
    fn take_found(&self, py: Python<'_>) -> PyResult<Option<vec::IntoIter<StoredKey>>> {
        Ok(self
            .look_on(py)?
            .then(|| std::mem::take(&mut self.progress().found)))
    }

    /// Which of the next stored keys may be meant; `None` if there is no next one.
    fn slice(&self, keys: &mut StoredKeys) -> Option<Vec<StoredKey>> {
        let mut slice = keys.take(KEYS_AT_ONCE).peekable();
        slice.peek()?;
        let Naming::Prefixed(prefix) = &self.naming else {
            return Some(slice.collect());
        };
        let mut others = 0;
        let fitting = slice.filter(|stored| {
            let own = stored.strip_prefix(prefix.as_slice());
            others += u64::from(own.is_none());
            own.is_some_and(|key| self.glob.matches(key))
        });
        let fitting = fitting.collect();
        self.others.fetch_add(others, Ordering::Relaxed);
        Some(fitting)
    }

    /// What a caller calls a stored key that may be meant; `None` if it was not.
    fn name<'py>(&self, py: Python<'py>, stored: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (function, maker) = match &self.naming {
            Naming::Prefixed(prefix) => {
                return decode(py, stored.get(prefix.len()..).unwrap_or_default()).map(Some);
            }
            Naming::Reversed { function, maker } => (function, maker),
        };
        let stored = decode(py, stored)?;
        let key = function.bind(py).call1((&stored,))?;
        let text = key.cast::<PyString>().map_err(|_| {
            let kind = key.get_type();
            PyTypeError::new_err(format!(
                "the REVERSE_KEY_FUNCTION must return a str, but for {stored:?} it returned {key:?} ({kind})"
            ))
        })?;
        if !self.glob.matches(&encode(text)?) {
            return Ok(None);
        }
        let made = self
            .backend
            .bind(py)
            .call_method1(*maker, (&key, &self.version))?;
        let is_own = made.eq(&stored)?;
        if !is_own {
            self.others.fetch_add(1, Ordering::Relaxed);
        }
        Ok(is_own.then_some(key))
    }

    /// Removes an entry that may be meant; whether there was one and it was.
    fn delete(&self, py: Python<'_>, call: &Call<'_, '_>, stored: &[u8]) -> PyResult<bool> {
        let named = matches!(self.naming, Naming::Reversed { .. });
        if named || call.settings.own_delete {
            let Some(key) = self.name(py, stored)? else {
                return Ok(false);
            };
            if call.settings.own_delete {
                let delete = intern!(py, "delete");
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
    }

    /// The keys passed over so far that another prefix, version or key function made.
    #[getter]
    #[pyo3(name = "_others")]
    fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    /// Returns a list of the next keys, which may be empty, or None at the end. Looks at a thousand of the store's.
    #[pyo3(name = "_next_some")]
    fn next_some<'py>(&self, py: Python<'py>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        let Some(found) = self.take_found(py)? else {
            return Ok(None);
        };
        let names = found.filter_map(|stored| self.name(py, &stored).transpose());
        names.collect::<PyResult<_>>().map(Some)
    }

    /// Deletes the next keys' entries; returns how many there were, or None at the end.
    #[pyo3(name = "_delete_some")]
    pub(crate) fn delete_some(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        let Some(found) = self.take_found(py)? else {
            return Ok(None);
        };
        let call = Call::new(self.backend.bind(py))?;
        let mut deleted = 0;
        for stored in found {
            deleted += u64::from(self.delete(py, &call, &stored)?);
        }
        Ok(Some(deleted))
    }
}
