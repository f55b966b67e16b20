//! The handle that programs use. Each operation is in a file of its own: `get.rs`, `insert.rs`, `update.rs`, `incr.rs`,
//! `remove.rs`, `expire.rs`, `keys.rs`, `flight.rs`, `get_or_insert.rs`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::cache_file::CacheFile;
use super::counters::Event;
use super::entry::ProcessId;
use super::error::{OpenError, SharedError};
use super::file_state::FileState;
use super::hashing::Keyed;
use super::keys::{Keys, Scope};
use super::layout::WORD;
use super::record::{MAX_KEY, words_for};
use super::stats::{self, SharedStats};
use super::validate::{self, Report, ValidateError};
use super::writer::Writer;
use crate::clock::{Clock, SystemClock};

/// A bounded cache in a file that all processes of a machine can map.
///
/// A clone is another handle to the same mapping. Handles can be used by any number of threads, and by children that are
/// created by `fork`.
pub struct SharedCache<C = SystemClock> {
    file: Arc<CacheFile>,
    clock: C,
    lock_timeout: Duration,
    flight_timeout: Duration,
}

/// Opening, and options of a handle.
impl SharedCache {
    /// Opens the cache at a path. Creates a file of this size if there is none. Short for [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// [`OpenError`]. Its messages say what to do.
    pub fn open(path: impl AsRef<Path>, bytes: u64) -> Result<Self, OpenError> {
        Self::builder(path).bytes(bytes).open()
    }

    /// Returns a builder that opens the cache at a path.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(PathBuf::from(path.as_ref()))
    }
}

impl<C: Clock> SharedCache<C> {
    pub(super) const fn new(
        file: Arc<CacheFile>,
        clock: C,
        lock_timeout: Duration,
        flight_timeout: Duration,
    ) -> Self {
        Self {
            file,
            clock,
            lock_timeout,
            flight_timeout,
        }
    }

    /// Returns another handle that reads the time from this clock.
    pub fn with_clock<D: Clock>(&self, clock: D) -> SharedCache<D> {
        SharedCache::new(
            Arc::clone(&self.file),
            clock,
            self.lock_timeout,
            self.flight_timeout,
        )
    }

    /// Returns another handle whose operations wait this long for a lock.
    ///
    /// With [`Duration::ZERO`], a write that finds the lock held fails with [`SharedError::Busy`] after a microsecond or
    /// two, without a system call. Nothing has changed then, and [`timeouts`](SharedStats::timeouts) does not count it. So
    /// a caller that holds something other threads need can try first, and release it only if it has to wait:
    ///
    /// ```
    /// use nearcache::shared::{SharedCache, SharedError};
    /// use std::time::Duration;
    ///
    /// # let directory = std::env::temp_dir().join(format!("nearcache-try-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let waiting = SharedCache::open(directory.join("pages"), 1 << 20)?;
    /// let trying = waiting.with_lock_timeout(Duration::ZERO);
    /// match trying.insert(b"/", b"Hello", None) {
    ///     // Release what other threads need, then:
    ///     Err(SharedError::Busy { .. }) => waiting.insert(b"/", b"Hello", None)?,
    ///     result => result?,
    /// }
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A lock whose owner is dead is taken over only by a caller that waits. Reads take a lock only if a write of the same
    /// entry does not end; see [`try_get_into`](Self::try_get_into).
    #[must_use]
    pub fn with_lock_timeout(&self, timeout: Duration) -> Self
    where
        C: Clone,
    {
        Self {
            lock_timeout: timeout,
            ..self.clone()
        }
    }

    /// Returns how long this handle's operations wait for a lock.
    #[must_use]
    pub const fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// Returns another handle whose [`get_or_insert_with`](Self::get_or_insert_with) waits this long for a leader that is
    /// alive: by default 10 s. Then the caller computes the value itself.
    #[must_use]
    pub fn with_flight_timeout(&self, timeout: Duration) -> Self
    where
        C: Clone,
    {
        Self {
            flight_timeout: timeout,
            ..self.clone()
        }
    }

    /// Returns how long this handle's [`get_or_insert_with`](Self::get_or_insert_with) waits for a leader that is alive.
    #[must_use]
    pub const fn flight_timeout(&self) -> Duration {
        self.flight_timeout
    }
}

