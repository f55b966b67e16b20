//! A check of the whole file, for tests and for people who suspect damage.
//!
//! It passes over a shard four times: it completes a recount that is in progress; examines all slots, each without the lock
//! if all is well; walks both rings from tail to head; and recounts the shard, to compare the sums with the counts. Work
//! under the lock is done in slices, between which writers proceed. So entries change during the check, and it only checks
//! what holds at every moment.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache_file::CacheFile;
use super::error::SharedError;
use super::evict::RingContent;
use super::flaw::Flaw;
use super::layout::{LOCK, SHARD, WORD};
use super::position::Position;
use super::record::{MAX_KEY, is_torn};
use super::recount::Reason;
use super::ring::Ring;
use super::shard::{Entry, Shard};
use super::slot::{Queue, Slot};
use super::writer::Writer;
use crate::clock::Clock;
use crate::memory::try_with_capacity;

/// How many slots are counted, or records passed, while the lock is held.
const SLICE: usize = 2048;

/// What a check of the whole file found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries that can be read, including expired ones that have not been removed yet.
    pub entries: u64,
    /// Placeholders of flights.
    pub placeholders: u64,
    /// Bytes of the entries' keys and values.
    pub payload_bytes: u64,
    /// Bytes of the records of entries and placeholders, including headers and padding.
    pub record_bytes: u64,
    /// Entries that a killed writer left half written. Reads miss them.
    pub torn: u64,
    /// Bytes between records that hold no record, as there may be after a reboot. They will be used again.
    pub gap_bytes: u64,
}

/// The reason why a check of the whole file failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// A shard could not be locked.
    #[error(transparent)]
    Cache(#[from] SharedError),
    /// The file is damaged.
    #[error("shard {shard}: {what}")]
    Broken {
        /// The number of the shard.
        shard: usize,
        /// What is wrong.
        what: String,
    },
}

/// Checks all shards.
pub(super) fn validate<C: Clock>(
    file: &CacheFile,
    clock: &C,
    timeout: Duration,
) -> Result<Report, ValidateError> {
    let mut report = Report::default();
    let mut key_buffer = try_with_capacity(MAX_KEY).map_err(|error| ValidateError::Cache(error.into()))?;
    for number in 0..file.geometry.shards {
        let check = Check {
            file,
            clock,
            timeout,
            number,
        };
        check.run(key_buffer.spare_capacity_mut(), &mut report)?;
    }
    Ok(report)
}

/// The check of one shard.
struct Check<'a, C> {
    file: &'a CacheFile,
    clock: &'a C,
    timeout: Duration,
    number: usize,
}

/// An entry with its key.
struct KeyedEntry<'k> {
    entry: Entry,
    key: &'k [u8],
}

/// What a slot holds.
enum SlotContent {
    /// An entry whose record has `record` bytes, of which `payload` are key and value.
    Entry {
        record: u64,
        payload: u64,
    },
    /// A placeholder whose record has `record` bytes.
    Placeholder {
        record: u64,
    },
    Torn,
    Nothing,
}

/// What a walk of a ring has counted.
#[derive(Default)]
struct Walk {
    entries: u64,
    /// Words that belong to no record.
    gaps: u64,
}

impl<'a, C: Clock> Check<'a, C> {
    fn run(&self, key_buffer: &mut [MaybeUninit<u8>], report: &mut Report) -> Result<(), ValidateError> {
        self.end_recount()?;
        let before = self.state();
        let mut found = 0;
        for at in 0..self.file.geometry.slots() {
            match self.slot(at, key_buffer)? {
                SlotContent::Entry { record, payload } => {
                    report.entries += 1;
                    report.record_bytes += record;
                    report.payload_bytes += payload;
                    found += 1;
                }
                SlotContent::Placeholder { record } => {
                    report.placeholders += 1;
                    report.record_bytes += record;
                    found += 1;
                }
                SlotContent::Torn => {
                    report.torn += 1;
                    found += 1;
                }
                SlotContent::Nothing => {}
            }
        }
        let mut walked = 0;
        for queue in [Queue::Small, Queue::Main] {
            let walk = self.walk(queue)?;
            walked += walk.entries;
            report.gap_bytes += walk.gaps * WORD as u64;
        }
        if walked != found && self.state() == before {
            return Err(self.broken(format!("{found} entries in the index, {walked} in the rings")));
        }
        self.compare_counts()
    }

