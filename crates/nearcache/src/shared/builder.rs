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
use super::process::Places;
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
    patience: Duration,
    clock: C,
}

impl Builder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            bytes: None,
            patience: LOCK_TIMEOUT,
            clock: SystemClock,
        }
    }
}

impl<C: Clock> Builder<C> {
    /// The size of the file: made so large if there is none, or if it is of another size or version. Without this only
    /// a file that is there is opened, whatever its size.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
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
            if file::is_at(&self.path, store.places.file()) {
                return Ok(self.handle(store));
            }
            // The file was removed or replaced before this process had its slot in it.
        }
        // A file system whose inode numbers are not stable never confirms that it is the same file.
        let store = self.enter(boot)?;
        Ok(self.handle(store))
    }

    fn handle(self, store: Store) -> SharedCache<C> {
        file::mark_opened(store.places.file());
        SharedCache::new(Arc::new(store), self.clock, self.patience)
    }

    /// Maps the file and takes a process slot in it.
    fn enter(&self, boot: [u64; 2]) -> Result<Store, OpenError> {
        let (file, geometry) = file::open(&self.path, self.bytes)?;
        let map = Map::new(&file, geometry.words).map_err(|source| OpenError::Io {
            action: "map",
            path: self.path.clone(),
            source,
        })?;
        let seed = map.words()[SEED].load(std::sync::atomic::Ordering::Relaxed);
        let store = Store {
            map,
            geometry,
            hashing: Hashing::new(seed),
            places: Places::new(self.path.clone(), file),
        };
        repair::enter(&store, boot)?;
        Ok(store)
    }
}