/// The file, and the processes that use it.
impl<C: Clock> SharedCache<C> {
    /// Returns the size of the file.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.file.geometry.bytes
    }

    /// Returns the size of the largest value that can be stored under a key of `key` bytes.
    ///
    /// A stale time and a cost take 24 bytes together; a value that leaves no room for them is stored without them.
    #[must_use]
    pub fn max_value_bytes(&self, key: usize) -> usize {
        (self.file.geometry.max_record() * WORD).saturating_sub(words_for(key, 0, 0) * WORD)
    }

    /// Returns how many processes can have the file open at the same time.
    #[must_use]
    pub fn max_processes(&self) -> usize {
        self.file.geometry.processes
    }

    /// Returns whether the path still names the file, and whether the file is intact. One system call.
    ///
    /// Call this from time to time, for example once a second. If the result is not [`FileState::Current`], open the path
    /// again: other processes do, and no longer share anything with this handle. A process that uses a truncated file is
    /// killed by `SIGBUS` when it accesses the missing part; this call can only help a process that makes it before that.
    #[must_use]
    pub fn file_state(&self) -> FileState {
        self.file.state()
    }

    /// Returns whether [`file_state`](Self::file_state) is [`FileState::Current`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.file_state() == FileState::Current
    }

    /// Returns the user (uid) that this process ran as when it opened the file.
    #[must_use]
    pub fn opened_as(&self) -> u32 {
        self.file.registration.opened_as()
    }

    /// Registers this process in the file again if it has lost its registration; returns whether it had. A few system
    /// calls.
    ///
    /// Other processes know that this one is alive by a lock that a file descriptor holds. If a program closes descriptors
    /// that it did not open, as daemons do, the lock is lost, and other processes may take over what this one holds. Call
    /// this after such a step, or from time to time.
    ///
    /// # Errors
    ///
    /// [`SharedError::Detached`] if the process cannot be registered again.
    pub fn check_registration(&self) -> Result<bool, SharedError> {
        self.file.verified_process_slot().map(|(_, was_lost)| was_lost)
    }

    /// Returns the id of this process, which other processes can pass to [`is_alive`](Self::is_alive).
    ///
    /// It can be stored in a value, for example as the holder of a lock. Checks the registration first, which takes a few
    /// system calls.
    ///
    /// # Errors
    ///
    /// [`SharedError::Detached`] if the process cannot be registered.
    pub fn process_id(&self) -> Result<ProcessId, SharedError> {
        self.file
            .verified_process_slot()
            .map(|(slot, _)| ProcessId(slot.owner))
    }

    /// Returns whether a process is alive and has the cache open. Returns `true` if that cannot be determined.
    ///
    /// A few system calls, unless the process is the caller.
    #[must_use]
    pub fn is_alive(&self, process: ProcessId) -> bool {
        let me = self.file.process_slot();
        me.map_or(true, |me| self.file.is_alive(me, process.0))
    }
}

/// All entries.
impl<C: Clock> SharedCache<C> {
    /// Iterates over the keys of live entries, without a lock.
    #[must_use]
    pub fn keys(&self) -> Keys<C>
    where
        C: Clone,
    {
        Keys::new(self.clone(), Scope::Live)
    }

    /// Iterates over the keys of all entries, also of expired ones, and of all flights, without a lock.
    ///
    /// A caller that [removes](Self::remove) each key that it wants to be rid of leaves neither a stale value nor a computation
    /// that began before and would store its value.
    #[must_use]
    pub fn all_keys(&self) -> Keys<C>
    where
        C: Clone,
    {
        Keys::new(self.clone(), Scope::All)
    }

    /// Returns the statistics of all processes. O(processes + shards).
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        stats::read(&self.file)
    }

    /// Counts an event that only the caller sees, for [`stats`](Self::stats).
    pub fn count(&self, event: Event) {
        self.file.count(event.counter(), 1);
    }

    /// Resets the statistics of all processes.
    pub fn reset_stats(&self) {
        stats::reset(&self.file, self.clock.now());
    }

    /// Checks the whole file and returns what it found there.
    ///
    /// Reads all of the file, mostly without a lock. Entries may change meanwhile; writers wait for a few milliseconds at
    /// most, whatever the size of the file.
    ///
    /// # Errors
    ///
    /// [`ValidateError`] if something is wrong, or if a shard could not be locked.
    pub fn validate(&self) -> Result<Report, ValidateError> {
        validate::validate(&self.file, &self.clock, self.lock_timeout)
    }
}

/// For the operations.
impl<C: Clock> SharedCache<C> {
    pub(super) fn file(&self) -> &CacheFile {
        &self.file
    }

    pub(super) const fn clock(&self) -> &C {
        &self.clock
    }

    /// Hashes a key that is to be written.
    pub(super) fn checked_key<'a>(&self, key: &'a [u8]) -> Result<Keyed<'a>, SharedError> {
        if key.len() > MAX_KEY {
            return Err(SharedError::KeyTooLong { bytes: key.len() });
        }
        Ok(self.file.hashing.key(key))
    }

    /// Locks the shard of a key.
    #[inline]
    pub(super) fn lock(&self, key: &Keyed<'_>) -> Result<Writer<'_, C>, SharedError> {
        self.file
            .lock_for(self.file.shard_of(key), &self.clock, self.lock_timeout)
    }
}

impl<C: Clone> Clone for SharedCache<C> {
    fn clone(&self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            clock: self.clock.clone(),
            lock_timeout: self.lock_timeout,
            flight_timeout: self.flight_timeout,
        }
    }
}

impl<C> fmt::Debug for SharedCache<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache")
            .field("path", &self.file.registration.path())
            .finish_non_exhaustive()
    }
}
