//! The stores that this process has open, by name or path, and how they survive `fork`.
//!
//! A store lives as long as the process, as `LocMemCache`'s dictionaries do, so that every backend instance that names it
//! later finds its entries.
//!
//! A child of `fork` has one thread and a copy of every lock. A lock that another thread held would stay locked in the
//! child forever. So the forking thread acquires all locks just before the fork, and releases them just after it in the
//! parent and the child, in handlers of `pthread_atfork`. No Python code runs in between. (With `os.register_at_fork` other
//! handlers would, and may use the cache.) Nothing here calls Python or waits for the GIL while it holds the registry's
//! lock, so the handlers cannot deadlock.

use std::collections::HashMap;
#[cfg(shared)]
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nearcache::Eviction;
#[cfg(unix)]
use nearcache::OutOfMemory;
use nearcache::local::{Capacity, Frozen, RawCache};
#[cfg(shared)]
use nearcache::shared::OpenError;
#[cfg(shared)]
use pyo3::exceptions::PyOSError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[cfg(unix)]
use super::flights::ProcessFlights;
use super::local::LocalStore;
#[cfg(unix)]
use super::near_copy::NearCopy;
#[cfg(shared)]
use super::shared::{FileSize, Kept, ObjectCache, SharedFile, SharedStore, option_of};
use crate::errors::error;
use crate::memory::{ensure_headroom, no_memory};
use crate::system;
use crate::values::Stored;

/// The eviction policies, and their names in the options.
const POLICIES: [(Eviction, &str); 3] = [
    (Eviction::S3Fifo, "s3-fifo"),
    (Eviction::Adaptive, "adaptive"),
    (Eviction::Lru, "lru"),
];

/// A store of this process, and the policy that it was created with.
struct OpenLocal {
    store: &'static LocalStore,
    eviction: Eviction,
}

/// The open stores.
#[derive(Default)]
struct Registry {
    local: HashMap<String, OpenLocal>,
    /// The local stores' locks, during a fork. It has room for all, because nothing may be allocated then.
    frozen: Vec<Frozen<'static, Stored>>,
    /// The tables of flights of the other stores. Their locks are in `frozen`, too.
    #[cfg(unix)]
    flights: Vec<&'static ProcessFlights>,
    /// The near tiers, and their locks, in the same way.
    #[cfg(unix)]
    near: HashMap<String, &'static RawCache<NearCopy>>,
    #[cfg(unix)]
    frozen_near: Vec<Frozen<'static, NearCopy>>,
    #[cfg(shared)]
    shared: HashMap<PathBuf, &'static SharedStore>,
    /// The locks of their object caches, in the same way.
    #[cfg(shared)]
    frozen_objects: Vec<Frozen<'static, Kept>>,
}

impl Registry {
    /// Returns the number of tables whose locks are held during a fork beside the local stores.
    const fn other_tables(&self) -> usize {
        #[cfg(unix)]
        return self.flights.len();
        #[cfg(not(unix))]
        return 0;
    }
}

#[cfg(unix)]
impl Registry {
    fn open_flights(&mut self) -> Result<&'static ProcessFlights, OutOfMemory> {
        let Self {
            flights,
            frozen,
            local,
            ..
        } = self;
        flights.try_reserve(1)?;
        frozen.try_reserve(local.len() + flights.len() + 1)?;
        let opened: &'static _ = Box::leak(Box::new(ProcessFlights::new()?));
        flights.push(opened);
        Ok(opened)
    }

    /// Acquires all locks. Allocates nothing.
    fn freeze(&mut self) {
        self.frozen
            .extend(self.local.values().map(|opened| opened.store.freeze()));
        self.frozen
            .extend(self.flights.iter().map(|table| table.freeze()));
        self.frozen_near
            .extend(self.near.values().map(|cache| cache.freeze()));
        #[cfg(shared)]
        self.frozen_objects
            .extend(self.shared.values().map(|store| store.objects.freeze()));
    }
}

#[cfg(shared)]
impl Registry {
    /// Adds the store in a file.
    fn keep(&mut self, path: PathBuf, file: SharedFile) -> Result<&'static SharedStore, OutOfMemory> {
        self.shared.try_reserve(1)?;
        self.frozen_objects.try_reserve(self.shared.len() + 1)?;
        let objects = ObjectCache::new()?;
        let store = SharedStore::new(file, objects, self.open_flights()?);
        let store: &'static _ = Box::leak(Box::new(store));
        self.shared.insert(path, store);
        Ok(store)
    }
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Opens the store of this name, and creates it for this capacity if there is none.
///
/// Fails with `ValueError` if the eviction policy is unknown, or differs from the store's.
pub(crate) fn open_local(
    py: Python<'_>,
    name: &str,
    eviction: &str,
    capacity: &Capacity,
) -> PyResult<&'static LocalStore> {
    let wanted = POLICIES.iter().find(|(_, name)| *name == eviction);
    let &(wanted, _) = wanted.ok_or_else(|| {
        error::<PyValueError>(
            py,
            format_args!(
                "the eviction policy is {eviction:?}; expected \"s3-fifo\", \"adaptive\" or \"lru\""
            ),
        )
    })?;
    ensure_headroom()?;
    let mut registry = registry();
    let opened = registry.get_or_insert_default();
    let others = opened.other_tables();
    let Registry { local, frozen, .. } = opened;
    if !local.contains_key(name) {
        local.try_reserve(1).map_err(no_memory)?;
        frozen.try_reserve(local.len() + 1 + others).map_err(no_memory)?;
        let store = LocalStore::new(wanted, shards(wanted, capacity)).map_err(no_memory)?;
        let opened = OpenLocal {
            store: Box::leak(Box::new(store)),
            eviction: wanted,
        };
        local.insert(name.to_owned(), opened);
    }
    let opened = &local[name];
    if opened.eviction == wanted {
        return Ok(opened.store);
    }
    let other = POLICIES
        .iter()
        .find(|(policy, _)| *policy == opened.eviction)
        .map_or("", |(_, name)| name);
    drop(registry);
    Err(error::<PyValueError>(
        py,
        format_args!(
            "the store {name:?} is open in this process with EVICTION {other:?}, not {eviction:?}: if two entries of CACHES share \
             the store, give each a LOCATION of its own, or the same EVICTION"
        ),
    ))
}

