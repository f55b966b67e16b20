//! A shard under its lock: finding, storing and removing entries. How room is made: `evict.rs`.
//!
//! Every store leaves the shard valid, since it may be the process's last: `docs/design/shared.md` tells why it does.
//! Nothing runs here but bounded copying: no allocation, no code of the caller's but the clock.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::hashing::Keyed;
use super::index::{Kind, POSITION_MASK, Slot};
use super::layout::{BUCKET, ENTRIES, HAND, HAUNTED, LOCK, MOVING, SHARD_EPOCH, WORD};
use super::lock::{self, Held};
use super::record::{self, MAX_SLACK, Record, Stamp, is_torn, words_for};
use super::recount::{Change, Reason, SLOTS_A_WRITE};
use super::ring::Ring;
use super::shard::{Entry, Shard};
use super::store::Counter;
use super::words::{AtomicU64, add, put};
use crate::clock::{Clock, Timestamp};
use crate::condition::Condition;
use crate::error::Rejected;

/// Up to so many words a record is overwritten in place however much smaller the new one is.
const ALWAYS_FITS: usize = 16;
const MOVED_WORDS: usize = 65_536;
const MOVED_RECORDS: u32 = 256;
/// A sleeping process wakes and takes the lock in less.
const PAUSE: Duration = Duration::from_micros(100);
/// How far a clock may be behind the time an entry was written before it is taken to have been stepped back.
const SKEW_MILLIS: u64 = 1000;
/// How far a coarse clock may lag behind what it tells when asked for one entry: see [`Clock::has_passed`].
const COARSE_MILLIS: u64 = 1000;

/// A value as it is to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) kind: u8,
    pub(super) expires_at: u64,
    pub(super) checksum: u32,
}

/// What a write expects to find under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Condition(Condition),
    /// The very entry that has this stamp.
    Unchanged(Stamp),
}

impl Expected {
    pub(super) const ANYTHING: Self = Self::Condition(Condition::Always);

    fn is_met(self, key: &Keyed<'_>, live: Option<&Entry>) -> bool {
        match self {
            Self::Condition(condition) => condition.allows(live.is_some()),
            Self::Unchanged(stamp) => live.is_some_and(|entry| entry.stamp(key.hash) == stamp),
        }
    }
}

/// The result of [`incr`](super::SharedCache::incr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incremented {
    /// The integer has been incremented, and this is its new value.
    Value(i64),
    /// There is no live entry under the key.
    Missing,
    /// The entry is not an 8-byte integer of the given kind. It is unchanged.
    NotAnInteger,
    /// The result does not fit into 64 bits. The entry is unchanged.
    Overflow,
}

/// A shard with its lock held.
#[derive(Debug)]
pub(super) struct Writer<'a, C> {
    pub(super) shard: Shard<'a>,
    counters: &'a [AtomicU64],
    clock: &'a C,
    now: u64,
    max_record: usize,
    pub(super) words_left: usize,
    pub(super) records_left: u32,
    // Last: unlocks when all else is done.
    _held: Held<'a>,
}

/// Milliseconds since 1970, rounded down.
pub(super) fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_unix_micros() / 1000)
        .unwrap_or_default()
        .min(record::NEVER - 1)
}

/// When an entry expires, rounded down to whole milliseconds: a caller who sleeps for an entry's timeout finds it gone. A
/// record holds times up to the year 10889; what would expire later does not expire, so that it lives as long as was asked.
pub(super) fn expiry(time: Timestamp) -> u64 {
    if time == Timestamp::NEVER {
        return record::NEVER;
    }
    let micros = u64::try_from(time.as_unix_micros()).unwrap_or_default();
    (micros / 1000).min(record::NEVER)
}

/// The other way round.
pub(super) fn timestamp(expires: u64) -> Timestamp {
    if expires == record::NEVER {
        return Timestamp::NEVER;
    }
    Timestamp::from_unix_micros(i64::try_from(expires.saturating_mul(1000)).unwrap_or(i64::MAX - 1))
}

/// Whether a record's time is over, or the clock was stepped back to before it was written.
#[inline]
pub(super) fn is_dead(record: &Record, clock: &impl Clock) -> bool {
    if record.expires_at == record::NEVER {
        return false;
    }
    let now = millis(clock.now());
    // Far from its end an entry lives, however coarse the clock.
    is_from_the_future(record, now)
        || record.expires_at <= now.saturating_add(COARSE_MILLIS)
            && clock.has_passed(timestamp(record.expires_at))
}

