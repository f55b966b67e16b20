//! The handle that programs use.

use std::fmt;
use std::hint;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::builder::Builder;
use super::error::{OpenError, ReadError, SharedError, UpdateError};
use super::hashing::Keyed;
use super::item::{EntryInfo, NewEntry, ProcessId};
use super::keys::Keys;
use super::layout::WORD;
use super::process::FileState;
use super::record::{MAX_KEY, Stamp, words_for};
use super::shard::{Look, Sink};
use super::stats::{self, SharedStats};
use super::store::{Counter, Store};
use super::validate::{self, Report, ValidateError};
use super::words::add;
use super::writer::{Expected, Incremented, Value, Writer, expiry, is_dead};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::condition::Condition;
use crate::error::OutOfMemory;

/// How often a reader whom writers interfered with starts again.
const STARTS: u32 = 64;
/// How long a read waits for a write of the same entry that does not end, because its process was stopped. After that
/// the read is a miss.
pub const READ_TIMEOUT: Duration = Duration::from_millis(50);
const UPDATE_ATTEMPTS: u32 = 100;
/// Room for larger records is made in slices.
const LARGE_WORDS: usize = 1 << 16;
/// The most slices for so much room. Small records take many.
const ROOM_SLICES: usize = 32;

/// A bounded cache in a file that all processes of a machine may map at once.
///
/// Cloning gives another handle to the same mapping. A handle stays usable in children made by `fork`.
pub struct SharedCache<C = SystemClock> {
    store: Arc<Store>,
    clock: C,
    patience: Duration,
}

impl SharedCache {
    /// Opens the cache at a path, made with this size if there is none: short for [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// [`OpenError`] tells what to do about each.
    pub fn open(path: impl AsRef<Path>, bytes: u64) -> Result<Self, OpenError> {
        Self::builder(path).bytes(bytes).open()
    }

    /// Starts the opening of a cache.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(PathBuf::from(path.as_ref()))
    }
}

impl<C: Clock> SharedCache<C> {
    pub(super) const fn new(store: Arc<Store>, clock: C, patience: Duration) -> Self {
        Self {
            store,
            clock,
            patience,
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) const fn clock(&self) -> &C {
        &self.clock
    }

    /// Another handle, which reads the time elsewhere.
    pub fn with_clock<D: Clock>(&self, clock: D) -> SharedCache<D> {
        SharedCache::new(Arc::clone(&self.store), clock, self.patience)
    }

    /// Another handle, whose operations wait so long for a lock.
    ///
    /// With [`Duration::ZERO`] a write that finds the lock held fails with [`SharedError::Busy`] at once: after a few
    /// turns, a microsecond or two, and without a system call. Nothing has been changed then, and
    /// [`timeouts`](SharedStats::timeouts) does not count it. So a caller that holds something others need (an
    /// interpreter's lock) tries first, and lets go of it only to wait:
    ///
    /// ```
    /// use nearcache::shared::{NewEntry, SharedCache, SharedError};
    /// use std::time::Duration;
    ///
    /// # let directory = std::env::temp_dir().join(format!("nearcache-try-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let patient = SharedCache::open(directory.join("pages"), 1 << 20)?;
    /// let hasty = patient.with_lock_timeout(Duration::ZERO);
    /// match hasty.set(b"/", NewEntry::new(b"Hello")) {
    ///     Err(SharedError::Busy { .. }) => patient.set(b"/", NewEntry::new(b"Hello"))?, // having let go of it
    ///     done => done?,
    /// }
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A lock whose owner is dead is only ever taken over by a caller that waits. Reads take a lock only if a write of the
    /// very same entry does not end; see [`try_get_into`](Self::try_get_into).
    #[must_use]
    pub fn with_lock_timeout(&self, timeout: Duration) -> Self
    where
        C: Clone,
    {
        Self {
            patience: timeout,
            ..self.clone()
        }
    }

    /// How long this handle's operations wait for a lock.
    #[must_use]
    pub const fn lock_timeout(&self) -> Duration {
        self.patience
    }

    /// When something stored now for `ttl` dies.
    #[must_use]
    pub fn expiry(&self, ttl: Option<Duration>) -> Timestamp {
        ttl.map_or(Timestamp::NEVER, |ttl| self.clock.expiry(ttl))
    }

    /// The value of a live entry. O(1), no lock.
    ///
    /// If there is no memory for the value, this is a miss too; [`get_into`](Self::get_into) tells the two apart.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let found = self.get_into(key, &mut value).ok().flatten();
        found.map(|_| value)
    }

