//! Inserting an entry, or replacing the one under its key.
//!
//! A value that fits into the record of its key overwrites it in place. Otherwise a new record is written, into free space
//! within the main ring or at the head of a ring, and the slot is stored last: that store replaces the old value by the new
//! one.

use std::time::Duration;

use super::cache::SharedCache;
use super::choose_slot::ChosenSlot;
use super::counters::Counter;
use super::entry::NewEntry;
use super::error::SharedError;
use super::hashing::Keyed;
use super::layout::WORD;
use super::payload::Payload;
use super::record::{MAX_SLACK, Record, Stamp, words_for};
use super::recount::Change;
use super::ring::Ring;
use super::shard::Entry;
use super::slot::{Queue, Slot, SlotState};
use super::writer::{Found, Requirement, Writer};
use crate::clock::Clock;
use crate::condition::Condition;
use crate::error::Rejected;

/// A record of up to so many words is overwritten in place however much smaller the new one is.
const ALWAYS_FITS: usize = 16;
/// For a larger record, space is made in slices before it is written.
const LARGE_WORDS: usize = 1 << 16;
/// The most slices for `LARGE_WORDS` of space. Small records take many.
const SLICES: usize = 32;

impl<C: Clock> SharedCache<C> {
    /// Inserts a value, and replaces the one under the key, if any. It expires after `ttl`, or never if that is `None`.
    ///
    /// The entry's kind is 0. [`insert_entry`](Self::insert_entry) takes more.
    ///
    /// Takes the lock of one shard, for a bounded time.
    ///
    /// # Errors
    ///
    /// [`SharedError`]. If the value is too large ([`SharedError::Rejected`]), the old value has been removed; otherwise
    /// nothing has changed.
    pub fn insert(&self, key: &[u8], value: &[u8], ttl: Option<Duration>) -> Result<(), SharedError> {
        self.insert_entry(key, self.new_entry(value, ttl))
    }

    /// Inserts a value if the key has no live entry, atomically; returns whether it did.
    ///
    /// ```
    /// # use nearcache::shared::SharedCache;
    /// # let directory = std::env::temp_dir().join(format!("nearcache-absent-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let cache = SharedCache::open(directory.join("pages"), 1 << 20)?;
    /// assert!(cache.insert_if_absent(b"leader", b"a", None)?);
    /// assert!(!cache.insert_if_absent(b"leader", b"b", None)?);
    /// assert_eq!(cache.get(b"leader").as_deref(), Some(&b"a"[..]));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_if_absent(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<bool, SharedError> {
        self.insert_entry_if(key, self.new_entry(value, ttl), Condition::IfAbsent)
    }

    /// Replaces the value of a live entry, atomically; returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_if_present(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<bool, SharedError> {
        self.insert_entry_if(key, self.new_entry(value, ttl), Condition::IfPresent)
    }

    /// Inserts an entry, which may have a kind, an expiry time, a stale time and a cost, and replaces the one under the key,
    /// if any.
    ///
    /// ```
    /// use nearcache::shared::{NewEntry, SharedCache};
    /// use std::time::Duration;
    ///
    /// # let directory = std::env::temp_dir().join(format!("nearcache-entry-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let cache = SharedCache::open(directory.join("pages"), 1 << 20)?;
    /// let minute = cache.expiry(Some(Duration::from_secs(60)));
    /// cache.insert_entry(b"answer", NewEntry::new(b"42").kind(7).expires_at(minute))?;
    /// let mut value = Vec::new();
    /// let found = cache.get_into(b"answer", &mut value)?.unwrap();
    /// assert_eq!((found.kind, &value[..]), (7, &b"42"[..]));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_entry(&self, key: &[u8], entry: NewEntry<'_>) -> Result<(), SharedError> {
        self.insert_entry_if(key, entry, Condition::Always).map(drop)
    }

    /// Inserts an entry if the condition holds, atomically; returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    #[inline]
    pub fn insert_entry_if(
        &self,
        key: &[u8],
        entry: NewEntry<'_>,
        condition: Condition,
    ) -> Result<bool, SharedError> {
        self.insert_required(key, entry, Requirement::Condition(condition))
    }

    /// Replaces an entry if it still has this stamp, atomically; returns whether it did.
    ///
    /// A read returns the stamp in [`EntryInfo::stamp`](super::EntryInfo::stamp). Every write of the entry changes it, and
    /// so do [`touch`](Self::touch) and the beginning and the end of a flight ([`claim`](Self::claim),
    /// [`release`](Self::release)); it may also change when the cache moves the entry within the file.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_entry_if_unchanged(
        &self,
        key: &[u8],
        entry: NewEntry<'_>,
        stamp: Stamp,
    ) -> Result<bool, SharedError> {
        self.insert_required(key, entry, Requirement::Unchanged(stamp))
    }

    /// Makes an entry of kind 0.
    fn new_entry<'a>(&self, value: &'a [u8], ttl: Option<Duration>) -> NewEntry<'a> {
        NewEntry::new(value).expires_at(self.expiry(ttl))
    }

    #[inline]
    pub(super) fn insert_required(
        &self,
        key: &[u8],
        entry: NewEntry<'_>,
        requirement: Requirement,
    ) -> Result<bool, SharedError> {
        let key = self.checked_key(key)?;
        let payload = self.payload(&key, entry);
        self.insert_payload(&key, &payload, requirement)
    }

    #[inline]
    pub(super) fn insert_payload(
        &self,
        key: &Keyed<'_>,
        payload: &Payload<'_>,
        requirement: Requirement,
    ) -> Result<bool, SharedError> {
        let words = payload.words(key);
        if words > LARGE_WORDS {
            self.make_space_ahead(key, payload, requirement, words)?;
        }
        self.file().shard_of(key).prefetch(key);
        Ok(self.lock(key)?.insert(key, payload, requirement)?)
    }

    /// Makes space for a large record before it is written, in slices, so that the lock is held only briefly each time.
    ///
    /// Other writers may use some of the space meanwhile. What is missing then is made when the record is written.
    #[cold]
    fn make_space_ahead(
        &self,
        key: &Keyed<'_>,
        payload: &Payload<'_>,
        requirement: Requirement,
        words: usize,
    ) -> Result<(), SharedError> {
        for _ in 0..=words / LARGE_WORDS * SLICES {
            let mut writer = self.lock(key)?;
            if writer.has_made_space(key, payload, requirement) {
                break;
            }
            writer.pause();
        }
        Ok(())
    }
}

