//! The stores that this process has open, by name or path, and how they get across `fork`.
//!
//! A store lives as long as the process, as `LocMemCache`'s dictionaries do, so that every handle that names it later
//! finds what was put there.
//!
//! A child of `fork` has one thread, and every lock as it was: one that another thread held would stay locked for good.
//! So all locks are taken just before the fork and released on both sides just after, by `pthread_atfork`: no Python
//! code runs between. (With `os.register_at_fork` it would: another handler may use the cache.)

use std::collections::HashMap;
#[cfg(shared)]
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nearcache::Eviction;
use nearcache::local::{Capacity, Store};
use pyo3::PyResult;
#[cfg(shared)]
use pyo3::exceptions::PyOSError;
use pyo3::exceptions::PyValueError;

#[cfg(shared)]
use super::shared::SharedStore;
use crate::values::Stored;

type LocalStore = Store<Stored>;

/// The eviction policies and what they are called in the options.
const POLICIES: [(Eviction, &str); 3] = [
    (Eviction::S3Fifo, "s3-fifo"),
    (Eviction::Adaptive, "adaptive"),
    (Eviction::Lru, "lru"),
];

/// A store and what it was opened with.
struct Opened {
    store: &'static LocalStore,
    eviction: Eviction,
}

/// All of them.
#[derive(Default)]
struct Registry {
    local: HashMap<String, Opened>,
    #[cfg(shared)]
    shared: HashMap<PathBuf, &'static SharedStore>,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// The store of that name, made if it is the first time, for a handle of this capacity.
///
/// Fails if there is no such eviction policy, or if the store was opened with another one.
pub(crate) fn open_local(name: &str, eviction: &str, capacity: &Capacity) -> PyResult<&'static LocalStore> {
    let wanted = POLICIES.iter().find(|(_, name)| *name == eviction);
    let &(wanted, _) =
        wanted.ok_or_else(|| PyValueError::new_err(format!("there is no eviction policy {eviction:?}")))?;
    let mut registry = registry();
    let opened = registry
        .get_or_insert_default()
        .local
        .entry(name.to_owned())
        .or_insert_with(|| Opened {
            store: Box::leak(Box::new(Store::new(wanted, shards(wanted, capacity)))),
            eviction: wanted,
        });
    if opened.eviction == wanted {
        return Ok(opened.store);
    }
    let other = POLICIES
        .iter()
        .find(|(policy, _)| *policy == opened.eviction)
        .map_or("", |(_, name)| name);
    Err(PyValueError::new_err(format!(
        "the store {name:?} is open already in this process with eviction {other:?}"
    )))
}

/// The cache file at that path, made with that size if there is none.
///
/// Fails if this process has it open with another size, or as [`SharedStore::open`].
#[cfg(shared)]
pub(crate) fn open_shared(path: PathBuf, bytes: u64) -> PyResult<&'static SharedStore> {
    let mut registry = registry();
    let shared = &mut registry.get_or_insert_default().shared;
    if let Some(opened) = shared.get(&path) {
        if opened.bytes() == bytes {
            return Ok(opened);
        }
        return Err(PyValueError::new_err(format!(
            "{} is open in this process with MAX_MEMORY {}, not {bytes}: if two entries of CACHES share the file, give each \
             a LOCATION of its own, or the same MAX_MEMORY",
            path.display(),
            opened.bytes()
        )));
    }
    let opened = SharedStore::open(&path, bytes).map_err(|error| PyOSError::new_err(error.to_string()))?;
    let opened: &'static SharedStore = Box::leak(Box::new(opened));
    shared.insert(path, opened);
    Ok(opened)
}

/// The number of shards of a store whose first handle has this capacity.
///
/// Under the GIL one thread at a time is in here anyway, so one shard it is, and the policy's order is exact. LRU is chosen for
/// Django's order, so it stays exact without the GIL too.
fn shards(eviction: Eviction, capacity: &Capacity) -> usize {
    if cfg!(Py_GIL_DISABLED) && eviction != Eviction::Lru {
        capacity.default_shards()
    } else {
        1
    }
}

/// Locks the registry. It is only ever added to, so a panic cannot have left it half changed.
fn registry() -> MutexGuard<'static, Option<Registry>> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes `fork` take all stores' locks along, unlocked.
#[cfg(unix)]
pub(crate) fn survive_fork() -> PyResult<()> {
    use std::sync::OnceLock;

    static REGISTERED: OnceLock<i32> = OnceLock::new();
    let status = *REGISTERED.get_or_init(|| {
        // SAFETY: the handlers are functions of this module, which the interpreter never unloads.
        #[allow(unsafe_code)]
        unsafe {
            libc::pthread_atfork(Some(fork::prepare), Some(fork::release), Some(fork::release))
        }
    });
    if status == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(status).into())
    }
}

/// There is no `fork` to survive.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // as on unix
pub(crate) fn survive_fork() -> PyResult<()> {
    Ok(())
}

#[cfg(unix)]
mod fork {
    use std::cell::RefCell;
    use std::sync::MutexGuard;

    use nearcache::local::Frozen;

    use super::{Registry, Stored, registry};

    /// Every lock there is. Dropped in this order.
    struct Held {
        _shards: Vec<Frozen<'static, Stored>>,
        _registry: MutexGuard<'static, Option<Registry>>,
    }

    thread_local! {
        /// Filled for the moment of a fork by the thread that forks, which is the one that goes on in the child.
        static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
    }

    pub(super) extern "C" fn prepare() {
        let registry = registry();
        let opened = registry.iter().flat_map(|registry| registry.local.values());
        let shards = opened.map(|opened| opened.store.freeze()).collect();
        let held = Held {
            _shards: shards,
            _registry: registry,
        };
        // A thread that is going away has no thread-local storage: then the locks are released at once, and the child
        // of a fork from within a thread's last destructors takes its chance.
        let _ = HELD.try_with(|cell| cell.replace(Some(held)));
    }

    pub(super) extern "C" fn release() {
        let _ = HELD.try_with(|cell| drop(cell.take()));
    }
}