const fn is_from_the_future(record: &Record, now: u64) -> bool {
    record.written > now.saturating_add(SKEW_MILLIS)
}

impl<'a, C: Clock> Writer<'a, C> {
    pub(super) fn new(
        shard: Shard<'a>,
        held: Held<'a>,
        counters: &'a [AtomicU64],
        clock: &'a C,
        now: Timestamp,
        max_record: usize,
    ) -> Self {
        let recovered = held.from_the_dead;
        let writer = Self {
            shard,
            counters,
            clock,
            now: millis(now),
            max_record,
            words_left: MOVED_WORDS,
            records_left: MOVED_RECORDS,
            _held: held,
        };
        if recovered {
            writer.count(Counter::Recoveries, 1);
            // A record that its writer was copying over itself is lost.
            writer.set_moving(Slot(0));
            writer.start_recount(Reason::Unsure);
        }
        writer.catch_up();
        if writer.is_recounting() {
            writer.continue_recount(SLOTS_A_WRITE);
        }
        writer
    }

    /// Releases the lock between two slices of work. If others wait for it, lets one of them have it: to take it again at
    /// once would be faster than they wake.
    pub(super) fn pause(self) {
        let is_awaited = lock::is_awaited(&self.shard.control[LOCK]);
        drop(self);
        if is_awaited {
            thread::sleep(PAUSE);
        }
    }

    pub(super) fn count(&self, what: Counter, more: u64) {
        add(&self.counters[what as usize], more, Ordering::Relaxed);
    }

    /// Empties the shard if the cache was cleared, and what cannot be right.
    fn catch_up(&self) {
        let epoch = self.shard.epoch.load(Ordering::SeqCst);
        let own = &self.shard.control[SHARD_EPOCH];
        if own.load(Ordering::Relaxed) != epoch {
            self.shard.small.reset();
            self.shard.main.reset();
            self.recount_nothing();
            put(own, epoch, Ordering::Release);
        }
        for ring in [&self.shard.small, &self.shard.main] {
            if !ring.is_sound() {
                ring.restart();
                self.give_up(ring);
            }
        }
    }

    /// Empties a ring that cannot be walked.
    #[cold]
    pub(super) fn give_up(&self, ring: &Ring<'_>) {
        self.count(Counter::Damages, 1);
        ring.reset();
        self.start_recount(Reason::Unsure);
    }

    /// Tells readers which slot's record is being copied over itself.
    pub(super) fn set_moving(&self, slot: Slot) {
        put(&self.shard.control[MOVING], slot.0, Ordering::Release);
    }

    pub(super) fn entries(&self) -> u64 {
        self.shard.control[ENTRIES].load(Ordering::Relaxed)
    }

    pub(super) fn set_entries(&self, entries: u64) {
        put(&self.shard.control[ENTRIES], entries, Ordering::Relaxed);
    }

    pub(super) fn slot(&self, at: usize) -> Slot {
        Slot(self.shard.index[at].load(Ordering::Relaxed))
    }

    /// The record that a slot points to, if it does and that one points back.
    pub(super) fn entry_at(&self, at: usize) -> Option<Entry> {
        let slot = self.slot(at);
        let kind = slot.kind()?;
        let ring = self.shard.ring(kind)?;
        let record = ring.record(ring.position(slot)?)?;
        (record.slot == at).then_some(Entry {
            record,
            kind,
            slot,
            at,
        })
    }

    pub(super) fn is_dead(&self, record: &Record) -> bool {
        let over = record.expires_at != record::NEVER && record.expires_at <= self.now;
        over || record.expires_at != record::NEVER && is_from_the_future(record, self.now)
    }

    /// Stores another word in a slot. `before` is the entry that was there, and is not live any longer; `new` is the record
    /// that the slot points to now.
    fn refill(&self, at: usize, slot: Slot, before: Option<&Entry>, new: Option<(Kind, &Record)>) {
        put(&self.shard.index[at], slot.0, Ordering::Release);
        if let Some(before) = before {
            self.tally(at, before.kind, &before.record, Change::Removed);
            if before.kind.is_in(Kind::Main) {
                self.remember_hole(&before.record);
            }
        }
        if let Some((kind, record)) = new {
            self.tally(at, kind, record, Change::Added);
        }
    }

