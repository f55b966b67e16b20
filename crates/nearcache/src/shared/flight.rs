//! Flights: one computation of a value for one key, over all processes.
//!
//! The word that a key's value is being computed is in the key's own record (`extension.rs`). So whatever writes, removes,
//! evicts or clears the key ends its flight, and a leader whose flight has ended stores nothing: a value that was computed
//! from old data cannot replace a newer one, nor come back after a removal.
//!
//! A key without a record gets a *placeholder*: an extended record without a value, whose expiry is 1970, so that it is
//! absent for everything else.
//!
//! A flight names its leader's process. If that has died, the next caller takes the flight over. Whether a process is alive
//! is asked without the lock, because it takes system calls; under the lock, the flight is taken over only if it is still
//! the one that was asked about.

use super::cache::SharedCache;
use super::counters::Counter;
use super::entry::{FlightId, NewEntry, ProcessId};
use super::error::SharedError;
use super::extension::Extension;
use super::hashing::Keyed;
use super::lookup::Lookup;
use super::payload::Payload;
use super::record::{Record, Stamp};
use super::shard::Entry;
use super::time::{has_expired, is_retained, is_usable, to_millis};
use super::writer::{Found, Requirement, Writer};
use crate::clock::Clock;

/// How often a claim begins again because the flight has changed meanwhile.
const ATTEMPTS: u32 = 16;

/// The result of [`claim`](SharedCache::claim).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is a live entry.
    Hit,
    /// The caller leads a flight: it computes the value, and then calls [`complete`](SharedCache::complete) or
    /// [`release`](SharedCache::release).
    Leader,
    /// Another caller leads this flight.
    Held(FlightId),
}

/// What [`claim`](SharedCache::claim) is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    number: u64,
    is_refresh: bool,
    overtakes: Option<FlightId>,
}

impl ClaimRequest {
    /// Creates a request for a flight with this number, if there is no live entry.
    ///
    /// No two flights of a process for the same key may have the same number. Numbers from 2^63 on are those of
    /// [`get_or_insert_with`](SharedCache::get_or_insert_with).
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self {
            number,
            is_refresh: false,
            overtakes: None,
        }
    }

    /// Asks for a flight even if there is a live entry, to compute its next value before it expires.
    #[must_use]
    pub const fn refresh(self) -> Self {
        Self {
            is_refresh: true,
            ..self
        }
    }

    /// Ends exactly this flight, although its process is alive, if it is still in progress. For a waiter that has waited
    /// long enough.
    #[must_use]
    pub const fn overtake(self, flight: FlightId) -> Self {
        Self {
            overtakes: Some(flight),
            ..self
        }
    }
}

/// The result of a claim under the lock.
enum LockedClaim {
    Hit,
    Leader,
    Held(FlightId),
    /// The live entry with this stamp has no words for a flight.
    NotExtended(Stamp),
}

impl<C: Clock> SharedCache<C> {
    /// Claims the computation of a key's value, unless there is a live entry, or another caller computes already.
    ///
    /// If the leader of a flight has died, its flight is taken over. O(1); takes the lock of one shard if the answer is
    /// [`Claim::Leader`]. (A [refresh](ClaimRequest::refresh) of an entry that has neither a stale time nor a cost copies its
    /// value.)
    ///
    /// ```
    /// use nearcache::shared::{Claim, ClaimRequest, NewEntry, SharedCache};
    ///
    /// # let directory = std::env::temp_dir().join(format!("nearcache-claim-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let cache = SharedCache::open(directory.join("pages"), 1 << 20)?;
    /// assert_eq!(cache.claim(b"/", ClaimRequest::new(1))?, Claim::Leader);
    /// // Until it is computed, others see who computes it:
    /// let flight = cache.flight(b"/").unwrap();
    /// assert_eq!(cache.claim(b"/", ClaimRequest::new(2))?, Claim::Held(flight));
    /// assert_eq!(cache.get(b"/"), None);
    /// assert!(cache.complete(b"/", 1, NewEntry::new(b"<h1>Hello</h1>"))?);
    /// assert_eq!(cache.claim(b"/", ClaimRequest::new(2))?, Claim::Hit);
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The claim does not read the value. In the rare case that a read after [`Claim::Hit`] finds nothing again and again,
    /// because the value is damaged, a [refresh](ClaimRequest::refresh) replaces it.
    ///
    /// # Errors
    ///
    /// [`SharedError`]. Nothing has changed then.
    pub fn claim(&self, key: &[u8], request: ClaimRequest) -> Result<Claim, SharedError> {
        let key = self.checked_key(key)?;
        let own = self.own_flight(request.number)?;
        let found = self.find_unlocked(&key);
        if !request.is_refresh && found.is_some_and(|(record, _)| !has_expired(&record, self.clock())) {
            return Ok(Claim::Hit);
        }
        let mut holder = found.and_then(|(record, extension)| self.flight_in(&record, extension));
        for _ in 0..ATTEMPTS {
            if let Some(flight) = holder
                && request.overtakes != holder
                && self.is_alive(flight.process)
            {
                return Ok(Claim::Held(flight));
            }
            let claimed = self.lock(&key)?.claim(&key, own, request.is_refresh, holder);
            match claimed {
                LockedClaim::Hit => return Ok(Claim::Hit),
                LockedClaim::Leader => return Ok(Claim::Leader),
                LockedClaim::Held(flight) => holder = Some(flight),
                LockedClaim::NotExtended(stamp) => match self.extend(&key, own, stamp)? {
                    Some(claim) => return Ok(claim),
                    None => holder = None,
                },
            }
        }
        // Others began and ended flights, or wrote the entry, between all steps.
        Ok(holder.map_or(Claim::Hit, Claim::Held))
    }

