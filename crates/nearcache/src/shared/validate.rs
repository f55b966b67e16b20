//! A check of the whole file, for tests and for people who doubt a file.
//!
//! It goes over a shard four times: the rest of a recount that is under way; all slots, each without the lock; both rings from
//! tail to head; and a recount that compares its sums with the counts. What is done under the lock is done in slices, with
//! room for writers between them. So entries come and go during the check, and only what holds at every moment is checked.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::SharedError;
use super::evict::Place;
use super::flaw::Flaw;
use super::index::{Kind, Slot};
use super::layout::{LOCK, SHARD, WORD};
use super::position::Position;
use super::record::{MAX_KEY, is_torn};
use super::recount::Reason;
use super::ring::Ring;
use super::shard::{Entry, Shard};
use super::store::Store;
use super::writer::Writer;
use crate::clock::Clock;
use crate::memory::try_with_capacity;

/// How many slots are counted, or records passed, while the lock is held.
const SLICE: usize = 2048;

/// What a full check counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries that can be read, expired ones included that have not been noticed yet.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub payload_bytes: u64,
    /// Bytes of their records, all told.
    pub record_bytes: u64,
    /// Entries that a killed writer left half written; they read as a miss.
    pub torn: u64,
    /// Bytes between entries that hold no record, as there may be after a reboot. They are used again in time.
    pub gap_bytes: u64,
}

/// Why a full check came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// A shard could not be locked.
    #[error(transparent)]
    Cache(#[from] SharedError),
    /// Something does not hold.
    #[error("shard {shard}: {what}")]
    Broken {
        /// In which shard.
        shard: usize,
        /// What is wrong.
        what: String,
    },
}

/// Checks all shards, one after the other.
pub(super) fn validate<C: Clock>(
    store: &Store,
    clock: &C,
    patience: Duration,
) -> Result<Report, ValidateError> {
    let mut report = Report::default();
    let mut key_room = try_with_capacity(MAX_KEY).map_err(|error| ValidateError::Cache(error.into()))?;
    for number in 0..store.geometry.shards {
        let check = Check {
            store,
            clock,
            patience,
            number,
        };
        check.run(key_room.spare_capacity_mut(), &mut report)?;
    }
    Ok(report)
}

/// The check of one shard.
struct Check<'a, C> {
    store: &'a Store,
    clock: &'a C,
    patience: Duration,
    number: usize,
}

/// An entry, and its key.
struct Found<'k> {
    entry: Entry,
    key: &'k [u8],
}

/// What is in a slot.
enum Content {
    /// An entry whose record has so many bytes, of which so many are key and value.
    Entry {
        record: u64,
        payload: u64,
    },
    Torn,
    Nothing,
}

impl<'a, C: Clock> Check<'a, C> {
    fn run(&self, key_room: &mut [MaybeUninit<u8>], report: &mut Report) -> Result<(), ValidateError> {
        self.end_recount()?;
        let before = self.state();
        let mut found = 0;
        for at in 0..self.store.geometry.slots() {
            match self.slot(at, key_room)? {
                Content::Entry { record, payload } => {
                    report.entries += 1;
                    report.record_bytes += record;
                    report.payload_bytes += payload;
                    found += 1;
                }
                Content::Torn => {
                    report.torn += 1;
                    found += 1;
                }
                Content::Nothing => {}
            }
        }
        let mut walked = 0;
        for kind in [Kind::Small, Kind::Main] {
            let (entries, gaps) = self.walk(kind)?;
            walked += entries;
            report.gap_bytes += gaps * WORD as u64;
        }
        if walked != found && self.state() == before {
            return Err(self.broken(format!("{found} entries in the index, {walked} in the rings")));
        }
        self.compare_counts()
    }