    /// Empties a slot.
    pub(super) fn vacate(&self, at: usize) {
        self.refill(at, Slot(0), self.entry_at(at).as_ref(), None);
    }

    /// Makes a slot the ghost of the record it points to.
    pub(super) fn haunt(&self, entry: &Entry) {
        let haunted = self.haunted().wrapping_add(entry.record.allotted as u64);
        put(&self.shard.control[HAUNTED], haunted, Ordering::Relaxed);
        let ghost = Slot::new(entry.slot.fingerprint(), Kind::Ghost, 0, haunted);
        self.refill(entry.at, ghost, Some(entry), None);
    }

    /// Words in all records that ever became ghosts: by this ghosts tell their age.
    fn haunted(&self) -> u64 {
        self.shard.control[HAUNTED].load(Ordering::Relaxed)
    }

    /// The key's record, dead or alive. What was torn by the death of its writer is removed. So is a second record of the
    /// key, which a reboot may leave.
    fn find(&self, key: &Keyed<'_>) -> Option<Entry> {
        let fingerprint = key.fingerprint();
        let mut found: Option<Entry> = None;
        for bucket in key.buckets(self.shard.index.len() / BUCKET) {
            for at in bucket * BUCKET..(bucket + 1) * BUCKET {
                // Both buckets may be the same one.
                if self.slot(at).fingerprint() != fingerprint || found.is_some_and(|found| found.at == at) {
                    continue;
                }
                let Some(entry) = self.entry_at(at) else {
                    continue;
                };
                // To write to a record that is not wholly between tail and head would damage others.
                if is_torn(entry.record.first) || self.is_scrubbing() && self.is_cut_off(&entry) {
                    self.vacate(at);
                } else if self
                    .shard
                    .ring(entry.kind)
                    .is_some_and(|ring| ring.key_is(&entry.record, key.bytes))
                {
                    if found.is_some() {
                        self.vacate(at);
                        continue;
                    }
                    if !self.is_scrubbing() {
                        return Some(entry);
                    }
                    found = Some(entry);
                }
            }
        }
        found
    }

    /// The key's live record; a dead one is removed.
    pub(super) fn find_live(&self, key: &Keyed<'_>) -> Option<Entry> {
        let entry = self.find(key)?;
        if is_dead(&entry.record, self.clock) {
            self.count(Counter::Expirations, 1);
            self.vacate(entry.at);
            return None;
        }
        Some(entry)
    }

    /// Stores a value if the expected is found; returns whether it did.
    pub(super) fn set(
        &mut self,
        key: &Keyed<'_>,
        value: &Value<'_>,
        expected: Expected,
    ) -> Result<bool, Rejected> {
        let entry = self.find_live(key);
        if !expected.is_met(key, entry.as_ref()) {
            return Ok(false);
        }
        let words = words_for(key.bytes.len(), value.bytes.len());
        if words > self.max_record {
            self.count(Counter::Rejections, 1);
            if let Some(entry) = entry {
                self.vacate(entry.at);
            }
            return Err(Rejected {
                weight: words as u64 * 8,
                capacity: self.max_record as u64 * 8,
            });
        }
        match entry {
            Some(entry) if fits(&entry.record, key, value) => {
                self.overwrite(&entry, value);
                // Written is asked for, too: a key that is written all the time must not grow old where it lies.
                self.shard.raise(&entry);
            }
            entry => self.insert(entry.as_ref(), key, value, words),
        }
        self.count(Counter::Insertions, 1);
        self.count(Counter::Written, words as u64);
        self.sweep();
        Ok(true)
    }

    /// Evicts a few of the records in the way of a value; returns whether nothing is left to do ahead of storing it.
    pub(super) fn has_made_room(&mut self, key: &Keyed<'_>, value: &Value<'_>, expected: Expected) -> bool {
        let entry = self.find_live(key);
        let words = words_for(key.bytes.len(), value.bytes.len());
        let in_place = entry
            .as_ref()
            .is_some_and(|entry| fits(&entry.record, key, value));
        if in_place || words > self.max_record || !expected.is_met(key, entry.as_ref()) {
            return true;
        }
        let kind = entry.map_or_else(|| self.entrance(words), |entry| self.kind_of_new(&entry, words));
        let ring = self.ring_of(kind);
        self.make_some_room(&ring, words)
    }

