//! The methods of the backends, as Python sees them. The classes of `nearcache.django` inherit from [`Backend`] and
//! Django's `BaseCache`.
//!
//! A method here has a signature, a docstring and one call: the [`operations`](crate::operations) do the work.

mod attributes;

#[cfg(shared)]
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use arc_swap::ArcSwap;
use nearcache::Condition;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::arguments::{Any, Argument, Version};
use crate::clock::BackendClock;
use crate::django::default_timeout;
use crate::errors::error;
use crate::expiry::Unit;
use crate::objects::{Count, dict, interned, text};
use crate::open_cache::{OpenCache, Operation};
use crate::operations::{FlightStep, GetOrStep};
use crate::panics::guarded;
use crate::scan::KeyIterator;
use crate::settings::Settings;
#[cfg(shared)]
use crate::store::FileSize;
use crate::store::{Computed, Flight, FlightWait, ScanScope, SetOutcome, Stats, Store, TaskWaker, registry};
#[cfg(unix)]
use crate::store::{TieredSettings, TieredStore};
use attributes::set_attribute;

/// The cache methods that all backends have. Use `nearcache.django`'s `LocalCache` or `SharedCache`, which open it.
#[pyclass(frozen, subclass, module = "nearcache._core")]
pub(crate) struct Backend {
    /// Empty until `_open_local`, `_open_shared` or `_open_as` was called.
    cache: OnceLock<Arc<OpenCache>>,
}

impl Backend {
    /// Returns a backend that is not open.
    pub(crate) const fn closed() -> Self {
        Self {
            cache: OnceLock::new(),
        }
    }

    /// Runs the body of a method. Fails with `RuntimeError` if the cache is not open.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(crate) fn run<'a, 'py, T>(
        slf: &'a Bound<'py, Self>,
        body: impl FnOnce(Operation<'a, 'py>) -> PyResult<T>,
    ) -> PyResult<T> {
        Self::open(slf)?.run(slf.as_any(), body)
    }

    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn open<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a Arc<OpenCache>> {
        slf.get().cache.get().ok_or_else(|| not_open(slf.py()))
    }

    fn read_settings(slf: &Bound<'_, Self>) -> PyResult<Settings> {
        Settings::read(slf.as_any(), slf.py().get_type::<Self>().as_any())
    }

    fn set_attribute(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: Option<Any<'_, '_>>,
    ) -> PyResult<()> {
        let cache = slf.get().cache.get().map(Arc::as_ref);
        guarded(slf.py(), || {
            set_attribute(slf.as_any(), cache, || Self::read_settings(slf), name, value)
        })
    }

    fn set_open(
        slf: &Bound<'_, Self>,
        store: Store,
        clock: BackendClock,
        settings: Settings,
    ) -> PyResult<()> {
        let cache = Arc::new(OpenCache {
            store,
            clock,
            settings: ArcSwap::from_pointee(settings),
        });
        let set = slf.get().cache.set(cache);
        set.map_err(|_| PyRuntimeError::new_err("this cache is open already"))
    }
}

#[cold]
fn not_open(py: Python<'_>) -> PyErr {
    error::<PyRuntimeError>(
        py,
        format_args!(
            "this cache is not open: an __init__ that overrides the backend's must call super().__init__(name, params)"
        ),
    )
}

/// Returns the clock for a backend's `clock` argument: None, or an object and the name of its method.
fn backend_clock(clock: Option<(Py<PyAny>, Py<PyString>)>) -> BackendClock {
    clock.map_or(BackendClock::System, |(owner, name)| BackendClock::Python {
        owner,
        name,
    })
}

/// Returns the condition for the arguments `nx` and `xx`, and whether there is one. Fails with `ValueError` for both.
pub(crate) fn condition(
    py: Python<'_>,
    nx: Argument<'_, '_>,
    xx: Argument<'_, '_>,
) -> PyResult<Option<Condition>> {
    match (nx.flag("nx")?, xx.flag("xx")?) {
        (true, true) => Err(error::<PyValueError>(
            py,
            format_args!("nx and xx are mutually exclusive"),
        )),
        (true, false) => Ok(Some(Condition::IfAbsent)),
        (false, true) => Ok(Some(Condition::IfPresent)),
        (false, false) => Ok(None),
    }
}