    /// Copies the value of a live entry, once, to where `sink` wants it. O(1), no lock.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has none; that counts as a miss.
    #[inline]
    pub fn get_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, OutOfMemory> {
        self.get_into_within(key, sink, READ_TIMEOUT)
    }

    /// As [`get_into`](Self::get_into), but waits at most so long for a write of the same entry to end, instead of
    /// [`READ_TIMEOUT`]. If it does not end, the read is a miss.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has none; that counts as a miss.
    #[inline]
    pub fn get_into_within(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, OutOfMemory> {
        let found = self.read(key, sink, timeout);
        self.count_read(matches!(found, Ok(Some(_))));
        miss_if_busy(found)
    }

    /// As [`get_into`](Self::get_into), but never waits.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] if another process or thread is just writing this entry, or was stopped while it did. Nothing is
    /// counted then: the caller goes on with [`get_into_within`](Self::get_into_within), having released whatever others
    /// need. [`ReadError::OutOfMemory`] if the sink has no memory.
    #[inline]
    pub fn try_get_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, ReadError> {
        let found = self.read(key, sink, Duration::ZERO);
        if !matches!(found, Err(ReadError::Busy)) {
            self.count_read(matches!(found, Ok(Some(_))));
        }
        found
    }

    /// As [`get_into`](Self::get_into), but it counts neither as a hit nor as a miss.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has none.
    pub fn peek_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, OutOfMemory> {
        miss_if_busy(self.read(key, sink, READ_TIMEOUT))
    }

    #[inline]
    fn count_read(&self, is_hit: bool) {
        let what = if is_hit { Counter::Hits } else { Counter::Misses };
        self.store.count(what, 1);
    }

    /// Has this process's last hit count as a miss, and as unreadable: the caller could make nothing of the value.
    pub fn count_hit_as_unreadable(&self) {
        self.store.count(Counter::Hits, u64::MAX); // subtracts one, since the sum wraps around
        self.store.count(Counter::Misses, 1);
        self.store.count(Counter::Unreadable, 1);
    }

    #[inline]
    fn read(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, ReadError> {
        let key = self.store.hashing.key(key);
        match self.try_read(&key, sink) {
            Err(ReadError::Busy) => self.read_again(&key, sink, timeout),
            done => done,
        }
    }

    #[cold]
    fn read_again(
        &self,
        key: &Keyed<'_>,
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, ReadError> {
        for _ in 1..STARTS {
            hint::spin_loop();
            match self.try_read(key, sink) {
                Err(ReadError::Busy) => {}
                done => return done,
            }
        }
        self.read_locked(key, sink, timeout)
    }

    /// All in one function, so that what goes from one step to the next stays in registers.
    #[inline(always)]
    fn try_read(&self, key: &Keyed<'_>, sink: &mut impl Sink) -> Result<Option<EntryInfo>, ReadError> {
        let shard = self.store.shard_of(key);
        let entry = match shard.look_once(key) {
            Look::Found(entry) => entry,
            Look::Unclear => return Err(ReadError::Busy),
            Look::Nothing | Look::Damaged => return Ok(None),
        };
        if is_dead(&entry.record, &self.clock) {
            return Ok(None);
        }
        if sink.has_copy(entry.record.kind, entry.record.value, &entry.stamp(key.hash)) {
            shard.raise(&entry);
            return Ok(Some(EntryInfo::new(&entry, key.hash)));
        }
        let Ok(buffer) = sink.buffer(entry.record.kind, entry.record.value) else {
            return Err(ReadError::OutOfMemory(OutOfMemory));
        };
        if buffer.len() != entry.record.value {
            return Ok(None);
        }
        match shard.copy(key, &entry, buffer) {
            Look::Found(entry) => {
                // SAFETY: `copy` filled the buffer that was given last.
                #[allow(unsafe_code)]
                unsafe {
                    sink.filled(entry.record.value);
                }
                shard.raise(&entry);
                Ok(Some(EntryInfo::new(&entry, key.hash)))
            }
            Look::Unclear => Err(ReadError::Busy),
            Look::Nothing => Ok(None),
            Look::Damaged => {
                self.store.count(Counter::Damages, 1);
                Ok(None)
            }
        }
    }

    /// Reads under the lock, into memory that was allocated before it was taken.
    #[cold]
    fn read_locked(
        &self,
        key: &Keyed<'_>,
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, ReadError> {
        let mut scratch = Vec::new();
        for _ in 0..STARTS {
            let found = {
                let shard = self.store.shard_of(key);
                let writer = match self.store.lock_for(shard, &self.clock, timeout) {
                    Ok(writer) => writer,
                    Err(SharedError::Busy { .. }) => return Err(ReadError::Busy),
                    Err(_) => return Ok(None),
                };
                let Some(entry) = writer.find_live(key) else {
                    return Ok(None);
                };
                let room = scratch.spare_capacity_mut();
                match room.get_mut(..entry.record.value) {
                    Some(room) => writer.shard.copy(key, &entry, room),
                    None => Look::Found(entry),
                }
            };
            let Look::Found(entry) = found else {
                self.store.count(Counter::Damages, 1);
                return Ok(None);
            };
            let len = entry.record.value;
            if scratch.capacity() < len {
                scratch.try_reserve(len).map_err(OutOfMemory::from)?;
                continue;
            }
            let room = sink.buffer(entry.record.kind, len)?;
            if room.len() != len {
                return Ok(None);
            }
            room.copy_from_slice(&scratch.spare_capacity_mut()[..len]);
            // SAFETY: the room that was given last is filled, with bytes that `copy` wrote.
            #[allow(unsafe_code)]
            unsafe {
                sink.filled(len);
            }
            return Ok(Some(EntryInfo::new(&entry, key.hash)));
        }
        Ok(None)
    }

    /// What there is to know of a live entry, without its value. O(1), no lock; counts neither as hit nor as miss.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<EntryInfo> {
        self.peek_within(key, READ_TIMEOUT).ok().flatten()
    }

    /// As [`peek`](Self::peek), but waits at most so long for a write of the same entry to end, not at all if the timeout is
    /// zero.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] if the write did not end.
    pub fn peek_within(&self, key: &[u8], timeout: Duration) -> Result<Option<EntryInfo>, ReadError> {
        let key = self.store.hashing.key(key);
        let shard = self.store.shard_of(&key);
        let entry = match shard.look(&key) {
            Look::Found(entry) => Some(entry).filter(|entry| !is_dead(&entry.record, &self.clock)),
            Look::Unclear => match self.store.lock_for(shard, &self.clock, timeout) {
                Ok(writer) => writer.find_live(&key),
                Err(SharedError::Busy { .. }) => return Err(ReadError::Busy),
                Err(_) => None,
            },
            Look::Nothing | Look::Damaged => None,
        };
        Ok(entry.map(|entry| EntryInfo::new(&entry, key.hash)))
    }

    /// Whether there is a live entry. O(1), no lock.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// When a live entry dies. O(1), no lock.
    #[must_use]
    pub fn expires_at(&self, key: &[u8]) -> Option<Timestamp> {
        self.peek(key).map(|found| found.expires_at)
    }

    /// Stores a value, whether or not there was one. Bounded work, one shard lock.
    ///
    /// # Errors
    ///
    /// [`SharedError`]; if the value is too large, the old one is gone.
    pub fn set(&self, key: &[u8], entry: NewEntry<'_>) -> Result<(), SharedError> {
        self.set_if(key, entry, Condition::Always).map(|_| ())
    }

    /// Stores a value if there is no live entry; returns whether it did. Atomic.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn add(&self, key: &[u8], entry: NewEntry<'_>) -> Result<bool, SharedError> {
        self.set_if(key, entry, Condition::IfAbsent)
    }

    /// Stores a value if there is a live entry; returns whether it did. Atomic.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_if_present(&self, key: &[u8], entry: NewEntry<'_>) -> Result<bool, SharedError> {
        self.set_if(key, entry, Condition::IfPresent)
    }

    /// Stores a value if the entry has not been written since it was found; returns whether it did. Atomic. That the
    /// cache moved the entry within itself may count as a write.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_if_unchanged(
        &self,
        key: &[u8],
        entry: NewEntry<'_>,
        stamp: Stamp,
    ) -> Result<bool, SharedError> {
        self.write(key, entry, Expected::Unchanged(stamp))
    }

