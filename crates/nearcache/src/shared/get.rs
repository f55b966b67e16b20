//! Reading values and expiry times.
//!
//! A read takes no lock: it looks the key up (`lookup.rs`), gets a buffer from its sink, copies the value and validates the
//! copy. If a writer interferes it starts again, up to 64 times. Only then does it take the shard's lock, because the entry
//! is probably being written by a process that was stopped or killed. It waits for the lock for a limited time.
//!
//! A read of a stale value differs only in which entries it accepts ([`Accept`]).

use std::hint;
use std::time::{Duration, Instant};

use super::cache::SharedCache;
use super::counters::Counter;
use super::entry::EntryInfo;
use super::error::{ReadError, SharedError};
use super::extension::Extension;
use super::hashing::Keyed;
use super::lookup::{Lookup, STARTS};
use super::record::Record;
use super::shard::Entry;
use super::sink::Sink;
use super::time::{has_expired, is_usable};
use crate::clock::{Clock, Timestamp};
use crate::error::OutOfMemory;

/// How long a read waits for another write of the same entry to end: 50 ms. After that it is a miss.
///
/// A write takes microseconds. It does not end if its process is stopped or killed.
pub const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// Decides which entries a read returns.
trait Accept: Copy {
    fn accepts(self, record: &Record, extension: Option<Extension>, clock: &impl Clock) -> bool;
}

/// Accepts live entries.
#[derive(Clone, Copy)]
struct Live;

/// Accepts live entries, and expired ones in their stale time.
#[derive(Clone, Copy)]
struct LiveOrStale;

impl Accept for Live {
    #[inline(always)]
    fn accepts(self, record: &Record, _: Option<Extension>, clock: &impl Clock) -> bool {
        !has_expired(record, clock)
    }
}

impl Accept for LiveOrStale {
    #[inline]
    fn accepts(self, record: &Record, extension: Option<Extension>, clock: &impl Clock) -> bool {
        is_usable(record, extension, clock)
    }
}