    fn overwrite(&self, entry: &Entry, value: &Value<'_>) {
        let Some(ring) = self.shard.ring(entry.kind) else {
            return;
        };
        let record = Record {
            value: value.bytes.len(),
            checksum: value.checksum,
            expires_at: value.expires_at,
            written: self.now,
            kind: value.kind,
            ..entry.record
        };
        ring.overwrite(&record, None, value.bytes);
    }

    /// Writes a new record; a slot that points to the key's old one is given over to it.
    fn insert(&mut self, old: Option<&Entry>, key: &Keyed<'_>, value: &Value<'_>, words: usize) {
        let (at, kind) = match old {
            Some(old) => (old.at, self.kind_of_new(old, words)),
            None => match self.choose(key) {
                (at, true) => (at, Kind::Main),
                (at, false) => (at, self.entrance(words)),
            },
        };
        let (kind, record) = match self.take_hole(words) {
            Some(hole) if kind == Kind::Small => (Kind::Trial, hole),
            Some(hole) => (kind, hole),
            None => (kind, self.new_record(kind, words)),
        };
        let record = Record {
            key: key.bytes.len(),
            value: value.bytes.len(),
            checksum: value.checksum,
            expires_at: value.expires_at,
            written: self.now,
            slot: at,
            kind: value.kind,
            ..record
        };
        // Before the record is written: after a reboot, a slot may point to where it will be.
        let before = self.entry_at(at);
        let ring = self.ring_of(kind);
        if record.position == ring.head() {
            ring.write(&record, key.bytes, value.bytes);
            ring.move_head(record.position.advanced(words as u64));
        } else {
            ring.overwrite(&record, Some(key.bytes), value.bytes);
        }
        if old.is_none() && before.is_some() {
            self.count(Counter::Evictions, 1);
        }
        let frequency = old.map_or(0, |old| old.slot.frequency());
        let slot = Slot::pointing(key.fingerprint(), kind, frequency, record.position);
        self.refill(at, slot, before.as_ref(), Some((kind, &record)));
    }

    /// Where the record goes that replaces an entry's.
    fn kind_of_new(&self, old: &Entry, words: usize) -> Kind {
        match old.kind {
            Kind::Small => self.entrance(words),
            kind => kind,
        }
    }

    /// Room for a record at the head of its ring.
    fn new_record(&mut self, kind: Kind, words: usize) -> Record {
        let ring = self.ring_of(kind);
        self.make_room(&ring, words);
        Record::empty(self.shard.hashing, ring.head(), ring.index(ring.head()), words)
    }

