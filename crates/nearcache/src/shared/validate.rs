//! A full check of what holds in every shard, for tests and for who doubts a file.

use std::collections::HashMap;
use std::time::Duration;

use super::error::SharedError;
use super::hashing::Keyed;
use super::index::Kind;
use super::layout::BUCKET;
use super::record::{LEAD, is_torn};
use super::repair::read;
use super::ring::Ring;
use super::store::Store;
use super::writer::Writer;
use crate::clock::Clock;
use crate::error::OutOfMemory;

/// What a full check counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries that can be read, dead ones included that have not been noticed yet.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub payload_bytes: u64,
    /// Bytes of their records, all told.
    pub record_bytes: u64,
    /// Entries that a killed writer left half written; they read as a miss.
    pub torn: u64,
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

/// Checks all shards, one after the other, each under its lock.
pub(super) fn validate<C: Clock>(
    store: &Store,
    clock: &C,
    patience: Duration,
) -> Result<Report, ValidateError> {
    let mut report = Report::default();
    for number in 0..store.geometry.shards {
        let writer = store.lock_for(store.shard(number), clock, patience)?;
        check(&writer, store, number, &mut report).map_err(|fault| match fault {
            Fault::Broken(what) => ValidateError::Broken { shard: number, what },
            Fault::OutOfMemory => ValidateError::Cache(OutOfMemory.into()),
        })?;
    }
    Ok(report)
}

/// Why a shard did not pass.
enum Fault {
    Broken(String),
    OutOfMemory,
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

fn check<C: Clock>(
    writer: &Writer<'_, C>,
    store: &Store,
    number: usize,
    report: &mut Report,
) -> Result<(), Fault> {
    let before = report.entries + report.torn;
    let mut keys = HashMap::new();
    let mut slots = 0;
    for ring in [&writer.shard.small, &writer.shard.main] {
        let mut live = 0;
        walk(writer, ring, |at, words, torn| {
            live += words as u64;
            check_entry(writer, store, number, at, torn, &mut keys, report)
        })?;
        if live != ring.live() {
            return Err(Fault::Broken(format!(
                "{:?}: {live} live words, {} counted",
                ring.kind,
                ring.live()
            )));
        }
    }
    for at in 0..writer.shard.index.len() {
        let slot = writer.slot(at);
        let held = slot
            .kind()
            .filter(|kind| *kind != Kind::Ghost)
            .and_then(|kind| writer.shard.ring(kind))
            .is_some_and(|ring| ring.held(slot).is_some());
        slots += u64::from(held);
    }
    let walked = report.entries + report.torn - before;
    if walked != slots || walked != writer.entries() {
        let counted = writer.entries();
        return Err(Fault::Broken(format!(
            "{walked} entries walked, {slots} slots point to some, {counted} counted"
        )));
    }
    Ok(())
}

/// Goes from tail to head; tells of every record that its slot points to: the slot, its words, whether it is torn.
fn walk<C: Clock>(
    writer: &Writer<'_, C>,
    ring: &Ring<'_>,
    mut visit: impl FnMut(usize, usize, bool) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (mut at, head) = (ring.tail(), ring.head());
    if ring.used() > ring.capacity() {
        return Err(Fault::Broken(format!(
            "{:?}: from {at} to {head} is more than the ring",
            ring.kind
        )));
    }
    while at != head {
        let left = head.wrapping_sub(at);
        let record = ring
            .record(at)
            .filter(|record| record.allotted >= LEAD && record.allotted as u64 <= left)
            .ok_or_else(|| format!("{:?}: no record at {at}", ring.kind))?;
        if record.slot >= writer.shard.index.len() {
            return Err(Fault::Broken(format!(
                "{:?}: the record at {at} is of slot {}",
                ring.kind, record.slot
            )));
        }
        let entry = writer.entry_at(record.slot);
        if entry.is_some_and(|entry| entry.kind.is_in(ring.kind) && entry.record.position == at) {
            visit(record.slot, record.allotted, is_torn(record.first))?;
        }
        at = at.wrapping_add(record.allotted as u64);
    }
    Ok(())
}

fn check_entry<C: Clock>(
    writer: &Writer<'_, C>,
    store: &Store,
    number: usize,
    at: usize,
    torn: bool,
    keys: &mut HashMap<Vec<u8>, usize>,
    report: &mut Report,
) -> Result<(), Fault> {
    if torn {
        report.torn += 1;
        return Ok(());
    }
    let entry = writer
        .entry_at(at)
        .ok_or_else(|| "an entry vanished under the lock".to_owned())?;
    let ring = writer
        .shard
        .ring(entry.kind)
        .ok_or_else(|| "an entry of no ring".to_owned())?;
    let record = entry.record;
    let (key, value) = read(ring, &record)?;
    let keyed: Keyed<'_> = store.hashing.key(&key);
    if keyed.shard(store.geometry.shards) != number {
        return Err(Fault::Broken(format!("the key {key:?} belongs to another shard")));
    }
    if !keyed.buckets(store.geometry.buckets).contains(&(at / BUCKET)) || keyed.tag() != entry.slot.tag() {
        return Err(Fault::Broken(format!(
            "the key {key:?} does not belong into slot {at}"
        )));
    }
    if store.hashing.checksum(keyed.hash, &value, record.tag) != record.checksum {
        return Err(Fault::Broken(format!(
            "the value under {key:?} does not fit its checksum"
        )));
    }
    report.payload_bytes += (key.len() + value.len()) as u64;
    keys.try_reserve(1).map_err(OutOfMemory::from)?;
    if let Some(other) = keys.insert(key, at) {
        return Err(Fault::Broken(format!("a key is in slots {other} and {at}")));
    }
    report.entries += 1;
    report.record_bytes += record.allotted as u64 * 8;
    Ok(())
}
