//! Opening a store with a remote tier: its settings, and the near tier that they ask for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use nearcache::local::Capacity;
use nearcache_remote::near::{Listener, NearState, Scope};
use nearcache_remote::{Config, Options, Remote};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use super::costs::Costs;
use super::failure::OnError;
use super::flights_file::Flights;
use super::near::{Copies, Near, NearCounts};
use super::tiered_store::{RemoteCounts, TieredStore};
use crate::django::improperly_configured;
use crate::errors::error;
use crate::glob::Glob;
use crate::memory::no_memory;
use crate::store::flights::ProcessFlights;
use crate::store::registry;
#[cfg(shared)]
use crate::store::shared::FileSize;

/// What a store is opened with: the attributes of an object of `nearcache.django.tiered_options`.
#[derive(FromPyObject)]
pub(crate) struct TieredSettings {
    /// Stores with the same identity are one.
    identity: String,
    locations: Vec<String>,
    db: Option<i64>,
    username: Option<String>,
    password: Option<String>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_verify: bool,
    /// Seconds, as all times here.
    connect_timeout: f64,
    socket_timeout: f64,
    max_connections: usize,
    /// `None`, "local" or "shared".
    near: Option<String>,
    near_ttl: Option<f64>,
    max_staleness: f64,
    near_exclude: Vec<String>,
    /// What every stored key begins with.
    key_prefix: String,
    /// The file of `NEAR` "shared", its size, and for how many processes.
    near_path: Option<PathBuf>,
    near_size: u64,
    near_processes: Option<usize>,
    /// How many bytes of it this process keeps as objects.
    object_cache: u64,
    /// The file of the flights of this machine.
    flights_path: Option<PathBuf>,
    /// Whether the cache keeps side keys by default.
    has_side_keys: bool,
    /// "raise", "miss" or "stale".
    on_error: String,
    flush_database: bool,
    /// For tests: the guard of the promise that is left out: "stamp", "gate" or "epoch".
    broken_guard: Option<String>,
    /// The function by which greenlets wait, under gevent and eventlet.
    green_wait: Option<Py<PyAny>>,
}

/// The open stores, by identity. Not in a lock, which a child of `fork` could inherit locked.
static STORES: ArcSwapOption<Stores> = ArcSwapOption::const_empty();

type Stores = HashMap<String, &'static TieredStore>;

impl TieredStore {
    /// Opens the store with these settings. Does not connect.
    ///
    /// Fails with `ImproperlyConfigured` for an invalid URL, with `OSError` if a file cannot be opened.
    pub(crate) fn open(
        py: Python<'_>,
        settings: TieredSettings,
        capacity: &Capacity,
    ) -> PyResult<&'static Self> {
        let find = || STORES.load().as_ref()?.get(&settings.identity).copied();
        let store = match find() {
            Some(store) => store,
            None => Self::keep(&settings.identity, Self::new(py, &settings, capacity)?),
        };
        if settings.has_side_keys {
            store.has_side_keys.store(true, Relaxed);
        }
        if let Some(wait) = settings.green_wait {
            // gevent may have patched the process after the store was opened.
            let _ = store.green_wait.set(wait);
        }
        Ok(store)
    }

    /// Keeps a new store. If two threads made it, the first one's is kept. Neither has connected.
    fn keep(identity: &str, made: Self) -> &'static Self {
        let made: &'static Self = Box::leak(Box::new(made));
        let mut kept = made;
        STORES.rcu(|stores| {
            let mut stores = stores.as_deref().cloned().unwrap_or_default();
            kept = *stores.entry(identity.to_owned()).or_insert(made);
            Some(Arc::new(stores))
        });
        kept
    }

    fn new(py: Python<'_>, settings: &TieredSettings, capacity: &Capacity) -> PyResult<Self> {
        let config = Config::parse(&settings.locations, &settings.options())
            .map_err(|failure| improperly_configured(py, &format!("nearcache: {failure}")))?;
        let copies = match settings.near.as_deref() {
            None => None,
            Some(tier) => Some(settings.copies(py, tier == "shared", capacity)?),
        };
        // Not before, because it is kept if opening fails.
        let flights = registry::open_flights().map_err(no_memory)?;
        let near = copies
            .map(|copies| settings.near(copies, &config, flights))
            .transpose()?;
        let on_error = match settings.on_error.as_str() {
            "miss" => OnError::Miss,
            "stale" => OnError::Stale,
            _ => OnError::Raise,
        };
        Ok(Self {
            remote: Remote::new(config),
            near,
            on_error,
            flush_database: settings.flush_database,
            green_wait: OnceLock::new(),
            counts: RemoteCounts::default(),
            key_prefix: settings.key_prefix.clone().into_bytes(),
            flights: Flights::new(flights, settings.flights_path.clone()),
            costs: Costs::default(),
            has_side_keys: AtomicBool::new(false),
        })
    }
}

