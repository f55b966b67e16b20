//! The methods of the backends. `nearcache.django`'s are subclasses of the class here and of Django's `BaseCache`.

#[cfg(shared)]
use std::path::PathBuf;
use std::sync::OnceLock;

use arc_swap::ArcSwap;
use nearcache::Condition;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::arguments::{Any, Argument, Version};
use crate::attributes::set_attribute;
use crate::call::{Call, Open};
use crate::expiry::{BackendClock, Unit, default_timeout, expiry_at, expiry_in};
use crate::fallible::{self, Count, error, interned};
use crate::keys::{self, KeyBuffer};
use crate::panics::guarded;
use crate::scan::KeyIterator;
use crate::settings::Settings;
use crate::stats::Stats;
#[cfg(shared)]
use crate::store::shared::FileSize;
use crate::store::{Outcome, Store, registry};

/// Django's cache methods, and more. Made ready by `_open_local` or `_open_shared`; use `nearcache.django`'s `LocalCache` or
/// `SharedCache`.
#[pyclass(frozen, subclass, module = "nearcache._core")]
pub(crate) struct Backend {
    pub(crate) open: OnceLock<Open>,
}

#[pymethods]
impl Backend {
    /// Takes whatever a subclass's `__init__` takes.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            open: OnceLock::new(),
        }
    }

    /// Opens the store of this process of that name.
    ///
    /// `clock` is None for the system's, or an object and the name of its attribute that is to be called. Raises
    /// `ValueError` if the store is open with another eviction policy.
    fn _open_local(
        slf: &Bound<'_, Self>,
        name: &str,
        eviction: &str,
        clock: Option<(Py<PyAny>, Py<PyString>)>,
    ) -> PyResult<()> {
        guarded(slf.py(), || {
            let settings = Settings::read(slf.as_any())?;
            let store = registry::open_local(slf.py(), name, eviction, &settings.capacity)?;
            open(slf, Store::Local(store), clock, settings)
        })
    }

    /// Opens the cache file at that path. It is created if there is none of that size for that many processes; None is the
    /// default number for the size. `clock` as for `_open_local`.
    ///
    /// Raises `ValueError` if this process has it open with another size or number, `OSError` if it cannot be opened.
    #[cfg(shared)]
    fn _open_shared(
        slf: &Bound<'_, Self>,
        path: PathBuf,
        size: u64,
        processes: Option<usize>,
        clock: Option<(Py<PyAny>, Py<PyString>)>,
    ) -> PyResult<()> {
        guarded(slf.py(), || {
            let wanted = FileSize {
                bytes: size,
                processes,
            };
            let store = registry::open_shared(slf.py(), path, wanted)?;
            open(slf, Store::Shared(store), clock, Settings::read(slf.as_any())?)
        })
    }

    /// Opens the store that another backend has open, with its clock. The settings are this backend's own.
    fn _open_as(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<()> {
        Call::run(other, |other| {
            let clock = match &other.open.clock {
                BackendClock::System => None,
                BackendClock::Python { owner, name } => {
                    Some((owner.clone_ref(slf.py()), name.clone_ref(slf.py())))
                }
            };
            open(slf, other.open.store, clock, Settings::read(slf.as_any())?)
        })
    }

    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>, value: Any<'_, '_>) -> PyResult<()> {
        guarded(slf.py(), || set_attribute(slf, name, value.as_ptr()))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        guarded(slf.py(), || set_attribute(slf, name, std::ptr::null_mut()))
    }

    /// Returns the value stored under a key, or `default`.
    #[pyo3(signature = (key, default=None, version=None))]
    fn get(
        slf: &Bound<'_, Self>,
        key: Any<'_, '_>,
        default: Option<Py<PyAny>>,
        version: Version<'_, '_>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Call::run(slf, |call| Ok(call.get(key, version)?.or(default)))
    }

    /// Stores a value for `timeout` seconds; None is for ever, no argument for the cache's default.
    ///
    /// With `nx` only if there is none under the key, with `xx` only if there is one; atomic. Returns None, or with either
    /// of the two whether it stored it. Raises `ValueError` for both at once.
    #[pyo3(
        signature = (key, value, timeout=Argument::OMITTED, version=None, *, nx=Argument::OMITTED, xx=Argument::OMITTED),
        text_signature = "($self, key, value, timeout=..., version=None, *, nx=False, xx=False)"
    )]
    fn set<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
        nx: Argument<'_, 'py>,
        xx: Argument<'_, 'py>,
    ) -> PyResult<Option<bool>> {
        Call::run(slf, |call| {
            let (nx, xx) = (nx.flag("nx")?, xx.flag("xx")?);
            if nx | xx {
                let condition = match (nx, xx) {
                    (true, true) => {
                        return Err(error::<PyValueError>(
                            slf.py(),
                            format_args!("nx and xx are mutually exclusive"),
                        ));
                    }
                    (true, false) => Condition::IfAbsent,
                    (false, _) => Condition::IfPresent,
                };
                let outcome = call.set(key, value, timeout, version, condition)?;
                return Ok(Some(outcome == Outcome::Stored));
            }
            // Too large is no error to Django; it is counted.
            call.set(key, value, timeout, version, Condition::Always)
                .map(|_| None)
        })
    }

    /// Stores a value if there is none under the key; returns whether it did. Atomic.
    #[pyo3(signature = (key, value, timeout=Argument::OMITTED, version=None))]
    fn add<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| {
            let outcome = call.set(key, value, timeout, version, Condition::IfAbsent)?;
            Ok(outcome == Outcome::Stored)
        })
    }

    /// Sets a new timeout for a key; returns whether there was a value.
    #[pyo3(signature = (key, timeout=Argument::OMITTED, version=None))]
    fn touch<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| call.expire(key, version, || call.expiry(timeout)))
    }

    /// Adds `delta` to a value, atomically, keeping its expiry; returns the sum.
    ///
    /// Raises `ValueError` if there is no value, and whatever the addition raises.
    #[pyo3(signature = (key, delta=Argument::OMITTED, version=None))]
    fn incr<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        delta: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        Call::run(slf, |call| {
            let mut buffer = KeyBuffer::new();
            let key = call.key(key, version, &mut buffer)?;
            let delta = match delta.given() {
                Some(delta) => delta.to_owned(),
                None => fallible::int(slf.py(), 1)?.into_any(),
            };
            call.keep()
                .incr(&call, &key, &delta)?
                .ok_or_else(|| key_not_found(slf.py(), &key))
        })
    }

    /// Returns whether there is a value under a key.
    #[pyo3(signature = (key, version=None))]
    fn has_key(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<bool> {
        Call::run(slf, |call| {
            let mut buffer = KeyBuffer::new();
            let key = call.key(key, version, &mut buffer)?;
            Ok(call.keep().contains(&call, &key, call.now()?))
        })
    }

    /// Removes a value; returns whether there was one.
    #[pyo3(signature = (key, version=None))]
    fn delete(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<bool> {
        Call::run(slf, |call| call.delete(key, version))
    }

    /// Returns a dict of those of the keys that there are values for.
    #[pyo3(signature = (keys, version=None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Call::run(slf, |call| {
            if call.settings.own_get {
                return call.django("get_many", (slf, keys, version));
            }
            let found = fallible::dict(slf.py())?;
            for key in keys.try_iter()? {
                let key = key?;
                if let Some(value) = call.get(&key, version)? {
                    found.set_item(key, value)?;
                }
            }
            Ok(found.into_any())
        })
    }

    /// Stores every value of a dict; returns a list of the keys whose values were too large.
    #[pyo3(signature = (data, timeout=Argument::OMITTED, version=None))]
    fn set_many<'py>(
        slf: &Bound<'py, Self>,
        data: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Call::run(slf, |call| {
            if call.settings.own_set {
                let timeout = timeout.given().map_or_else(
                    || default_timeout(slf.py()).cloned(),
                    |given| Ok(given.to_owned()),
                )?;
                return call.django("set_many", (slf, data, timeout, version));
            }
            let rejected = fallible::list(slf.py())?;
            for item in data.call_method0(interned!(slf.py(), "items")?)?.try_iter()? {
                let (key, value) = item?.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
                if call.set(&key, &value, timeout, version, Condition::Always)? == Outcome::TooLarge {
                    rejected.append(key)?;
                }
            }
            Ok(rejected.into_any())
        })
    }

    /// Removes the values of all these keys.
    #[pyo3(signature = (keys, version=None))]
    fn delete_many<'py>(
        slf: &Bound<'py, Self>,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<()> {
        Call::run(slf, |call| {
            if call.settings.own_delete {
                return call.django("delete_many", (slf, keys, version)).map(drop);
            }
            for key in keys.try_iter()? {
                call.delete(&key?, version)?;
            }
            Ok(())
        })
    }

    /// Removes everything from the store, whatever its prefix and version.
    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        Call::run(slf, |call| {
            call.keep().clear();
            Ok(())
        })
    }

    /// Returns the seconds that a key has to live, to the nearest: 0 if it is missing, None if it does not expire.
    #[pyo3(signature = (key, version=None))]
    fn ttl(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<Option<Count>> {
        Call::run(slf, |call| Ok(call.life(key, version)?.seconds()))
    }

    /// Returns the milliseconds that a key has to live: 0 if it is missing, None if it does not expire.
    #[pyo3(signature = (key, version=None))]
    fn pttl(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<Option<Count>> {
        Call::run(slf, |call| Ok(call.life(key, version)?.millis()))
    }

    /// Lets a key live for so many seconds, or a `timedelta`, from now; returns whether there was a value.
    ///
    /// Nothing and less removes it.
    #[pyo3(signature = (key, timeout, version=None))]
    fn expire<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        timeout: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| {
            call.expire(key, version, || expiry_in(&call, timeout, Unit::Seconds))
        })
    }

    /// Lets a key live for so many milliseconds, or a `timedelta`, from now; returns whether there was a value.
    ///
    /// Nothing and less removes it.
    #[pyo3(signature = (key, timeout, version=None))]
    fn pexpire<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        timeout: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| {
            call.expire(key, version, || expiry_in(&call, timeout, Unit::Millis))
        })
    }

    /// Lets a key live until a time: Unix seconds or a `datetime` (local time if it is naive); returns whether there was a
    /// value.
    ///
    /// A time that has passed removes it.
    #[pyo3(signature = (key, when, version=None))]
    fn expire_at<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        when: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| {
            call.expire(key, version, || expiry_at(&call, when, Unit::Seconds))
        })
    }

    /// As `expire_at`, with Unix milliseconds where that has seconds.
    #[pyo3(signature = (key, when, version=None))]
    fn pexpire_at<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        when: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| {
            call.expire(key, version, || expiry_at(&call, when, Unit::Millis))
        })
    }

    /// Lets a key live for ever; returns whether there was a value that was to expire.
    #[pyo3(signature = (key, version=None))]
    fn persist(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<bool> {
        Call::run(slf, |call| call.persist(key, version))
    }

    /// Returns an iterator over the keys of this prefix and version that fit a glob, without prefix and version, in no
    /// order.
    ///
    /// It looks through the store as it is asked, and others use the cache meanwhile: a key that is there all the while comes
    /// once, one that comes or goes may come or not. `itersize` has no effect. Raises `ImproperlyConfigured` if the keys are
    /// made by a function that nothing reverses.
    #[pyo3(signature = (search, itersize=None, version=None))]
    fn iter_keys(
        slf: &Bound<'_, Self>,
        search: Any<'_, '_>,
        itersize: Option<i64>,
        version: Version<'_, '_>,
    ) -> PyResult<KeyIterator> {
        let _ = itersize;
        Call::run(slf, |call| KeyIterator::new(slf, &call, search, version))
    }

    /// Deletes the entries whose keys fit a glob, as `iter_keys` finds them; returns how many. `itersize` has no effect.
    #[pyo3(signature = (pattern, version=None, itersize=None))]
    fn delete_pattern(
        slf: &Bound<'_, Self>,
        pattern: Any<'_, '_>,
        version: Version<'_, '_>,
        itersize: Option<i64>,
    ) -> PyResult<Count> {
        let found = Self::iter_keys(slf, pattern, itersize, version)?;
        let mut deleted = 0;
        while let Some(Count(more)) = found.delete_some(slf.py())? {
            deleted += more;
        }
        Ok(Count(deleted))
    }

    /// Takes a lock for its holder's token; returns whether it was free. `timeout` is in seconds, or None for no end.
    #[pyo3(signature = (key, token, timeout, version))]
    fn _acquire<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        timeout: Option<f64>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| call.acquire(key, token, timeout, version))
    }

    /// Frees a lock; returns whether it was held with this token.
    #[pyo3(signature = (key, token, version))]
    fn _release<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| call.release(key, token, version))
    }

    /// Returns whether a lock is held with this token.
    #[pyo3(signature = (key, token, version))]
    fn _holds<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| call.holds(key, token, version))
    }

    /// Gives a lock so many seconds from now, or on top of what it has; returns whether it was held with this token.
    #[pyo3(signature = (key, token, seconds, on_top, version))]
    fn _extend<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        seconds: f64,
        on_top: bool,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Call::run(slf, |call| call.extend(key, token, seconds, on_top, version))
    }

    /// Returns what the store has counted in this process, what it holds, and how much it may.
    fn stats(slf: &Bound<'_, Self>) -> PyResult<Stats> {
        Call::run(slf, |call| call.keep().stats(&call))
    }

    /// Checks the whole file; returns its entries, the bytes of their keys and values, the bytes they take in all, and how many
    /// entries a killed writer left half written. Raises `ValueError` if something does not hold, `TimeoutError` if a part of
    /// the file cannot be locked.
    #[cfg(shared)]
    fn _verify(slf: &Bound<'_, Self>) -> PyResult<(u64, u64, u64, u64, u64)> {
        Call::run(slf, |call| match call.open.store {
            Store::Local(_) => Err(PyTypeError::new_err("there is no file to check")),
            Store::Shared(store) => store.verify(slf.py()),
        })
    }

    /// Lets the counts and the age of `stats()` begin anew, for every handle of the store. What is stored stays.
    fn reset_stats(slf: &Bound<'_, Self>) -> PyResult<()> {
        Call::run(slf, |call| {
            call.keep().reset_stats();
            Ok(())
        })
    }

    /// Panics while an entry is locked, for the tests of what becomes of a bug.
    fn _panic(slf: &Bound<'_, Self>, key: Any<'_, '_>) -> PyResult<()> {
        Call::run(slf, |call| {
            let mut buffer = KeyBuffer::new();
            let key = call.key(key, None, &mut buffer)?;
            call.keep().panic(&key);
            Ok(())
        })
    }
}

/// What `incr` raises for a key without a value.
#[cold]
fn key_not_found(py: Python<'_>, key: &[u8]) -> PyErr {
    // Python's formatting, since the key may hold what is no Unicode.
    let message = fallible::text(py, "Key '%s' not found")
        .and_then(|text| text.rem(keys::decode(py, key)?))
        .and_then(|message| py.get_type::<PyValueError>().call1((message,)));
    match message {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

fn open(
    slf: &Bound<'_, Backend>,
    store: Store,
    clock: Option<(Py<PyAny>, Py<PyString>)>,
    settings: Settings,
) -> PyResult<()> {
    let clock = clock.map_or(BackendClock::System, |(owner, name)| BackendClock::Python {
        owner,
        name,
    });
    let opened = slf.get().open.set(Open {
        store,
        clock,
        settings: ArcSwap::from_pointee(settings),
    });
    opened.map_err(|_| PyRuntimeError::new_err("this cache is open already"))
}
