//! Opening a cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::adoption::{self, boot_id};
use super::cache::SharedCache;
use super::cache_file::CacheFile;
use super::error::{OpenError, PathErrors};
use super::file;
use super::file_state::FileState;
use super::hashing::Hashing;
use super::layout::SEED;
use super::mapping::Mapping;
use super::registration::Registration;
use crate::clock::{Clock, SystemClock};

const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const FLIGHT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a file that is removed or replaced while it is opened is opened again.
const TRIES: u32 = 100;

/// Opens a [`SharedCache`] with options.
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
    lock_timeout: Duration,
    clock: C,
}

impl Builder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            bytes: None,
            processes: None,
            lock_timeout: LOCK_TIMEOUT,
            clock: SystemClock,
        }
    }
}

impl<C: Clock> Builder<C> {
    /// Sets the size of the file, from [`MIN_BYTES`](super::MIN_BYTES) to [`MAX_BYTES`](super::MAX_BYTES).
    ///
    /// The file is created if it is missing, and recreated if it has another size, version or number of process slots.
    /// Without this, only an existing file is opened, whatever its size.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets how many processes can have the file open at the same time.
    ///
    /// By default this is [`default_processes`](super::default_processes) of the size. The most is
    /// [`MAX_PROCESSES`](super::MAX_PROCESSES), and a quarter of the file at 512 bytes for each process. A file with
    /// another number of slots is recreated. Has no effect without [`bytes`](Self::bytes).
    pub const fn max_processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// Sets how long an operation waits for a lock that another living process holds: by default 1 s.
    ///
    /// [`SharedCache::with_lock_timeout`] changes that for a handle.
    pub const fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets the clock. It is read while a lock is held: see [`Clock`].
    pub fn clock<D: Clock>(self, clock: D) -> Builder<D> {
        Builder {
            path: self.path,
            bytes: self.bytes,
            processes: self.processes,
            lock_timeout: self.lock_timeout,
            clock,
        }
    }

    /// Opens the cache.
    ///
    /// An existing file is opened in constant time, also after a reboot. Creating a file allocates all of its space.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. Its messages say what to do.
    pub fn open(self) -> Result<SharedCache<C>, OpenError> {
        self.open_in(boot_id())
    }

    /// Opens the cache in this boot of the machine.
    pub(super) fn open_in(self, boot: [u64; 2]) -> Result<SharedCache<C>, OpenError> {
        for _ in 1..TRIES {
            let file = self.map_and_register(boot)?;
            if file.state() != FileState::Replaced {
                return Ok(self.handle(file));
            }
            // The file was removed or replaced before this process had its slot in it.
        }
        // On a file system whose inode numbers are not stable, every file looks replaced.
        let file = self.map_and_register(boot)?;
        if file.registration.is_unlinked() {
            return Err(OpenError::Busy { path: self.path });
        }
        Ok(self.handle(file))
    }

    fn handle(self, file: CacheFile) -> SharedCache<C> {
        SharedCache::new(Arc::new(file), self.clock, self.lock_timeout, FLIGHT_TIMEOUT)
    }

    /// Maps the file and takes a process slot in it.
    fn map_and_register(&self, boot: [u64; 2]) -> Result<CacheFile, OpenError> {
        let (file, geometry) = file::open(&self.path, self.bytes, self.processes)?;
        file::mark_opened(&file);
        let errors = PathErrors(&self.path);
        let mapping = Mapping::new(&file, geometry.words).map_err(errors.failed("map"))?;
        let seed = mapping.words()[SEED].load(Ordering::Relaxed);
        let registration = Registration::new(self.path.clone(), file);
        let file = CacheFile {
            mapping,
            geometry,
            hashing: Hashing::new(seed),
            registration: registration.map_err(errors.failed("register in"))?,
        };
        adoption::register(&file, boot)?;
        file.registration.release_creator_lock();
        Ok(file)
    }
}
