//! The stores of this process, by name, and how they get across `fork`.
//!
//! A store lives as long as the process, as `LocMemCache`'s dictionaries do, so that every handle that names it later
//! finds what was put there.
//!
//! A child of `fork` has one thread, and every lock as it was: one that another thread held would stay locked for good.
//! So all locks are taken just before the fork and released on both sides just after, by `pthread_atfork`: no Python
//! code runs between. (With `os.register_at_fork` it would: another handler may use the cache.)

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nearcache::Eviction;
use nearcache::local::Store;
use pyo3::PyResult;
use pyo3::exceptions::PyValueError;

use crate::values::Stored;

pub(crate) type LocalStore = Store<Stored>;

/// What the heap's allocator takes at least, and by which steps; 8 bytes of it are its own. (glibc's, on 64 bits.)
const MIN_CHUNK: usize = 32;
const CHUNK_STEP: usize = 16;
const CHUNK_HEADER: usize = 8;

/// The bytes of memory an entry takes beside its Python value: its slot with the reference, its bookkeeping, its key.
pub(crate) fn entry_size(key: &[u8]) -> u64 {
    let key_chunk = (key.len() + CHUNK_HEADER)
        .next_multiple_of(CHUNK_STEP)
        .max(MIN_CHUNK);
    (LocalStore::BOOKKEEPING + size_of::<Stored>() + key_chunk) as u64
}

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

static STORES: Mutex<Option<HashMap<String, Opened>>> = Mutex::new(None);

/// The store of that name, made if it is the first time.
///
/// Fails if there is no such eviction policy, or if the store was opened with another one.
pub(crate) fn open(name: &str, eviction: &str) -> PyResult<&'static LocalStore> {
    let wanted = POLICIES.iter().find(|(_, name)| *name == eviction);
    let &(wanted, _) =
        wanted.ok_or_else(|| PyValueError::new_err(format!("there is no eviction policy {eviction:?}")))?;
    let mut stores = stores();
    let opened = stores
        .get_or_insert_default()
        .entry(name.to_owned())
        .or_insert_with(|| Opened {
            store: Box::leak(Box::new(Store::new(wanted, shards(wanted)))),
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

/// Under the GIL one thread at a time is in here anyway, so one shard it is, and the policy's order is exact. LRU is
/// chosen to have Django's order, so it stays exact without the GIL too.
fn shards(eviction: Eviction) -> usize {
    if cfg!(Py_GIL_DISABLED) && eviction != Eviction::Lru {
        4 * std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        1
    }
}

/// Locks the registry. It is only ever added to, so a panic cannot have left it half changed.
fn stores() -> MutexGuard<'static, Option<HashMap<String, Opened>>> {
    STORES.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::collections::HashMap;
    use std::sync::MutexGuard;

    use nearcache::local::Frozen;

    use super::{Opened, Stored, stores};

    /// Every lock there is. Dropped in this order.
    struct Held {
        _shards: Vec<Frozen<'static, Stored>>,
        _stores: MutexGuard<'static, Option<HashMap<String, Opened>>>,
    }

    thread_local! {
        /// Filled for the moment of a fork by the thread that forks, which is the one that goes on in the child.
        static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
    }

    pub(super) extern "C" fn prepare() {
        let stores = stores();
        let opened = stores.iter().flat_map(HashMap::values);
        let shards = opened.map(|opened| opened.store.freeze()).collect();
        let held = Held {
            _shards: shards,
            _stores: stores,
        };
        // A thread that is going away has no thread-local storage: then the locks are released at once, and the child
        // of a fork from within a thread's last destructors takes its chance.
        let _ = HELD.try_with(|cell| cell.replace(Some(held)));
    }

    pub(super) extern "C" fn release() {
        let _ = HELD.try_with(|cell| drop(cell.take()));
    }
}