    const fn ring_of(&self, kind: Kind) -> Ring<'a> {
        match kind {
            Kind::Small => self.shard.small,
            Kind::Main | Kind::Trial | Kind::Ghost => self.shard.main,
        }
    }

    /// A slot for a new key, and whether a ghost tells that it was here lately.
    fn choose(&self, key: &Keyed<'_>) -> (usize, bool) {
        let buckets = key.buckets(self.shard.index.len() / BUCKET);
        let mut best = (u64::MAX, buckets[0] * BUCKET);
        for (rank, bucket) in buckets.into_iter().enumerate() {
            for at in bucket * BUCKET..(bucket + 1) * BUCKET {
                let slot = self.slot(at);
                let age = self.ghost_age(slot);
                if age.is_some() && slot.fingerprint() == key.fingerprint() {
                    return (at, true);
                }
                best = best.min((self.cost(at, slot, age, rank as u64), at));
            }
        }
        (best.1, false)
    }

    /// How long ago a ghost left, in words that left likewise since; `None` if that is too long, or it is no ghost.
    pub(super) fn ghost_age(&self, slot: Slot) -> Option<u64> {
        let age = self.haunted().wrapping_sub(slot.position()) & POSITION_MASK;
        (slot.kind() == Some(Kind::Ghost) && age <= self.shard.main.capacity()).then_some(age)
    }

    /// How much is lost with what is in a slot: nothing, a ghost (the older the less), a record (by its frequency).
    fn cost(&self, at: usize, slot: Slot, ghost_age: Option<u64>, rank: u64) -> u64 {
        if let Some(age) = ghost_age {
            return (1 << 60) - age;
        }
        let points = slot.kind().filter(|kind| *kind != Kind::Ghost);
        let held = points.filter(|kind| {
            self.shard
                .ring(*kind)
                .is_some_and(|ring| ring.position(slot).is_some())
        });
        match held {
            None => rank * BUCKET as u64 + at as u64 % BUCKET as u64,
            Some(kind) => (1 << 61) + slot.frequency() * 2 + u64::from(kind == Kind::Main),
        }
    }

    /// Removes the key's live entry if it is still the one of the stamp, or whatever it is; returns whether it did.
    pub(super) fn remove(&self, key: &Keyed<'_>, expected: Expected) -> bool {
        let entry = self
            .find_live(key)
            .filter(|entry| expected.is_met(key, Some(entry)));
        if let Some(entry) = &entry {
            self.count(Counter::Removals, 1);
            self.vacate(entry.at);
        }
        entry.is_some()
    }

    /// Gives the key's live entry another expiry; returns whether there is one.
    pub(super) fn expire_at(&self, key: &Keyed<'_>, expires_at: u64) -> bool {
        let Some(entry) = self.find_live(key) else {
            return false;
        };
        let record = Record {
            expires_at,
            written: self.now,
            ..entry.record
        };
        if let Some(ring) = self.shard.ring(entry.kind) {
            ring.write_times(&record);
        }
        true
    }

    /// Adds to the integer under a key, in place; its expiry stays.
    pub(super) fn add(&self, key: &Keyed<'_>, delta: i64, kind: u8) -> Incremented {
        let Some(entry) = self.find_live(key) else {
            return Incremented::Missing;
        };
        let Some(ring) = self.shard.ring(entry.kind) else {
            return Incremented::Missing;
        };
        if entry.record.kind != kind || entry.record.value != size_of::<i64>() {
            return Incremented::NotAnInteger;
        }
        let mut bytes = [std::mem::MaybeUninit::new(0); size_of::<i64>()];
        ring.copy_value(&entry.record, &mut bytes);
        // SAFETY: initialised above.
        #[allow(unsafe_code)]
        let bytes = bytes.map(|byte| unsafe { byte.assume_init() });
        if self.shard.hashing.checksum(key.hash, &bytes, kind) != entry.record.checksum {
            self.count(Counter::Damages, 1);
            self.vacate(entry.at);
            return Incremented::Missing;
        }
        let Some(sum) = i64::from_ne_bytes(bytes).checked_add(delta) else {
            return Incremented::Overflow;
        };
        let bytes = sum.to_ne_bytes();
        let record = Record {
            checksum: self.shard.hashing.checksum(key.hash, &bytes, kind),
            ..entry.record
        };
        ring.overwrite(&record, None, &bytes);
        // A counter that is only ever counted up is asked for as much as one that is read.
        self.shard.raise(&entry);
        self.count(Counter::Insertions, 1);
        Incremented::Value(sum)
    }

    /// Looks at one slot, another one every time, for a record whose time is over, or that is torn.
    fn sweep(&self) {
        let hand = &self.shard.control[HAND];
        let at = usize::try_from(hand.load(Ordering::Relaxed)).unwrap_or_default();
        let at = if at < self.shard.index.len() { at } else { 0 };
        put(hand, at as u64 + 1, Ordering::Relaxed);
        if self.slot(at) == Slot(0) {
            return;
        }
        match self.entry_at(at) {
            Some(entry) => {
                self.bury(&entry);
            }
            None if self.ghost_age(self.slot(at)).is_none() => self.vacate(at),
            None => {}
        }
    }
}

/// Whether a value fits where the key's old one is, without wasting too much.
fn fits(record: &Record, key: &Keyed<'_>, value: &Value<'_>) -> bool {
    let (words, allotted) = (words_for(key.bytes.len(), value.bytes.len()), record.allotted);
    let slack = ((allotted - record.value_offset()) * WORD).saturating_sub(value.bytes.len());
    words <= allotted && slack <= MAX_SLACK && (allotted <= ALWAYS_FITS || allotted <= words * 2)
}