/// Calls the part of `get_or_set` that is written in Python, with the options that were given.
fn continue_get_or_set<'py>(
    backend: &Bound<'py, Backend>,
    (key, default, timeout, version): (Any<'_, 'py>, Any<'_, 'py>, Argument<'_, 'py>, Version<'_, 'py>),
    options: &[(&str, Option<Any<'_, 'py>>)],
    step: Option<FlightStep>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = backend.py();
    let timeout = timeout
        .given()
        .map_or_else(|| default_timeout(py).cloned(), |given| Ok(given.to_owned()))?;
    let mut given = None;
    for (name, value) in options {
        if let Some(value) = value {
            let options = match &given {
                Some(options) => options,
                None => given.insert(dict(py)?),
            };
            options.set_item(text(py, name)?, value)?;
        }
    }
    let arguments = (key, default, timeout, version, given, step);
    backend.call_method1(interned!(py, "_get_or_set")?, arguments)
}

#[pymethods]
impl Backend {
    /// Accepts whatever a subclass's `__init__` accepts.
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::closed()
    }

    /// Opens the store of this name in this process, and creates it if there is none.
    ///
    /// `clock` is None for the system's clock, or an object and the name of its method that returns Unix seconds.
    /// Raises ``ValueError`` if the store is open with another eviction policy.
    fn _open_local(
        slf: &Bound<'_, Self>,
        name: &str,
        eviction: &str,
        clock: Option<(Py<PyAny>, Py<PyString>)>,
    ) -> PyResult<()> {
        guarded(slf.py(), || {
            let settings = Self::read_settings(slf)?;
            let store = registry::open_local(slf.py(), name, eviction, &settings.capacity)?;
            Self::set_open(slf, Store::Local(store), backend_clock(clock), settings)
        })
    }

    /// Opens the cache file at a path, and creates it if there is none with this size and number of processes.
    ///
    /// `processes` is None for the default number for the size; `clock` is as for ``_open_local``. Raises ``ValueError``
    /// if this process has the file open with another size or number, ``OSError`` if the file cannot be opened.
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
            let settings = Self::read_settings(slf)?;
            Self::set_open(slf, Store::Shared(store), backend_clock(clock), settings)
        })
    }

    /// Opens the store with a remote tier for these settings, without connecting.
    ///
    /// Raises ``ImproperlyConfigured`` for an invalid URL, ``OSError`` if the file of a shared near tier cannot be opened.
    #[cfg(unix)]
    fn _open_tiered(slf: &Bound<'_, Self>, settings: TieredSettings) -> PyResult<()> {
        guarded(slf.py(), || {
            let own = Self::read_settings(slf)?;
            let store = TieredStore::open(slf.py(), settings, &own.capacity)?;
            Self::set_open(slf, Store::Tiered(store), BackendClock::System, own)
        })
    }

    /// Opens the store of another backend instance, with its clock. The settings are this instance's own.
    fn _open_as(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<()> {
        guarded(slf.py(), || {
            let other = Self::open(other)?;
            let clock = other.clock.clone_ref(slf.py());
            Self::set_open(slf, other.store, clock, Self::read_settings(slf)?)
        })
    }

    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>, value: Any<'_, '_>) -> PyResult<()> {
        Self::set_attribute(slf, name, Some(value))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        Self::set_attribute(slf, name, None)
    }

    /// Returns the value of a key, or `default` if there is none.
    ///
    /// A ``LocalCache`` returns an immutable value itself and a copy of any other one, so a change to the result does not
    /// change what is cached; a ``SharedCache`` rebuilds the value from bytes. O(1) for immutable values in a
    /// ``LocalCache``, else O(size). A ``LocalCache`` raises what unpickling the value raises; a ``SharedCache`` counts a
    /// value that this process cannot decode as a miss.
    #[pyo3(signature = (key, default=None, version=None, *, fresh=Argument::OMITTED), text_signature = "($self, key, default=None, version=None, *, fresh=False)")]
    fn get(
        slf: &Bound<'_, Self>,
        key: Any<'_, '_>,
        default: Option<Py<PyAny>>,
        version: Version<'_, '_>,
        fresh: Argument<'_, '_>,
    ) -> PyResult<Option<Py<PyAny>>> {
        Self::run(slf, |operation| {
            let fresh = fresh.flag("fresh")?;
            Ok(operation.get(key, version, fresh)?.or(default))
        })
    }

    /// Returns the value of a key; if there is none, computes, stores and returns one.
    ///
    /// `default` is the value, or a callable that computes it. Of all callers that miss the key at the same time, one calls
    /// it: single flight. The others wait, and return its value or raise its exception. `timeout` is as for ``set``. If the
    /// key is written or deleted meanwhile, the computed value is returned, but not stored.
    ///
    /// The other arguments have defaults in ``OPTIONS["GET_OR_SET"]``:
    ///
    /// - `stale`: for so many seconds after a value has expired, it is returned while one caller computes the new one, or if
    ///   computing fails.
    /// - `refresh`: who computes then: ``"caller"``, or ``"background"`` for a thread.
    /// - `early`: `XFetch`'s beta: the closer a value is to its end, and the longer it took to compute, the more likely one
    ///   caller computes the next one already; 1 is a good value, 0 is off.
    /// - `jitter`: the timeout is shortened by up to this fraction, at random.
    /// - `lock_timeout`: seconds that a caller waits at most; then it computes for itself.
    /// - `store_if`: a function of the value that returns whether it is stored.
    /// - `distributed`: in a ``TieredCache``, one caller of all machines computes.
    ///
    /// A hit costs what ``get`` costs.
    #[pyo3(
        signature = (
            key, default, timeout=Argument::OMITTED, version=None, *, stale=None, refresh=None, early=None, jitter=None,
            lock_timeout=None, store_if=None, distributed=None
        ),
        text_signature = "($self, key, default, timeout=..., version=None, *, stale=None, refresh=None, early=None, jitter=None, lock_timeout=None, store_if=None, distributed=None)"
    )]
    #[allow(clippy::too_many_arguments)] // the method's
    fn get_or_set<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        default: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
        stale: Option<Any<'_, 'py>>,
        refresh: Option<Any<'_, 'py>>,
        early: Option<Any<'_, 'py>>,
        jitter: Option<Any<'_, 'py>>,
        lock_timeout: Option<Any<'_, 'py>>,
        store_if: Option<Any<'_, 'py>>,
        distributed: Option<Any<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let step = match Self::run(slf, |operation| operation.get_or_step(key, version, early))? {
            GetOrStep::Value(value) => return Ok(value),
            GetOrStep::Step(step) => step,
        };
        let options = [
            ("stale", stale),
            ("refresh", refresh),
            ("early", early),
            ("jitter", jitter),
            ("lock_timeout", lock_timeout),
            ("store_if", store_if),
            ("distributed", distributed),
        ];
        guarded(slf.py(), || {
            continue_get_or_set(slf, (key, default, timeout, version), &options, step)
        })
    }

    /// Stores a value.
    ///
    /// It expires after `timeout` seconds: at once for 0 or less, never for None, after the cache's ``TIMEOUT`` if omitted.
    /// With ``nx=True`` the value is stored only if the key has none, with ``xx=True`` only if it has one, atomically; the
    /// method then returns whether it was stored, otherwise None. A value too large for the cache is not stored, the old
    /// one is deleted, and ``stats().rejections`` counts it.
    ///
    /// O(1) for immutable values in a ``LocalCache``, else O(size). Raises ``ValueError`` if both `nx` and `xx` are True,
    /// ``TypeError`` for a timeout that is no number, and what pickling the value raises.
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
        Self::run(slf, |operation| {
            let condition = condition(slf.py(), nx, xx)?;
            let outcome = operation.set(
                key,
                value,
                timeout,
                version,
                condition.unwrap_or(Condition::Always),
            )?;
            // Without a condition Django's interface has no result, even for a value that is rejected.
            Ok(condition.map(|_| outcome == SetOutcome::Stored))
        })
    }

    /// Stores a value if the key has none, atomically; returns whether it was stored.
    ///
    /// `timeout` is as for ``set``. Costs and errors are those of ``set``.
    #[pyo3(signature = (key, value, timeout=Argument::OMITTED, version=None))]
    fn add<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            let outcome = operation.set(key, value, timeout, version, Condition::IfAbsent)?;
            Ok(outcome == SetOutcome::Stored)
        })
    }

    /// Gives a key a new timeout; returns whether it has a value.
    ///
    /// `timeout` is in seconds, as for ``set``; 0 and less deletes the value. O(1).
    #[pyo3(signature = (key, timeout=Argument::OMITTED, version=None))]
    fn touch<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| operation.touch(key, timeout, version))
    }

    /// Adds `delta` (1 if omitted) to a value, atomically, and returns the sum. The expiry does not change.
    ///
    /// The value may be anything that supports the addition. O(1) for integers of 64 bits. Raises ``ValueError`` if the key
    /// has no value, ``RuntimeError`` if other threads or processes keep changing a value that is no such integer, and what
    /// the addition raises.
    #[pyo3(signature = (key, delta=Argument::OMITTED, version=None))]
    fn incr<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        delta: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        Self::run(slf, |operation| operation.incr(key, delta, version))
    }

    /// Returns whether a key has a value. Does not count as a use. O(1).
    #[pyo3(signature = (key, version=None))]
    fn has_key(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<bool> {
        Self::run(slf, |operation| operation.has_key(key, version))
    }

    /// Deletes a value; returns whether there was one. O(1).
    #[pyo3(signature = (key, version=None))]
    fn delete(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<bool> {
        Self::run(slf, |operation| operation.delete(key, version))
    }

    /// Returns a dict of the keys that have a value, and their values.
    ///
    /// Each key is read as by ``get``; the read as a whole is not atomic. O(number of keys).
    #[pyo3(signature = (keys, version=None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::run(slf, |operation| operation.get_many(keys, version))
    }

    /// Stores the values of a dict; returns a list of the keys whose values were too large.
    ///
    /// `timeout` is in seconds, as for ``set``, and applies to every value. Each value is stored as by ``set``; the
    /// write as a whole is not atomic. O(number of keys).
    #[pyo3(signature = (data, timeout=Argument::OMITTED, version=None))]
    fn set_many<'py>(
        slf: &Bound<'py, Self>,
        data: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::run(slf, |operation| operation.set_many(data, timeout, version))
    }

    /// Deletes the values of several keys. O(number of keys).
    #[pyo3(signature = (keys, version=None))]
    fn delete_many<'py>(
        slf: &Bound<'py, Self>,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<()> {
        Self::run(slf, |operation| operation.delete_many(keys, version))
    }

    /// Deletes everything in the store, whatever its prefix and version. O(number of entries).
    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::run(slf, |operation| operation.clear())
    }

    /// Returns how many seconds a key has to live, to the nearest second: 0 if it has no value, None if it does not expire.
    ///
    /// O(1).
    #[pyo3(signature = (key, version=None))]
    fn ttl(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<Option<Count>> {
        Self::run(slf, |operation| {
            Ok(operation.time_to_live(key, version)?.seconds())
        })
    }

    /// Returns how many milliseconds a key has to live: 0 if it has no value, None if it does not expire. O(1).
    #[pyo3(signature = (key, version=None))]
    fn pttl(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<Option<Count>> {
        Self::run(slf, |operation| {
            Ok(operation.time_to_live(key, version)?.millis())
        })
    }

    /// Lets a key expire after a number of seconds or a ``timedelta``; returns whether it has a value.
    ///
    /// 0 and less deletes the value. O(1). Raises ``TypeError`` for None: ``persist`` removes an expiry.
    #[pyo3(signature = (key, timeout, version=None))]
    fn expire<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        timeout: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            operation.expire(key, timeout, Unit::Seconds, version)
        })
    }

    /// Lets a key expire after a number of milliseconds or a ``timedelta``; returns whether it has a value.
    ///
    /// 0 and less deletes the value. O(1). Raises ``TypeError`` for None: ``persist`` removes an expiry.
    #[pyo3(signature = (key, timeout, version=None))]
    fn pexpire<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        timeout: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            operation.expire(key, timeout, Unit::Millis, version)
        })
    }

    /// Lets a key expire at a point in time; returns whether it has a value.
    ///
    /// `when` is in Unix seconds, or a ``datetime``, which is local time if it is naive. A time that has passed deletes the
    /// value. O(1). Raises ``TypeError`` for anything else, ``ValueError`` for a ``datetime`` without a Unix time.
    #[pyo3(signature = (key, when, version=None))]
    fn expire_at<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        when: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            operation.expire_at(key, when, Unit::Seconds, version)
        })
    }

    /// Lets a key expire at a point in time, as ``expire_at`` does, but `when` is in Unix milliseconds or a ``datetime``.
    #[pyo3(signature = (key, when, version=None))]
    fn pexpire_at<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        when: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            operation.expire_at(key, when, Unit::Millis, version)
        })
    }

    /// Removes a key's expiry; returns whether it has a value that would have expired. O(1).
    #[pyo3(signature = (key, version=None))]
    fn persist(slf: &Bound<'_, Self>, key: Any<'_, '_>, version: Version<'_, '_>) -> PyResult<bool> {
        Self::run(slf, |operation| operation.persist(key, version))
    }

    /// Returns an iterator over the keys of one version that match a glob, without prefix and version, in no order.
    ///
    /// ``*`` matches any text, ``?`` one character, ``[a-z]`` and ``[^a-z]`` one character of a class, and a backslash
    /// makes the next character literal. Keys that are stored or deleted during the iteration may be returned or not; all
    /// others are returned once. `itersize` has no effect. The whole store is read, about a thousand keys at a time:
    /// O(number of entries). Raises ``TypeError`` if `search` is not a str, ``ImproperlyConfigured`` if a function makes
    /// the keys and ``REVERSE_KEY_FUNCTION`` is not set.
    #[pyo3(signature = (search, itersize=None, version=None))]
    fn iter_keys(
        slf: &Bound<'_, Self>,
        search: Any<'_, '_>,
        itersize: Option<i64>,
        version: Version<'_, '_>,
    ) -> PyResult<KeyIterator> {
        let _ = itersize;
        let cache = Self::open(slf)?;
        cache.run(slf.as_any(), |operation| {
            KeyIterator::new(cache, &operation, ScanScope::Live, search, version)
        })
    }

    /// Deletes the entries of the keys that ``iter_keys`` would return; returns how many. `itersize` has no effect.
    ///
    /// As ``delete`` does, it also deletes the old values of these keys that ``get_or_set`` might return, and lets no value be
    /// stored whose computation began before the call. Costs and errors are those of ``iter_keys``.
    #[pyo3(signature = (pattern, version=None, itersize=None))]
    fn delete_pattern(
        slf: &Bound<'_, Self>,
        pattern: Any<'_, '_>,
        version: Version<'_, '_>,
        itersize: Option<i64>,
    ) -> PyResult<Count> {
        let _ = itersize;
        let keys = Self::keys_to_delete(slf, pattern, version)?;
        let mut deleted = 0;
        while let Some(Count(more)) = keys.delete_some(slf.py())? {
            deleted += more;
        }
        Ok(Count(deleted))
    }

    /// Returns an iterator over the keys that ``delete_pattern`` deletes, whose ``_delete_some`` does that.
    #[pyo3(name = "_keys_to_delete", signature = (pattern, version))]
    fn keys_to_delete(
        slf: &Bound<'_, Self>,
        pattern: Any<'_, '_>,
        version: Version<'_, '_>,
    ) -> PyResult<KeyIterator> {
        let cache = Self::open(slf)?;
        cache.run(slf.as_any(), |operation| {
            KeyIterator::new(cache, &operation, ScanScope::All, pattern, version)
        })
    }

    /// Reads a value for ``get_or_set`` with `beta` for early computation; returns None or a step.
    #[pyo3(signature = (key, version, beta))]
    fn _get_early<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        beta: f64,
    ) -> PyResult<Option<FlightStep>> {
        Self::run(slf, |operation| operation.get_early_step(key, version, beta))
    }

    /// Joins the flight of a key that was just missed; returns a step. `within` is the flight that the caller computes for.
    #[pyo3(signature = (key, version, stale, within))]
    fn _join<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        stale: f64,
        within: Option<&Bound<'py, Flight>>,
    ) -> PyResult<FlightStep> {
        Self::run(slf, |operation| {
            operation.join(key, version, stale, within.map(Bound::get))
        })
    }

    /// Starts a flight that overtakes the one in progress; returns a step.
    #[pyo3(signature = (key, version))]
    fn _overtake<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<FlightStep> {
        Self::run(slf, |operation| operation.overtake(key, version))
    }

    /// Ends a flight with its value, which is stored unless the flight was overtaken; returns whether it was stored.
    #[pyo3(signature = (flight, value, timeout, jitter, stale, cost, early))]
    #[allow(clippy::too_many_arguments)] // the method's
    fn _complete<'py>(
        slf: &Bound<'py, Self>,
        flight: &Bound<'py, Flight>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        jitter: f64,
        stale: f64,
        cost: f64,
        early: f64,
    ) -> PyResult<bool> {
        let computed = Computed {
            value,
            timeout,
            jitter,
            stale,
            cost,
            early,
        };
        Self::run(slf, |operation| operation.complete(flight.get(), &computed))
    }

    /// Ends a flight with a value that is not stored.
    fn _finish<'py>(
        slf: &Bound<'py, Self>,
        flight: &Bound<'py, Flight>,
        value: Any<'_, 'py>,
    ) -> PyResult<()> {
        Self::run(slf, |operation| operation.finish(flight.get(), value))
    }

    /// Returns what a waiter has waited for, as a step, or raises the leader's exception; None if it is to wait on.
    fn _outcome<'py>(slf: &Bound<'py, Self>, wait: &Bound<'py, FlightWait>) -> PyResult<Option<FlightStep>> {
        Self::run(slf, |operation| {
            let outcome = wait.get().poll_with(slf.py(), Waker::noop())?;
            operation.outcome(wait.get(), outcome)
        })
    }

    /// Like ``_outcome``; if it returns None, `wake` will be called in the event loop.
    fn _outcome_or_wake<'py>(
        slf: &Bound<'py, Self>,
        wait: &Bound<'py, FlightWait>,
        event_loop: Py<PyAny>,
        wake: Py<PyAny>,
    ) -> PyResult<Option<FlightStep>> {
        Self::run(slf, |operation| {
            let waker = TaskWaker::waker(event_loop, wake);
            let outcome = wait.get().poll_with(slf.py(), &waker)?;
            operation.outcome(wait.get(), outcome)
        })
    }

    /// Ends a wait; returns a step: what the waiter has waited for, or, if that is not there yet, the lead. With `overtakes` the value
    /// of a waiter that leads is the one that is stored.
    fn _lead<'py>(
        slf: &Bound<'py, Self>,
        wait: &Bound<'py, FlightWait>,
        overtakes: bool,
    ) -> PyResult<FlightStep> {
        Self::run(slf, |operation| operation.lead(wait.get(), overtakes))
    }

    /// Counts what ``get_or_set`` did: ``stale_hits``, ``refreshes`` or ``failed_refreshes``.
    fn _count(slf: &Bound<'_, Self>, what: &str) -> PyResult<()> {
        Self::run(slf, |operation| operation.count(what))
    }

    /// Acquires a lock with its holder's token; returns whether it was free.
    ///
    /// `timeout` is in seconds, or None for no limit. Raises ``ValueError`` if the cache has no room for the lock.
    #[pyo3(signature = (key, token, timeout, version))]
    fn _acquire<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        timeout: Option<f64>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            operation.acquire_lock(key, token, timeout, version)
        })
    }

    /// Releases a lock; returns whether it was held with this token.
    #[pyo3(signature = (key, token, version))]
    fn _release<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| operation.release_lock(key, token, version))
    }

    /// Returns whether a lock is held with this token.
    #[pyo3(signature = (key, token, version))]
    fn _holds<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| operation.holds_lock(key, token, version))
    }

    /// Extends a lock by a number of seconds, from now or (`on_top`) from its end; returns whether it was held with this
    /// token.
    #[pyo3(signature = (key, token, seconds, on_top, version))]
    fn _extend<'py>(
        slf: &Bound<'py, Self>,
        key: Any<'_, 'py>,
        token: &str,
        seconds: f64,
        on_top: bool,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        Self::run(slf, |operation| {
            operation.extend_lock(key, token, seconds, on_top, version)
        })
    }

    /// Returns the store's statistics: counts since its creation or ``reset_stats``, its contents now, and its limits.
    ///
    /// A ``LocalCache`` counts in this process, a ``SharedCache`` in all processes that use the file.
    fn stats(slf: &Bound<'_, Self>) -> PyResult<Stats> {
        Self::run(slf, |operation| operation.stats())
    }

    /// Verifies the whole file.
    ///
    /// Returns the number of entries, the bytes of their keys and values, the bytes they occupy, how many entries a killed
    /// process left half written, and the bytes of gaps. Raises ``ValueError`` if the file is damaged, ``TimeoutError`` if
    /// a part of it cannot be locked.
    #[cfg(shared)]
    fn _verify(slf: &Bound<'_, Self>) -> PyResult<(u64, u64, u64, u64, u64)> {
        Self::run(slf, |operation| operation.verify())
    }

    /// Resets the counts and the age of ``stats()``, for every backend instance on the same store. Keeps the entries.
    fn reset_stats(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::run(slf, |operation| {
            operation.reset_stats();
            Ok(())
        })
    }

    /// Panics while an entry is locked, for tests of how a panic is handled.
    fn _panic(slf: &Bound<'_, Self>, key: Any<'_, '_>) -> PyResult<()> {
        Self::run(slf, |operation| operation.panic(key))
    }
}
