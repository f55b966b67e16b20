//! The opening of a cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cache::SharedCache;
use super::error::OpenError;
use super::file::boot_id;
use super::hashing::Hashing;
use super::layout::SEED;
use super::map::Map;
use super::process::{FileState, Registration};
use super::store::Store;
use super::{file, repair};
use crate::clock::{Clock, SystemClock};

const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a file that is removed or replaced during its opening is opened again.
const TRIES: u32 = 100;

/// Sets up how a [`SharedCache`] is opened.
///
/// ```
/// use nearcache::shared::{OpenError, SharedCache};
///
/// let opened = SharedCache::builder("/nowhere/cache").open();
/// assert!(matches!(opened, Err(OpenError::Io { .. })));
/// ```
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct Builder<C = SystemClock> {
    path: PathBuf,
    bytes: Option<u64>,
    processes: Option<usize>,
    patience: Duration,
    clock: C,
}

impl Builder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            bytes: None,
            processes: None,
            patience: LOCK_TIMEOUT,
            clock: SystemClock,
        }
    }
}

impl<C: Clock> Builder<C> {
    /// The size of the file, which is created if it is missing, or has another size, version or number of process slots.
    /// Without this only an existing file is opened, whatever its size.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// How many processes may have the file open at once, up to [`MAX_PROCESSES`](super::MAX_PROCESSES) and a quarter of
    /// the file, at 512 bytes each ([`default_processes`](super::default_processes) of the size). Part of the file's
    /// layout: a file that has another number of slots is recreated. Has no effect without [`bytes`](Self::bytes).
    pub const fn max_processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// How long a write waits for another process that holds a lock, is alive and does not go on (1 s): what handles
    /// begin with. See [`SharedCache::with_lock_timeout`].
    pub const fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Where the cache reads the time. It is read under a lock: see [`Clock`].
    pub fn clock<D: Clock>(self, clock: D) -> Builder<D> {
        Builder {
            path: self.path,
            bytes: self.bytes,
            processes: self.processes,
            patience: self.patience,
            clock,
        }
    }

    /// Opens the cache; scans nothing, unless the machine was restarted since the file was made.
    ///
    /// # Errors
    ///
    /// [`OpenError`] tells what to do about each.
    pub fn open(self) -> Result<SharedCache<C>, OpenError> {
        self.open_in(boot_id())
    }

    /// Opens the cache in this boot of the machine.
    pub(super) fn open_in(self, boot: [u64; 2]) -> Result<SharedCache<C>, OpenError> {
        for _ in 1..TRIES {
            let store = self.enter(boot)?;
            if store.file_state() != FileState::Replaced {
                return Ok(self.handle(store));
            }
            // The file was removed or replaced before this process had its slot in it.
        }
        // A file system whose inode numbers are not stable never confirms that it is the same file.
        let store = self.enter(boot)?;
        if store.registration.is_unlinked() {
            return Err(OpenError::Busy { path: self.path });
        }
        Ok(self.handle(store))
    }

    fn handle(self, store: Store) -> SharedCache<C> {
        SharedCache::new(Arc::new(store), self.clock, self.patience)
    }

    /// Maps the file and takes a process slot in it.
    fn enter(&self, boot: [u64; 2]) -> Result<Store, OpenError> {
        let (file, geometry) = file::open(&self.path, self.bytes, self.processes)?;
        file::mark_opened(&file);
        let failed = |action| {
            let path = self.path.clone();
            move |source| OpenError::Io { action, path, source }
        };
        let map = Map::new(&file, geometry.words).map_err(failed("map"))?;
        let seed = map.words()[SEED].load(std::sync::atomic::Ordering::Relaxed);
        let store = Store {
            map,
            geometry,
            hashing: Hashing::new(seed),
            registration: Registration::new(self.path.clone(), file).map_err(failed("register in"))?,
        };
        repair::enter(&store, boot)?;
        store.registration.release_creator_lock();
        Ok(store)
    }
}