impl<'a, C: Clock> Writer<'a, C> {
    /// Inserts a value if the requirement is met; returns whether it did.
    pub(super) fn insert(
        &mut self,
        key: &Keyed<'_>,
        payload: &Payload<'_>,
        requirement: Requirement,
    ) -> Result<bool, Rejected> {
        let found = self.find_present(key);
        if !requirement.is_met(key, &found, &self.shard) {
            return Ok(false);
        }
        let words = payload.words(key);
        if words > self.max_record {
            return Err(self.reject(found.entry(), words));
        }
        let is_in_place = self.write_value(&found, key, payload, words);
        match &found {
            // A write counts as a hit: a key that is often written must not be evicted.
            Found::Live(entry) if is_in_place => self.shard.count_hit(entry),
            Found::Retained(entry) => self.count_expiration(entry),
            Found::Live(_) | Found::Nothing => {}
        }
        self.count(Counter::Insertions, 1);
        Ok(true)
    }

    /// Writes a value to the record of its key or to a new one; returns whether it was the former. `found` is what is under
    /// the key.
    pub(super) fn write_value(
        &mut self,
        found: &Found,
        key: &Keyed<'_>,
        payload: &Payload<'_>,
        words: usize,
    ) -> bool {
        let fitting = found.entry().filter(|entry| fits(&entry.record, key, payload));
        match fitting {
            Some(entry) => self.overwrite(entry, payload),
            None => self.write_new(found.entry(), key, payload, words),
        }
        self.count(Counter::Written, words as u64);
        self.sweep();
        fitting.is_some()
    }

    /// Rejects a value that is too large, and removes the old one: a later read must not return it.
    fn reject(&self, old: Option<&Entry>, words: usize) -> Rejected {
        self.count(Counter::Rejections, 1);
        if let Some(old) = old {
            self.clear_slot(old.at);
        }
        Rejected {
            weight: (words * WORD) as u64,
            capacity: (self.max_record * WORD) as u64,
        }
    }