/// Makes the table of flights of a store. It is never freed: to be called when the rest of the store has been opened.
#[cfg(unix)]
pub(super) fn open_flights() -> Result<&'static ProcessFlights, OutOfMemory> {
    registry().get_or_insert_default().open_flights()
}

/// Opens the near tier of the store with this identity, and creates it for this capacity if there is none.
#[cfg(unix)]
pub(super) fn open_near(identity: &str, capacity: &Capacity) -> PyResult<&'static RawCache<NearCopy>> {
    ensure_headroom()?;
    let mut registry = registry();
    let Registry {
        near, frozen_near, ..
    } = registry.get_or_insert_default();
    if let Some(opened) = near.get(identity) {
        return Ok(opened);
    }
    near.try_reserve(1).map_err(no_memory)?;
    frozen_near.try_reserve(near.len() + 1).map_err(no_memory)?;
    let shards = shards(Eviction::Adaptive, capacity);
    let cache = RawCache::new(Eviction::Adaptive, shards).map_err(no_memory)?;
    let opened: &'static _ = Box::leak(Box::new(cache));
    near.insert(identity.to_owned(), opened);
    Ok(opened)
}

/// Opens the cache file at this path, and creates it if there is none of this size.
///
/// Fails with `ValueError` if this process has it open with another size, with `OSError` if it cannot be opened.
#[cfg(shared)]
pub(crate) fn open_shared(py: Python<'_>, path: PathBuf, wanted: FileSize) -> PyResult<&'static SharedStore> {
    ensure_headroom()?;
    let known = registry().get_or_insert_default().shared.get(&path).copied();
    let opened = match known {
        Some(opened) => opened,
        None => open_file(py, path, wanted)?,
    };
    let before = opened.size();
    if before == wanted {
        return Ok(opened);
    }
    let path = opened.path().display();
    Err(error::<PyValueError>(
        py,
        format_args!(
            "{path} is open in this process with {before}, not {wanted}: if two entries of CACHES share the file, give each a \
             LOCATION of its own, or the same options"
        ),
    ))
}

/// Opens a cache file that this process does not have open, with neither the GIL nor the registry locked meanwhile.
///
/// Allocating a large file takes seconds, and so may waiting for a process that does. If two threads open the same path,
/// both get the store that was registered first.
#[cfg(shared)]
fn open_file(py: Python<'_>, path: PathBuf, wanted: FileSize) -> PyResult<&'static SharedStore> {
    let file = py.detach(|| SharedFile::open(&path, wanted));
    let file = file.map_err(|failure| match failure {
        OpenError::OutOfMemory(short) => no_memory(short),
        other => error::<PyOSError>(py, format_args!("{other}{}", option_of(&other))),
    })?;
    let mut registry = registry();
    let registry = registry.get_or_insert_default();
    if let Some(opened) = registry.shared.get(&path) {
        return Ok(opened);
    }
    registry.keep(path, file).map_err(no_memory)
}

/// Returns the number of shards of a new store.
///
/// With the GIL, one thread at a time uses a store, so it has one shard and the policy's order is exact. LRU is chosen to
/// reproduce Django's order, so it stays exact without the GIL, too.
fn shards(eviction: Eviction, capacity: &Capacity) -> usize {
    if cfg!(Py_GIL_DISABLED) && eviction != Eviction::Lru {
        capacity.default_shards()
    } else {
        1
    }
}

/// Locks the registry. Stores are only added to it, one insertion at a time, so a panic leaves it valid.
fn registry() -> MutexGuard<'static, Option<Registry>> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers the handlers that acquire and release all locks around a `fork`.
#[cfg(unix)]
pub(crate) fn register_fork_handlers() -> PyResult<()> {
    use std::sync::OnceLock;

    static REGISTERED: OnceLock<i32> = OnceLock::new();
    let status = *REGISTERED.get_or_init(|| system::register_fork_handlers(fork::prepare, fork::release));
    if status == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(status).into())
    }
}

/// Does nothing: this platform has no `fork`.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // as on unix
pub(crate) fn register_fork_handlers() -> PyResult<()> {
    Ok(())
}

#[cfg(unix)]
mod fork {
    use std::cell::Cell;
    use std::mem::ManuallyDrop;
    use std::sync::MutexGuard;

    use super::{Registry, registry};

    type Locked = MutexGuard<'static, Option<Registry>>;

    thread_local! {
        /// The registry's lock, during a fork, in the forking thread, which is the one that continues in the child. It has
        /// no destructor, because registering one for a thread allocates memory.
        static HELD: Cell<Option<ManuallyDrop<Locked>>> = const { Cell::new(None) };
    }

    pub(super) extern "C" fn prepare() {
        let mut locked = registry();
        if let Some(registry) = &mut *locked {
            registry.freeze();
        }
        HELD.set(Some(ManuallyDrop::new(locked)));
    }

    pub(super) extern "C" fn release() {
        if let Some(held) = HELD.take() {
            let mut locked = ManuallyDrop::into_inner(held);
            crate::random::reseed();
            if let Some(registry) = &mut *locked {
                registry.frozen.clear();
                registry.frozen_near.clear();
                #[cfg(shared)]
                registry.frozen_objects.clear();
            }
        }
    }
}
