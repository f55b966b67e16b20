//! Removing entries, and clearing the cache.

use std::sync::atomic::Ordering;

use super::cache::SharedCache;
use super::counters::Counter;
use super::entry::EntryInfo;
use super::error::{ReadError, SharedError};
use super::get::READ_TIMEOUT;
use super::hashing::Keyed;
use super::mapped_words::add;
use super::record::{MAX_KEY, Stamp};
use super::writer::{Found, Requirement, Writer};
use crate::clock::Clock;

impl<C: Clock> SharedCache<C> {
    /// Removes an entry; returns whether there was a live one.
    ///
    /// Also removes an expired entry in its stale time, and ends a flight for the key.
    ///
    /// Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if the entry could not be removed.
    pub fn remove(&self, key: &[u8]) -> Result<bool, SharedError> {
        self.remove_required(key, Requirement::NONE)
    }

    /// Removes an entry if it still has this stamp, atomically; returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    pub fn remove_if_unchanged(&self, key: &[u8], stamp: Stamp) -> Result<bool, SharedError> {
        self.remove_required(key, Requirement::Unchanged(stamp))
    }

    /// Removes a live entry if `condition` holds for its kind and value, atomically; returns whether it did.
    ///
    /// No lock is held while `condition` runs. It is called again if the entry was written meanwhile.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    pub fn remove_if(
        &self,
        key: &[u8],
        mut condition: impl FnMut(u8, &[u8]) -> bool,
    ) -> Result<bool, SharedError> {
        let mut value = Vec::new();
        while let Some(found) = self.read_for_change(key, &mut value)? {
            if !condition(found.kind, &value) {
                return Ok(false);
            }
            if self.remove_if_unchanged(key, found.stamp)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads an entry that is to be changed. If another write of it does not end, that is an error and not a miss.
    pub(super) fn read_for_change(
        &self,
        key: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<Option<EntryInfo>, SharedError> {
        let timeout = self.lock_timeout().min(READ_TIMEOUT);
        self.read(key, value, timeout).map_err(|error| match error {
            ReadError::Busy => SharedError::Busy {
                waited: timeout,
                holder: None,
            },
            ReadError::OutOfMemory(error) => error.into(),
        })
    }

    fn remove_required(&self, key: &[u8], requirement: Requirement) -> Result<bool, SharedError> {
        if key.len() > MAX_KEY {
            return Ok(false);
        }
        let key = self.file().hashing.key(key);
        Ok(self.lock(&key)?.remove(&key, requirement))
    }

    /// Removes all entries, for all processes.
    ///
    /// Takes no lock, and the same time whatever the number of entries: it only marks the shards as outdated. Reads miss
    /// the entries from now on.
    pub fn clear(&self) {
        let file = self.file();
        let epoch = add(file.epoch(), 1, Ordering::SeqCst);
        let shards = (0..file.geometry.shards).map(|number| file.shard(number));
        // Shards that have not been emptied since an earlier `clear` have no entries, whatever their counts are.
        let cleared = shards.filter(|shard| shard.epoch() == epoch);
        let entries = cleared.fold(0, |sum: u64, shard| sum.saturating_add(shard.entries()));
        file.count(Counter::Removals, entries);
    }
}

impl<C: Clock> Writer<'_, C> {
    /// Removes the entry of a key if the requirement is met; returns whether there was a live one.
    pub(super) fn remove(&self, key: &Keyed<'_>, requirement: Requirement) -> bool {
        let found = self.find_present(key);
        if !requirement.is_met(key, &found, &self.shard) {
            return false;
        }
        match &found {
            Found::Live(entry) => {
                self.count(Counter::Removals, 1);
                self.clear_slot(entry.at);
            }
            Found::Retained(entry) => self.remove_expired(entry),
            Found::Nothing => {}
        }
        found.live().is_some()
    }
}