    /// Makes some of the space that a value needs; returns whether nothing is left to do before it is stored.
    fn has_made_space(&mut self, key: &Keyed<'_>, payload: &Payload<'_>, requirement: Requirement) -> bool {
        let found = self.find_present(key);
        let entry = found.entry();
        let words = payload.words(key);
        let in_place = entry.is_some_and(|entry| fits(&entry.record, key, payload));
        if in_place || words > self.max_record || !requirement.is_met(key, &found, &self.shard) {
            return true;
        }
        let state = match entry {
            Some(entry) => self.state_of_replacement(entry, words),
            None => self.state_of_new(words),
        };
        let ring = self.target_ring(state);
        self.make_some_space(&ring, words)
    }

    fn overwrite(&self, entry: &Entry, payload: &Payload<'_>) {
        let Some(ring) = self.shard.ring_of(entry.state) else {
            return;
        };
        let record = Record {
            value: payload.bytes.len(),
            checksum: payload.checksum,
            expires_at: payload.expires_at,
            written_at: self.now,
            kind: payload.kind,
            extension: payload.extension_words(),
            ..entry.record
        };
        ring.overwrite(&record, None, payload.bytes, payload.extension);
        if record.is_placeholder() != entry.record.is_placeholder() {
            self.adjust_counts(entry.at, entry.state, &entry.record, Change::Removed);
            self.adjust_counts(entry.at, entry.state, &record, Change::Added);
        }
    }

    /// Writes a new record and stores its slot. If the key has an old entry, its slot is reused.
    fn write_new(&mut self, old: Option<&Entry>, key: &Keyed<'_>, payload: &Payload<'_>, words: usize) {
        let (at, state) = match old {
            Some(old) => (old.at, self.state_of_replacement(old, words)),
            None => match self.choose_slot(key) {
                ChosenSlot { at, has_ghost: true } => (at, SlotState::Protected),
                ChosenSlot { at, .. } => (at, self.state_of_new(words)),
            },
        };
        let (state, record) = match self.take_free_space(words) {
            Some(free) if state == SlotState::Small => (SlotState::Probationary, free),
            Some(free) => (state, free),
            None => (state, self.record_at_head(state, words)),
        };
        let record = Record {
            key: key.bytes.len(),
            value: payload.bytes.len(),
            checksum: payload.checksum,
            expires_at: payload.expires_at,
            written_at: self.now,
            slot: at,
            kind: payload.kind,
            extension: payload.extension_words(),
            ..record
        };
        // Read before the record is written: after a reboot, the slot may point to where the record will be.
        let before = self.entry_at(at);
        let ring = self.target_ring(state);
        if record.position == ring.head() {
            ring.write(&record, key.bytes, payload.bytes, payload.extension);
            ring.move_head(record.position.advanced(words as u64));
        } else {
            ring.overwrite(&record, Some(key.bytes), payload.bytes, payload.extension);
        }
        if let Some(evicted) = before.as_ref().filter(|_| old.is_none()) {
            self.count_eviction(evicted);
        }
        let frequency = old.map_or(0, |old| old.slot.frequency());
        let slot = Slot::pointing(key.fingerprint(), state, frequency, record.position);
        self.replace_slot(at, slot, before.as_ref(), Some((state, &record)));
    }

    /// Chooses the state of the record that replaces an entry's.
    fn state_of_replacement(&self, old: &Entry, words: usize) -> SlotState {
        match old.state {
            SlotState::Small => self.state_of_new(words),
            state => state,
        }
    }

    /// Makes space at the head of a ring and returns an empty record there.
    fn record_at_head(&mut self, state: SlotState, words: usize) -> Record {
        let ring = self.target_ring(state);
        self.make_space(&ring, words);
        Record::empty(self.shard.hashing, ring.head(), ring.index(ring.head()), words)
    }

    /// Returns the ring that a record of this state is written to.
    fn target_ring(&self, state: SlotState) -> Ring<'a> {
        *self.shard.ring(state.queue().unwrap_or(Queue::Main))
    }
}

/// Returns whether a value fits into the record of its key without wasting much of it.
fn fits(record: &Record, key: &Keyed<'_>, payload: &Payload<'_>) -> bool {
    let (words, allotted) = (payload.words(key), record.allotted);
    let offset = words_for(key.bytes.len(), payload.extension_words(), 0);
    let slack = (allotted.saturating_sub(offset) * WORD).saturating_sub(payload.bytes.len());
    words <= allotted && slack <= MAX_SLACK && (allotted <= ALWAYS_FITS || allotted <= words * 2)
}