    /// Returns the flight in progress for a key. O(1); takes no lock.
    ///
    /// Its process may have died: see [`is_alive`](Self::is_alive).
    #[must_use]
    pub fn flight(&self, key: &[u8]) -> Option<FlightId> {
        let key = self.file().hashing.key(key);
        let (record, extension) = self.find_unlocked(&key)?;
        self.flight_in(&record, extension)
    }

    /// Stores the value that this process computed in a flight, and ends the flight; returns whether it did.
    ///
    /// It did not if the flight had ended: the key was written, removed or evicted, the cache was cleared, or a waiter
    /// overtook the flight. Then nothing is stored. Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert). If the value is too large, the flight has ended, too.
    pub fn complete(&self, key: &[u8], number: u64, entry: NewEntry<'_>) -> Result<bool, SharedError> {
        let flight = self.own_flight(number)?;
        self.insert_required(key, entry, Requirement::Flight(flight))
    }

    /// Ends a flight of this process without a value; returns whether it was still in progress.
    ///
    /// The value that the key has stays, if it is live or in its stale time. Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// [`SharedError`]. Nothing has changed then.
    pub fn release(&self, key: &[u8], number: u64) -> Result<bool, SharedError> {
        let key = self.checked_key(key)?;
        let flight = self.own_flight(number)?;
        Ok(self.lock(&key)?.release(&key, flight))
    }

    /// Returns the id that a flight of this process with a number has.
    ///
    /// # Errors
    ///
    /// [`SharedError::Detached`] if the process cannot be registered in the file.
    pub fn own_flight(&self, number: u64) -> Result<FlightId, SharedError> {
        let process = ProcessId(self.file().process_slot()?.owner);
        Ok(FlightId { process, number })
    }

    /// Returns the record of a key, live or not, and its extension; `None` also if a writer interfered.
    fn find_unlocked(&self, key: &Keyed<'_>) -> Option<(Record, Option<Extension>)> {
        match self.file().shard_of(key).find_extended(key) {
            (Lookup::Found(entry), extension) => Some((entry.record, extension)),
            (Lookup::Missing | Lookup::Interrupted | Lookup::Damaged, _) => None,
        }
    }

    /// Returns the flight in progress in a record.
    fn flight_in(&self, record: &Record, extension: Option<Extension>) -> Option<FlightId> {
        let flight = extension?.flight()?;
        let now = to_millis(self.clock().now());
        let counts = !has_expired(record, self.clock()) || is_retained(record, extension, now);
        counts.then_some(flight)
    }