    fn shard(&self) -> Shard<'a> {
        self.store.shard(self.number)
    }

    fn lock(&self) -> Result<Writer<'a, C>, ValidateError> {
        Ok(self.store.lock_for(self.shard(), self.clock, self.patience)?)
    }

    fn broken(&self, what: String) -> ValidateError {
        ValidateError::Broken {
            shard: self.number,
            what,
        }
    }

    /// Words that every write changes which adds or removes an entry.
    fn state(&self) -> [u64; SHARD] {
        let control = self.shard().control;
        std::array::from_fn(|at| {
            // In the place of the lock, which does not matter here: the cache's epoch.
            let word = if at == LOCK {
                self.store.epoch()
            } else {
                &control[at]
            };
            word.load(Ordering::SeqCst)
        })
    }

    /// Goes on with a recount until there is none.
    fn end_recount(&self) -> Result<(), ValidateError> {
        loop {
            let writer = self.lock()?;
            if !writer.is_recounting() {
                return Ok(());
            }
            writer.continue_recount(SLICE);
            writer.pause();
        }
    }

    /// Compares the counts with what a recount finds.
    fn compare_counts(&self) -> Result<(), ValidateError> {
        let before = loop {
            let writer = self.lock()?;
            if !writer.is_recounting() {
                writer.start_recount(Reason::Check);
                break writer.miscounts();
            }
            // A process died under the lock meanwhile, so the counts may be wrong.
            drop(writer);
            self.end_recount()?;
        };
        self.end_recount()?;
        if self.lock()?.miscounts() != before {
            return Err(self.broken("the counts of entries and live words are wrong".to_owned()));
        }
        Ok(())
    }

    /// Checks a slot, without the lock if all is well.
    fn slot(&self, at: usize, key_room: &mut [MaybeUninit<u8>]) -> Result<Content, ValidateError> {
        let shard = self.shard();
        let slot = Slot(shard.index[at].load(Ordering::Acquire));
        if slot.kind().is_none_or(|kind| kind == Kind::Ghost) || shard.is_outdated() {
            return Ok(Content::Nothing);
        }
        if let Some(found) = find(&shard, at, slot, key_room)
            && self.flaw(&shard, &found).is_none()
            && shard
                .ring(found.entry.kind)
                .is_some_and(|ring| ring.is_unchanged(&found.entry.record))
        {
            return Ok(content(&found.entry));
        }
        self.locked_slot(at, key_room)
    }

    /// Checks a slot that did not look right.
    #[cold]
    fn locked_slot(&self, at: usize, key_room: &mut [MaybeUninit<u8>]) -> Result<Content, ValidateError> {
        let writer = self.lock()?;
        let slot = writer.slot(at);
        let ring = slot
            .kind()
            .filter(|kind| *kind != Kind::Ghost)
            .and_then(|kind| writer.shard.ring(kind));
        if ring.is_none_or(|ring| ring.position(slot).is_none()) {
            return Ok(Content::Nothing);
        }
        let Some(found) = find(&writer.shard, at, slot, key_room) else {
            return match writer.entry_at(at) {
                Some(entry) if is_torn(entry.record.first) => Ok(Content::Torn),
                _ => Err(self.broken(format!("slot {at} points to no record of its own"))),
            };
        };
        match self.flaw(&writer.shard, &found) {
            None => Ok(content(&found.entry)),
            Some(flaw) => {
                let key = String::from_utf8_lossy(found.key).into_owned();
                drop(writer);
                Err(self.broken(format!("the entry {key:?} in slot {at}: {flaw}")))
            }
        }
    }

    fn flaw(&self, shard: &Shard<'_>, found: &Found<'_>) -> Option<Flaw> {
        let belongs = shard.hashing.key(found.key).shard(self.store.geometry.shards);
        if belongs != self.number {
            return Some(Flaw::Misplaced);
        }
        shard.flaw(&found.entry, found.key)
    }

    /// Goes over a ring from tail to head; returns how many entries it met, and words that no record covers.
    fn walk(&self, kind: Kind) -> Result<(u64, u64), ValidateError> {
        let (mut entries, mut gaps) = (0, 0);
        let mut from: Option<Position> = None;
        loop {
            let writer = self.lock()?;
            let Some(ring) = writer.shard.ring(kind).copied() else {
                return Ok((entries, gaps));
            };
            // The tail may have passed where the last slice ended.
            let mut at = from
                .filter(|at| at.since(ring.tail()) <= ring.used())
                .unwrap_or_else(|| ring.tail());
            for _ in 0..SLICE {
                if at == ring.head() {
                    return Ok((entries, gaps));
                }
                at = self.pass(&writer, &ring, at, &mut entries, &mut gaps)?;
            }
            from = Some(at);
            writer.pause();
        }
    }

    /// The position after what lies at one.
    fn pass(
        &self,
        writer: &Writer<'_, C>,
        ring: &Ring<'_>,
        at: Position,
        entries: &mut u64,
        gaps: &mut u64,
    ) -> Result<Position, ValidateError> {
        let words = match writer.lies_at(ring, at) {
            Place::Entry(entry) => {
                *entries += 1;
                entry.record.allotted as u64
            }
            Place::Unused(words) => words,
            Place::Damage if ring.is_suspect(at) => {
                *gaps += 1;
                1
            }
            Place::Damage => {
                let place = at.since(ring.tail());
                let what = format!("{:?}: no record {place} words after the tail", ring.kind);
                return Err(self.broken(what));
            }
        };
        Ok(at.advanced(words))
    }
}

/// The whole entry that a slot points to.
fn find<'k>(
    shard: &Shard<'_>,
    at: usize,
    slot: Slot,
    key_room: &'k mut [MaybeUninit<u8>],
) -> Option<Found<'k>> {
    let kind = slot.kind()?;
    let ring = shard.ring(kind)?;
    let record = ring.record(ring.position(slot)?)?;
    if record.slot != at || is_torn(record.first) {
        return None;
    }
    let entry = Entry {
        record,
        kind,
        slot,
        at,
    };
    let key = shard.copy_key(&entry, key_room.get_mut(..record.key)?);
    Some(Found { entry, key })
}

const fn content(entry: &Entry) -> Content {
    Content::Entry {
        record: (entry.record.allotted * WORD) as u64,
        payload: (entry.record.key + entry.record.value) as u64,
    }
}
