//! Changing expiry times, and removing expired entries.
//!
//! An expired entry is a miss at once. Its slot and its words are freed when something comes across it: a write of its key,
//! the tail of its ring, or the sweep, which examines one slot at each write. A retained one (`time.rs`) stays longer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache::SharedCache;
use super::error::SharedError;
use super::hashing::Keyed;
use super::layout::SWEEP;
use super::mapped_words::store;
use super::record::{MAX_KEY, Record};
use super::slot::Slot;
use super::time::{expiry_to_millis, has_expired};
use super::writer::Writer;
use crate::clock::{Clock, Timestamp};

impl<C: Clock> SharedCache<C> {
    /// Returns the time at which an entry expires that is inserted now and lives for `ttl`, or forever if that is `None`.
    #[must_use]
    pub fn expiry(&self, ttl: Option<Duration>) -> Timestamp {
        ttl.map_or(Timestamp::NEVER, |ttl| self.clock().expiry(ttl))
    }

    /// Lets a live entry expire `ttl` from now, or never; returns whether there is a live entry.
    ///
    /// Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if the expiry time could not be changed.
    pub fn touch(&self, key: &[u8], ttl: Option<Duration>) -> Result<bool, SharedError> {
        self.expire_at(key, self.expiry(ttl))
    }

    /// Sets the expiry time of a live entry; returns whether there is a live entry.
    ///
    /// A [stale time](super::NewEntry::stale_until) keeps its length, and begins at the new expiry. A flight for the key goes
    /// on. A time that has passed removes the entry, and ends its flight.
    ///
    /// Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if the expiry time could not be changed.
    pub fn expire_at(&self, key: &[u8], expires_at: Timestamp) -> Result<bool, SharedError> {
        if key.len() > MAX_KEY {
            return Ok(false);
        }
        let key = self.file().hashing.key(key);
        Ok(self.lock(&key)?.expire_at(&key, expiry_to_millis(expires_at)))
    }
}

impl<C: Clock> Writer<'_, C> {
    /// Sets the expiry time of a key's live entry, or removes it if that time has passed; returns whether there is one.
    fn expire_at(&self, key: &Keyed<'_>, expires_at: u64) -> bool {
        let Some(entry) = self.find_live(key) else {
            return false;
        };
        let record = Record {
            expires_at,
            written_at: self.now,
            ..entry.record
        };
        if has_expired(&record, self.clock) {
            // As a removal, it ends the flight, and no stale value stays.
            self.remove_expired(&entry);
        } else if let Some(ring) = self.shard.ring_of(entry.state) {
            ring.write_times(&record);
        }
        true
    }

    /// Examines the next slot in turn: removes its entry if it has expired or is torn, and clears it if it holds neither an
    /// entry nor a ghost that counts.
    pub(super) fn sweep(&self) {
        let next = &self.shard.control[SWEEP];
        let at = usize::try_from(next.load(Ordering::Relaxed)).unwrap_or_default();
        let at = if at < self.shard.index.len() { at } else { 0 };
        store(next, at as u64 + 1, Ordering::Relaxed);
        if self.slot(at) == Slot::EMPTY {
            return;
        }
        match self.entry_at(at) {
            Some(entry) => {
                self.remove_if_expired(&entry);
            }
            None if self.ghost_age(self.slot(at)).is_none() => self.clear_slot(at),
            None => {}
        }
    }
}