    /// Stores a live entry again, with the words for a flight. Returns `None` if it has changed meanwhile. No memory is
    /// allocated under the lock, so the value is read before.
    #[cold]
    fn extend(&self, key: &Keyed<'_>, own: FlightId, stamp: Stamp) -> Result<Option<Claim>, SharedError> {
        let mut value = Vec::new();
        let found = self.read_for_change(key.bytes, &mut value)?;
        let Some(found) = found.filter(|found| found.stamp == stamp) else {
            // It was written since; or it is damaged, and of no use.
            self.remove_if_unchanged(key.bytes, stamp)?;
            return Ok(None);
        };
        let entry = NewEntry::new(&value)
            .kind(found.kind)
            .expires_at(found.expires_at);
        let extension = Extension::NONE.with_flight(Some(own));
        let payload = self.extended(key, self.payload(key, entry), extension);
        if payload.words(key) > self.file().geometry.max_record() {
            // A longer record would be rejected, and the entry removed. So it cannot be refreshed before it expires.
            return Ok(Some(Claim::Hit));
        }
        let is_extended = self.insert_payload(key, &payload, Requirement::Unchanged(stamp))?;
        if is_extended {
            self.file().count(Counter::Flights, 1);
            // It is no new value: take back what the write counted.
            self.file().count(Counter::Insertions, u64::MAX);
        }
        Ok(is_extended.then_some(Claim::Leader))
    }
}

impl<C: Clock> Writer<'_, C> {
    /// Begins a flight, if none is in progress but `replaced`.
    fn claim(
        &mut self,
        key: &Keyed<'_>,
        own: FlightId,
        is_refresh: bool,
        replaced: Option<FlightId>,
    ) -> LockedClaim {
        let found = self.find_present(key);
        if found.live().is_some() && !is_refresh {
            return LockedClaim::Hit;
        }
        let held = found.flight(&self.shard);
        if let Some(flight) = held.filter(|flight| Some(*flight) != replaced) {
            return LockedClaim::Held(flight);
        }
        let is_usable = |entry: &&Entry| is_usable(&entry.record, self.shard.extension(entry), self.clock);
        match found.entry().filter(is_usable) {
            Some(entry) if !entry.record.is_extended() => {
                return LockedClaim::NotExtended(entry.stamp(key.hash));
            }
            Some(entry) => self.set_flight(key, entry, Some(own)),
            // Also if an entry is there that cannot be used. Its time of writing may be all that says so, if the clock was set back,
            // and a flight would change that.
            None => self.store_placeholder(&found, key, own),
        }
        self.count(Counter::Flights, 1);
        LockedClaim::Leader
    }

    /// Ends a flight; returns whether it was in progress.
    fn release(&self, key: &Keyed<'_>, flight: FlightId) -> bool {
        // Not an entry that was written since, even if it seems to be expired: the caller's clock may be that of the claim.
        let Some((entry, extension)) = self.find(key).and_then(|entry| {
            let extension = self.shard.extension(&entry)?;
            (extension.flight() == Some(flight)).then_some((entry, extension))
        }) else {
            return false;
        };
        if is_usable(&entry.record, Some(extension), self.clock) {
            self.set_flight(key, &entry, None);
        } else {
            self.remove_expired(&entry);
        }
        true
    }

    /// Stores the flight of an extended record. Its value stays.
    fn set_flight(&self, key: &Keyed<'_>, entry: &Entry, flight: Option<FlightId>) {
        let Some((ring, old)) = self.shard.ring_of(entry.state).zip(self.shard.extension(entry)) else {
            return;
        };
        let new = old.with_flight(flight);
        let sum = |extension| self.shard.hashing.extension_checksum(key.hash, Some(extension));
        let record = Record {
            checksum: entry.record.checksum ^ sum(old) ^ sum(new),
            // From now on the record is retained for the flight.
            written_at: if flight.is_some() {
                self.now
            } else {
                entry.record.written_at
            },
            ..entry.record
        };
        ring.overwrite_extension(&record, new);
    }

    /// Stores a record that only names the flight of a key without a usable entry. `found` is what is under the key.
    fn store_placeholder(&mut self, found: &Found, key: &Keyed<'_>, own: FlightId) {
        let hashing = self.shard.hashing;
        let extension = Some(Extension::NONE.with_flight(Some(own)));
        let payload = Payload {
            bytes: &[],
            kind: 0,
            expires_at: 0,
            extension,
            // Inverted: if its expiry is damaged, nobody takes it for an empty value.
            checksum: !(hashing.checksum(key.hash, &[], 0) ^ hashing.extension_checksum(key.hash, extension)),
        };
        self.write_value(found, key, &payload, payload.words(key));
        if let Some(entry) = found.entry() {
            self.count_expiration(entry);
        }
    }
}