    fn shard(&self) -> Shard<'a> {
        self.file.shard(self.number)
    }

    fn lock(&self) -> Result<Writer<'a, C>, ValidateError> {
        Ok(self.file.lock_for(self.shard(), self.clock, self.timeout)?)
    }

    fn broken(&self, what: String) -> ValidateError {
        ValidateError::Broken {
            shard: self.number,
            what,
        }
    }

    /// Returns words of which every write that adds or removes an entry changes at least one.
    fn state(&self) -> [u64; SHARD] {
        let control = self.shard().control;
        std::array::from_fn(|at| {
            // The epoch of the cache takes the place of the lock, which does not matter here.
            let word = if at == LOCK {
                self.file.epoch()
            } else {
                &control[at]
            };
            word.load(Ordering::SeqCst)
        })
    }

    /// Completes a recount that is in progress.
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

    /// Compares the counts with a recount.
    fn compare_counts(&self) -> Result<(), ValidateError> {
        let before = loop {
            let writer = self.lock()?;
            if !writer.is_recounting() {
                writer.start_recount(Reason::Check);
                break writer.miscounts();
            }
            // A process has died under the lock meanwhile, so the counts may be wrong.
            drop(writer);
            self.end_recount()?;
        };
        self.end_recount()?;
        if self.lock()?.miscounts() != before {
            return Err(self.broken("the counts of entries and live words are wrong".to_owned()));
        }
        Ok(())
    }

    /// Checks a slot. Takes the lock only if something looks wrong.
    fn slot(&self, at: usize, key_buffer: &mut [MaybeUninit<u8>]) -> Result<SlotContent, ValidateError> {
        let shard = self.shard();
        let slot = Slot(shard.index[at].load(Ordering::Acquire));
        if slot.has_no_record() || shard.is_outdated() {
            return Ok(SlotContent::Nothing);
        }
        if let Some(found) = find(&shard, at, slot, key_buffer)
            && self.flaw(&shard, &found).is_none()
            && shard
                .ring_of(found.entry.state)
                .is_some_and(|ring| ring.is_unchanged(&found.entry.record))
        {
            return Ok(content(&found.entry));
        }
        self.locked_slot(at, key_buffer)
    }

    /// Checks a slot under the lock.
    #[cold]
    fn locked_slot(
        &self,
        at: usize,
        key_buffer: &mut [MaybeUninit<u8>],
    ) -> Result<SlotContent, ValidateError> {
        let writer = self.lock()?;
        let slot = writer.slot(at);
        let ring = slot.state().and_then(|state| writer.shard.ring_of(state));
        if ring.is_none_or(|ring| ring.position(slot).is_none()) {
            return Ok(SlotContent::Nothing);
        }
        let Some(found) = find(&writer.shard, at, slot, key_buffer) else {
            return match writer.entry_at(at) {
                Some(entry) if entry.record.is_placeholder() && is_torn(entry.record.first) => {
                    Ok(content(&entry))
                }
                Some(entry) if is_torn(entry.record.first) => Ok(SlotContent::Torn),
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

    fn flaw(&self, shard: &Shard<'_>, found: &KeyedEntry<'_>) -> Option<Flaw> {
        let belongs = shard.hashing.key(found.key).shard(self.file.geometry.shards);
        if belongs != self.number {
            return Some(Flaw::Misplaced);
        }
        shard.flaw(&found.entry, found.key)
    }

    /// Walks a ring from tail to head.
    fn walk(&self, queue: Queue) -> Result<Walk, ValidateError> {
        let mut walk = Walk::default();
        let mut from: Option<Position> = None;
        loop {
            let writer = self.lock()?;
            let ring = *writer.shard.ring(queue);
            // The tail may have passed the end of the last slice.
            let mut at = from
                .filter(|at| at.since(ring.tail()) <= ring.used())
                .unwrap_or_else(|| ring.tail());
            for _ in 0..SLICE {
                if at == ring.head() {
                    return Ok(walk);
                }
                at = at.advanced(self.count_at(&writer, &ring, at, &mut walk)?);
            }
            from = Some(at);
            writer.pause();
        }
    }

    /// Counts what is at a position; returns how many words it has.
    fn count_at(
        &self,
        writer: &Writer<'_, C>,
        ring: &Ring<'_>,
        at: Position,
        walk: &mut Walk,
    ) -> Result<u64, ValidateError> {
        match writer.content_at(ring, at) {
            RingContent::Entry(entry) => {
                walk.entries += 1;
                Ok(entry.record.allotted as u64)
            }
            RingContent::Unreferenced(words) => Ok(words),
            RingContent::Damaged if ring.is_suspect(at) => {
                walk.gaps += 1;
                Ok(1)
            }
            RingContent::Damaged => {
                let place = at.since(ring.tail());
                let queue = ring.queue;
                Err(self.broken(format!("{queue:?} queue: no record {place} words after the tail")))
            }
        }
    }
}

/// Returns the entry that a slot points to, if it is not torn.
fn find<'k>(
    shard: &Shard<'_>,
    at: usize,
    slot: Slot,
    key_buffer: &'k mut [MaybeUninit<u8>],
) -> Option<KeyedEntry<'k>> {
    let state = slot.state()?;
    let ring = shard.ring_of(state)?;
    let record = ring.record(ring.position(slot)?)?;
    if record.slot != at || is_torn(record.first) {
        return None;
    }
    let entry = Entry {
        record,
        state,
        slot,
        at,
    };
    let key = ring.key(&record).read(key_buffer.get_mut(..record.key)?);
    Some(KeyedEntry { entry, key })
}

const fn content(entry: &Entry) -> SlotContent {
    let record = (entry.record.allotted * WORD) as u64;
    if entry.record.is_placeholder() {
        return SlotContent::Placeholder { record };
    }
    SlotContent::Entry {
        record,
        payload: (entry.record.key + entry.record.value) as u64,
    }
}