impl<C: Clock> SharedCache<C> {
    /// Returns the value of a live entry.
    ///
    /// O(1); takes no lock. If no memory is available for the value, the read is a miss;
    /// [`get_into`](Self::get_into) reports that instead.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let found = self.get_into(key, &mut value).ok().flatten();
        found.map(|_| value)
    }

    /// Copies the value of a live entry to a sink and describes the entry.
    ///
    /// O(1); takes no lock. If the same entry is being written, waits for that write for [`READ_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has no memory. That counts as a miss.
    #[inline]
    pub fn get_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, OutOfMemory> {
        self.get_into_within(key, sink, READ_TIMEOUT)
    }

    /// As [`get_into`](Self::get_into), but with another timeout instead of [`READ_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has no memory. That counts as a miss.
    #[inline]
    pub fn get_into_within(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, OutOfMemory> {
        let found = self.read(key, sink, timeout);
        self.count_read(&found);
        miss_if_busy(found)
    }

    /// As [`get_into`](Self::get_into), but never waits.
    ///
    /// A caller that holds something other threads need can try this first, and release it before it calls
    /// [`get_into_within`](Self::get_into_within).
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] if the same entry is being written; that counts neither as a hit nor as a miss.
    /// [`ReadError::OutOfMemory`] if the sink has no memory.
    #[inline]
    pub fn try_get_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, ReadError> {
        let found = self.read(key, sink, Duration::ZERO);
        if !matches!(found, Err(ReadError::Busy)) {
            self.count_read(&found);
        }
        found
    }

    /// As [`get_into`](Self::get_into), but counts neither as a hit nor as a miss.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has no memory.
    pub fn peek_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, OutOfMemory> {
        miss_if_busy(self.read(key, sink, READ_TIMEOUT))
    }

    /// Copies the value of an entry to a sink, also if it has expired but its
    /// [stale time](super::NewEntry::stale_until) has not ended, and describes the entry.
    ///
    /// Its [`expires_at`](EntryInfo::expires_at) tells the two apart. Counts neither as a hit nor as a miss; see
    /// [`Event::StaleHit`](super::Event::StaleHit).
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has no memory.
    pub fn get_stale_into(&self, key: &[u8], sink: &mut impl Sink) -> Result<Option<EntryInfo>, OutOfMemory> {
        self.get_stale_into_within(key, sink, READ_TIMEOUT)
    }

    /// As [`get_stale_into`](Self::get_stale_into), but with another timeout instead of [`READ_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the sink has no memory.
    pub fn get_stale_into_within(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, OutOfMemory> {
        miss_if_busy(self.read_accepted(key, sink, timeout, LiveOrStale))
    }

    /// As [`get_stale_into`](Self::get_stale_into), but never waits.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] if the same entry is being written. [`ReadError::OutOfMemory`] if the sink has no memory.
    pub fn try_get_stale_into(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Option<EntryInfo>, ReadError> {
        self.read_accepted(key, sink, Duration::ZERO, LiveOrStale)
    }

    /// Describes a live entry without reading its value.
    ///
    /// O(1); takes no lock. Counts neither as a hit nor as a miss.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<EntryInfo> {
        self.peek_within(key, READ_TIMEOUT).ok().flatten()
    }

    /// As [`peek`](Self::peek), but with another timeout instead of [`READ_TIMEOUT`]. With a timeout of zero, never waits.
    ///
    /// # Errors
    ///
    /// [`ReadError::Busy`] if the same entry is being written and the write did not end in time.
    pub fn peek_within(&self, key: &[u8], timeout: Duration) -> Result<Option<EntryInfo>, ReadError> {
        let key = self.file().hashing.key(key);
        let shard = self.file().shard_of(&key);
        let found = match shard.find_extended(&key) {
            (Lookup::Found(entry), extension) => {
                Some((entry, extension)).filter(|(entry, _)| !has_expired(&entry.record, self.clock()))
            }
            (Lookup::Interrupted, _) => self.find_locked(&key, timeout)?,
            (Lookup::Missing | Lookup::Damaged, _) => None,
        };
        Ok(found.map(|(entry, extension)| EntryInfo::new(&entry, extension, key.hash)))
    }

    /// Returns whether there is a live entry. O(1); takes no lock.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// Returns the expiry time of a live entry. O(1); takes no lock.
    #[must_use]
    pub fn expires_at(&self, key: &[u8]) -> Option<Timestamp> {
        self.peek(key).map(|found| found.expires_at)
    }

    /// Counts this process's last hit as a miss, and its value as unreadable.
    ///
    /// For a caller that got a value it cannot use, for example because it was stored by another version of a program.
    pub fn count_hit_as_unreadable(&self) {
        self.file().count(Counter::Hits, u64::MAX); // the sum wraps around, so this subtracts one
        self.file().count(Counter::Misses, 1);
        self.file().count(Counter::Unreadable, 1);
    }

    #[inline(always)]
    fn count_read<E>(&self, found: &Result<Option<EntryInfo>, E>) {
        let (what, cost) = match found {
            Ok(Some(hit)) => (Counter::Hits, hit.cost),
            _ => (Counter::Misses, Duration::ZERO),
        };
        self.file().count(what, 1);
        if !cost.is_zero() {
            self.count_saved(cost);
        }
    }

    fn count_saved(&self, cost: Duration) {
        let micros = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
        self.file().count(Counter::Saved, micros);
    }

    /// Reads the value of a live entry and counts nothing. With a timeout of zero, never waits.
    #[inline]
    pub(super) fn read(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
        timeout: Duration,
    ) -> Result<Option<EntryInfo>, ReadError> {
        self.read_accepted(key, sink, timeout, Live)
    }

    #[inline]
    fn read_accepted(
        &self,
        key: &[u8],
        sink: &mut impl Sink,
        timeout: Duration,
        accept: impl Accept,
    ) -> Result<Option<EntryInfo>, ReadError> {
        let key = self.file().hashing.key(key);
        match self.try_read(&key, sink, accept) {
            Err(ReadError::Busy) => self.retry_read(&key, sink, timeout, accept),
            done => done,
        }
    }

    #[cold]
    fn retry_read(
        &self,
        key: &Keyed<'_>,
        sink: &mut impl Sink,
        timeout: Duration,
        accept: impl Accept,
    ) -> Result<Option<EntryInfo>, ReadError> {
        for _ in 1..STARTS {
            hint::spin_loop();
            match self.try_read(key, sink, accept) {
                Err(ReadError::Busy) => {}
                done => return done,
            }
        }
        self.read_locked(key, sink, timeout, accept)
    }

    /// Tries once to read a value, without a lock. All steps are in one function, so that their results stay in registers.
    #[inline(always)]
    fn try_read(
        &self,
        key: &Keyed<'_>,
        sink: &mut impl Sink,
        accept: impl Accept,
    ) -> Result<Option<EntryInfo>, ReadError> {
        let shard = self.file().shard_of(key);
        let entry = match shard.try_find(key) {
            Lookup::Found(entry) => entry,
            Lookup::Interrupted => return Err(ReadError::Busy),
            Lookup::Missing | Lookup::Damaged => return Ok(None),
        };
        let Ok(extension) = shard.valid_extension(&entry) else {
            return Err(ReadError::Busy);
        };
        if !accept.accepts(&entry.record, extension, self.clock()) {
            return Ok(None);
        }
        if sink.has_copy(entry.record.kind, entry.record.value, &entry.stamp(key.hash)) {
            shard.count_hit(&entry);
            return Ok(Some(EntryInfo::new(&entry, extension, key.hash)));
        }
        let Ok(buffer) = sink.buffer(entry.record.kind, entry.record.value) else {
            return Err(ReadError::OutOfMemory(OutOfMemory));
        };
        if buffer.len() != entry.record.value {
            return Ok(None);
        }
        match shard.read_value(key, &entry, buffer, extension) {
            Lookup::Found(entry) => {
                // SAFETY: `buffer` is what the sink returned last, and has the length of the value. `read_value` has
                // written all of it: `copy_words` asserts that.
                #[allow(unsafe_code)]
                unsafe {
                    sink.filled(entry.record.value);
                }
                shard.count_hit(&entry);
                Ok(Some(EntryInfo::new(&entry, extension, key.hash)))
            }
            Lookup::Interrupted => Err(ReadError::Busy),
            Lookup::Missing => Ok(None),
            Lookup::Damaged => {
                self.file().count(Counter::Damages, 1);
                Ok(None)
            }
        }
    }

    /// Finds a live entry under the lock.
    fn find_locked(
        &self,
        key: &Keyed<'_>,
        timeout: Duration,
    ) -> Result<Option<(Entry, Option<Extension>)>, ReadError> {
        match self
            .file()
            .lock_for(self.file().shard_of(key), self.clock(), timeout)
        {
            Ok(writer) => Ok(writer
                .find_live(key)
                .map(|entry| (entry, writer.shard.extension(&entry)))),
            Err(SharedError::Busy { .. }) => Err(ReadError::Busy),
            Err(_) => Ok(None),
        }
    }

    /// Reads a value under the lock. Memory is allocated only while the lock is not held, so the value is first copied to
    /// a scratch buffer, and the read starts again with a larger one if the value does not fit.
    #[cold]
    fn read_locked(
        &self,
        key: &Keyed<'_>,
        sink: &mut impl Sink,
        timeout: Duration,
        accept: impl Accept,
    ) -> Result<Option<EntryInfo>, ReadError> {
        let start = Instant::now();
        let mut scratch = Vec::new();
        for _ in 0..STARTS {
            let time_left = timeout.saturating_sub(start.elapsed());
            let (entry, extension) = match self.read_to_scratch(key, time_left, &mut scratch, accept)? {
                (Lookup::Found(entry), extension) => (entry, extension),
                (Lookup::Missing, _) => return Ok(None),
                (Lookup::Interrupted | Lookup::Damaged, _) => {
                    self.file().count(Counter::Damages, 1);
                    return Ok(None);
                }
            };
            let len = entry.record.value;
            if scratch.capacity() < len {
                scratch.try_reserve(len).map_err(OutOfMemory::from)?;
                continue;
            }
            let buffer = sink.buffer(entry.record.kind, len)?;
            if buffer.len() != len {
                return Ok(None);
            }
            buffer.copy_from_slice(&scratch.spare_capacity_mut()[..len]);
            // SAFETY: `buffer` is what the sink returned last, and has the length of the value. All of it was copied from
            // the scratch buffer, the same part of which `read_value` has written: `copy_words` asserts that.
            #[allow(unsafe_code)]
            unsafe {
                sink.filled(len);
            }
            return Ok(Some(EntryInfo::new(&entry, extension, key.hash)));
        }
        Ok(None)
    }

    /// Copies a value under the lock to the spare capacity of `scratch`, if it fits there. Allocates nothing.
    fn read_to_scratch(
        &self,
        key: &Keyed<'_>,
        timeout: Duration,
        scratch: &mut Vec<u8>,
        accept: impl Accept,
    ) -> Result<(Lookup, Option<Extension>), ReadError> {
        let shard = self.file().shard_of(key);
        let writer = match self.file().lock_for(shard, self.clock(), timeout) {
            Ok(writer) => writer,
            Err(SharedError::Busy { .. }) => return Err(ReadError::Busy),
            Err(_) => return Ok((Lookup::Missing, None)),
        };
        let found = writer.find_present(key).entry().copied();
        let found = found.map(|entry| (entry, writer.shard.extension(&entry)));
        let accepted =
            found.filter(|(entry, extension)| accept.accepts(&entry.record, *extension, self.clock()));
        let Some((entry, extension)) = accepted else {
            return Ok((Lookup::Missing, None));
        };
        let buffer = scratch.spare_capacity_mut();
        let read = match buffer.get_mut(..entry.record.value) {
            Some(buffer) => writer.shard.read_value(key, &entry, buffer, extension),
            None => Lookup::Found(entry),
        };
        Ok((read, extension))
    }
}

/// Turns a read that timed out into a miss.
fn miss_if_busy(found: Result<Option<EntryInfo>, ReadError>) -> Result<Option<EntryInfo>, OutOfMemory> {
    match found {
        Ok(found) => Ok(found),
        Err(ReadError::Busy) => Ok(None),
        Err(ReadError::OutOfMemory(error)) => Err(error),
    }
}