    /// Stores a value if the condition holds; returns whether it did. Atomic.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    #[inline]
    pub fn set_if(&self, key: &[u8], entry: NewEntry<'_>, condition: Condition) -> Result<bool, SharedError> {
        self.write(key, entry, Expected::Condition(condition))
    }

    #[inline]
    fn write(&self, key: &[u8], entry: NewEntry<'_>, expected: Expected) -> Result<bool, SharedError> {
        let key = self.checked(key)?;
        let value = Value {
            bytes: entry.value,
            kind: entry.kind,
            expires_at: expiry(entry.expires_at),
            checksum: self.store.hashing.checksum(key.hash, entry.value, entry.kind),
        };
        let words = words_for(key.bytes.len(), entry.value.len());
        if words > LARGE_WORDS {
            self.make_room_ahead(&key, &value, expected, words)?;
        }
        self.store.shard_of(&key).fetch(&key);
        let stored = self.lock(&key)?.set(&key, &value, expected)?;
        Ok(stored)
    }

    /// Makes room for a large record before it is written, in slices, so that the lock is held for a moment each.
    ///
    /// Others may use some of the room meanwhile; what is missing then is made when the record is written.
    #[cold]
    fn make_room_ahead(
        &self,
        key: &Keyed<'_>,
        value: &Value<'_>,
        expected: Expected,
        words: usize,
    ) -> Result<(), SharedError> {
        for _ in 0..=words / LARGE_WORDS * ROOM_SLICES {
            let mut writer = self.lock(key)?;
            if writer.has_made_room(key, value, expected) {
                break;
            }
            writer.pause();
        }
        Ok(())
    }