/// Ends the listeners of this process, so that another process of the machine succeeds at once. For use at exit.
#[pyfunction]
pub(crate) fn stop_listeners() {
    for store in STORES.load().iter().flat_map(|stores| stores.values()) {
        if let Some(near) = &store.near {
            near.listener.stop();
        }
    }
}

impl TieredSettings {
    fn options(&self) -> Options {
        Options {
            db: self.db,
            username: self.username.clone(),
            password: self.password.clone(),
            ca: self.tls_ca.clone(),
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            verify: self.tls_verify,
            connect_timeout: seconds(self.connect_timeout),
            response_timeout: seconds(self.socket_timeout),
            max_connections: self.max_connections,
        }
    }

    /// Opens the near tier's copies and its state.
    fn copies(
        &self,
        py: Python<'_>,
        is_shared: bool,
        capacity: &Capacity,
    ) -> PyResult<(Copies, NearState, Scope)> {
        if is_shared {
            return self.shared_copies(py);
        }
        let cache = registry::open_near(&self.identity, capacity)?;
        let state = NearState::private().map_err(no_memory)?;
        Ok((Copies::Local(cache), state, Scope::Process))
    }

    fn near(
        &self,
        (copies, state, scope): (Copies, NearState, Scope),
        config: &Config,
        flights: &'static ProcessFlights,
    ) -> PyResult<Near> {
        let (prefix, max_staleness) = (self.key_prefix.clone().into_bytes(), seconds(self.max_staleness));
        let lacks = |guard| self.broken_guard.as_deref() == Some(guard);
        let mut listener = Listener::new(config.clone(), state, scope, prefix.clone(), max_staleness);
        if lacks("epoch") {
            listener = listener.keep_epoch();
        }
        let excluded = self.near_exclude.iter().map(|glob| Glob::new(glob.as_bytes()));
        Ok(Near {
            copies,
            state,
            listener,
            prefix,
            max_staleness: if lacks("gate") {
                Duration::MAX
            } else {
                max_staleness
            },
            ttl: self.near_ttl.map(seconds),
            stamps_late: lacks("stamp"),
            object_capacity: self.object_cache,
            excluded: excluded.collect::<PyResult<_>>()?,
            counts: NearCounts::default(),
            flights,
        })
    }

    #[cfg(shared)]
    fn shared_copies(&self, py: Python<'_>) -> PyResult<(Copies, NearState, Scope)> {
        let path = self.near_path.clone().unwrap_or_default();
        let mut state_path = path.clone().into_os_string();
        state_path.push(".state");
        let size = FileSize {
            bytes: self.near_size,
            processes: self.near_processes,
        };
        let store = registry::open_shared(py, path, size)?;
        let state = NearState::open_mapped(state_path.as_ref());
        let state = state.map_err(|failure| error::<PyOSError>(py, format_args!("{failure}")))?;
        Ok((Copies::Shared(store), state, Scope::Machine))
    }

    #[cfg(not(shared))]
    fn shared_copies(&self, py: Python<'_>) -> PyResult<(Copies, NearState, Scope)> {
        let message = format_args!("a shared near tier needs 64-bit Linux");
        Err(error::<PyOSError>(py, message))
    }
}

/// Returns a duration of a checked number of seconds.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