    fn checked<'a>(&self, key: &'a [u8]) -> Result<Keyed<'a>, SharedError> {
        if key.len() > MAX_KEY {
            return Err(SharedError::KeyTooLong { bytes: key.len() });
        }
        Ok(self.store.hashing.key(key))
    }

    #[inline]
    fn lock(&self, key: &Keyed<'_>) -> Result<Writer<'_, C>, SharedError> {
        self.store
            .lock_for(self.store.shard_of(key), &self.clock, self.patience)
    }

    /// Replaces the value of a live entry by what `f` makes of its kind and bytes; returns whether there was one. Its
    /// expiry stays. Atomic: `f` runs with nothing locked, and again if somebody else wrote meanwhile.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]: what `f` failed with, what [`set`](Self::set) would, or that others were always faster.
    pub fn update<E>(
        &self,
        key: &[u8],
        mut f: impl FnMut(u8, &[u8]) -> Result<(u8, Vec<u8>), E>,
    ) -> Result<bool, UpdateError<E>> {
        let mut old = Vec::new();
        for _ in 0..UPDATE_ATTEMPTS {
            let Some(found) = self.get_into(key, &mut old).map_err(SharedError::from)? else {
                return Ok(false);
            };
            let (kind, new) = f(found.kind, &old).map_err(UpdateError::Function)?;
            let entry = NewEntry::new(&new).kind(kind).expires_at(found.expires_at);
            if self.set_if_unchanged(key, entry, found.stamp)? {
                return Ok(true);
            }
        }
        Err(UpdateError::Overtaken {
            attempts: UPDATE_ATTEMPTS,
        })
    }

    /// Adds to an integer that was stored with this kind as the 8 bytes of an `i64` (`to_ne_bytes`). Its expiry stays.
    /// Atomic and in place; one shard lock.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if it was not tried; what else may come, [`Incremented`] tells.
    pub fn incr(&self, key: &[u8], delta: i64, kind: u8) -> Result<Incremented, SharedError> {
        let key = self.checked(key)?;
        Ok(self.lock(&key)?.add(&key, delta, kind))
    }

    /// Removes an entry; returns whether there was a live one. One shard lock.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if it could not be removed.
    pub fn delete(&self, key: &[u8]) -> Result<bool, SharedError> {
        self.remove(key, Expected::ANYTHING)
    }

    /// Removes an entry if it has not been written since it was found; returns whether it did. Atomic.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn delete_if_unchanged(&self, key: &[u8], stamp: Stamp) -> Result<bool, SharedError> {
        self.remove(key, Expected::Unchanged(stamp))
    }

    /// Removes a live entry if its kind and value fulfil a condition; returns whether it did. Atomic: the condition is
    /// asked with nothing locked, and again if somebody wrote meanwhile.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn remove_if(
        &self,
        key: &[u8],
        mut condition: impl FnMut(u8, &[u8]) -> bool,
    ) -> Result<bool, SharedError> {
        let mut value = Vec::new();
        while let Some(found) = self.peek_to_write(key, &mut value)? {
            if !condition(found.kind, &value) {
                return Ok(false);
            }
            if self.delete_if_unchanged(key, found.stamp)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads an entry that is to be changed. It is not missing because another write of it does not end.
    fn peek_to_write(&self, key: &[u8], value: &mut Vec<u8>) -> Result<Option<EntryInfo>, SharedError> {
        let timeout = self.patience.min(READ_TIMEOUT);
        self.read(key, value, timeout).map_err(|error| match error {
            ReadError::Busy => SharedError::Busy {
                waited: timeout,
                holder: None,
            },
            ReadError::OutOfMemory(error) => error.into(),
        })
    }

    fn remove(&self, key: &[u8], expected: Expected) -> Result<bool, SharedError> {
        if key.len() > MAX_KEY {
            return Ok(false);
        }
        let key = self.store.hashing.key(key);
        Ok(self.lock(&key)?.remove(&key, expected))
    }

    /// Gives a live entry a new life of `ttl`, or an endless one; returns whether there is one. One shard lock.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if it could not be done.
    pub fn touch(&self, key: &[u8], ttl: Option<Duration>) -> Result<bool, SharedError> {
        self.expire_at(key, self.expiry(ttl))
    }

    /// Has a live entry die at another time; returns whether there is one. One shard lock.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if it could not be done.
    pub fn expire_at(&self, key: &[u8], expires_at: Timestamp) -> Result<bool, SharedError> {
        if key.len() > MAX_KEY {
            return Ok(false);
        }
        let key = self.store.hashing.key(key);
        Ok(self.lock(&key)?.expire_at(&key, expiry(expires_at)))
    }

    /// Removes all entries, for all processes. O(1), no lock.
    pub fn clear(&self) {
        let epoch = add(self.store.epoch(), 1, Ordering::SeqCst);
        let shards = (0..self.store.geometry.shards).map(|number| self.store.shard(number));
        // Those that were cleared before have nothing left, whatever they say.
        let cleared = shards.filter(|shard| shard.epoch() == epoch);
        let entries = cleared.fold(0, |sum: u64, shard| sum.saturating_add(shard.entries()));
        self.store.count(Counter::Removals, entries);
    }

    /// The keys of live entries, one by one, without a lock.
    #[must_use]
    pub fn keys(&self) -> Keys<C>
    where
        C: Clone,
    {
        Keys::new(self.clone())
    }

    /// What all processes counted. O(processes + shards).
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        stats::read(&self.store)
    }

    /// Has all processes' counting begin anew.
    pub fn reset_stats(&self) {
        stats::reset(&self.store, self.clock.now());
    }

    /// The bytes of the largest value that can be stored under a key of this length.
    #[must_use]
    pub fn max_value_bytes(&self, key: usize) -> usize {
        (self.store.geometry.max_record() * WORD).saturating_sub(words_for(key, 0) * WORD)
    }

    /// The size of the file.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.store.geometry.bytes
    }

    /// How many processes may have the file open at once.
    #[must_use]
    pub fn max_processes(&self) -> usize {
        self.store.geometry.processes
    }

    /// What has become of the file: whether its path still names it, and whether it is whole. One system call.
    ///
    /// Call this from time to time, once a second say. If the file is no longer [`FileState::Current`], open its path again:
    /// other processes do, and share nothing with this handle. A process that uses a truncated file is killed by `SIGBUS`
    /// when it touches the missing part, so this prevents that death only for a process that looks before it.
    #[must_use]
    pub fn file_state(&self) -> FileState {
        self.store.file_state()
    }

    /// Whether [`file_state`](Self::file_state) is [`FileState::Current`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.file_state() == FileState::Current
    }

    /// Checks that this process is still registered in the file, and registers it if not; returns whether it had lost its
    /// registration. A few system calls.
    ///
    /// Other processes know that this one lives by a lock on a descriptor. A program that closes descriptors which it did
    /// not open, as daemons do, loses that lock, and others may then take over what this process holds. So call this after
    /// such a step, or from time to time.
    ///
    /// # Errors
    ///
    /// [`SharedError::Detached`] if it cannot be registered again.
    pub fn check_registration(&self) -> Result<bool, SharedError> {
        self.store.certain_slot().map(|(_, was_lost)| was_lost)
    }

    /// The user (uid) that this process acted as when it opened the file.
    #[must_use]
    pub fn opened_as(&self) -> u32 {
        self.store.registration.opened_as()
    }

    /// This process, as a name that others can pass to [`is_alive`](Self::is_alive): to be stored in a value, for example
    /// as the holder of a lock. A few system calls: it checks the registration first.
    ///
    /// # Errors
    ///
    /// [`SharedError::Detached`].
    pub fn process_id(&self) -> Result<ProcessId, SharedError> {
        self.store.certain_slot().map(|(slot, _)| ProcessId(slot.owner))
    }

    /// Whether a process still lives and has the cache open. A few system calls, unless it is the caller. True if that
    /// cannot be told.
    #[must_use]
    pub fn is_alive(&self, process: ProcessId) -> bool {
        let Store {
            registration,
            map,
            geometry,
            ..
        } = &*self.store;
        let me = self.store.process_slot();
        me.map_or(true, |me| registration.is_alive(me, process.0, map, geometry))
    }

    /// Checks everything that has to hold. Reads all of the file, mostly without a lock: writers wait for a few milliseconds at
    /// most, whatever the file's size, and may change entries meanwhile.
    ///
    /// # Errors
    ///
    /// [`ValidateError`] tells what does not hold.
    pub fn validate(&self) -> Result<Report, ValidateError> {
        validate::validate(&self.store, &self.clock, self.patience)
    }
}

/// A read that would have to wait longer for another's write is a miss.
fn miss_if_busy(found: Result<Option<EntryInfo>, ReadError>) -> Result<Option<EntryInfo>, OutOfMemory> {
    match found {
        Ok(found) => Ok(found),
        Err(ReadError::Busy) => Ok(None),
        Err(ReadError::OutOfMemory(error)) => Err(error),
    }
}

impl<C: Clone> Clone for SharedCache<C> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            patience: self.patience,
        }
    }
}

impl<C> fmt::Debug for SharedCache<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache")
            .field("path", &self.store.registration.path())
            .finish_non_exhaustive()
    }
}
