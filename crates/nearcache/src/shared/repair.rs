//! After a reboot a file on disk may hold pages of different times. It is believed record by record.
//!
//! The caller holds the set-up lock, and whoever else opens the file waits for it.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::error::OpenError;
use super::file::SetupLock;
use super::index::{Kind, Slot};
use super::layout::{BOOT, BUCKET, LOCK, SHARD_EPOCH};
use super::process::ProcessSlot;
use super::record::{Record, is_torn};
use super::ring::Ring;
use super::shard::Shard;
use super::store::Store;
use super::words::{fence, put};
use crate::error::OutOfMemory;
use crate::memory::try_with_capacity;

/// The boot of whoever cannot tell which it is, having no `/proc`.
pub(super) const UNKNOWN: [u64; 2] = [0; 2];
/// Stands for the boot while somebody finds out whether the file is in use, and repairs it.
const IN_REPAIR: [u64; 2] = [u64::MAX; 2];
/// How often others may come between.
const TRIES: u32 = 100;

fn recorded(store: &Store) -> [u64; 2] {
    let words = &store.map.words()[BOOT..];
    [words[0].load(Ordering::Acquire), words[1].load(Ordering::Acquire)]
}

fn record(store: &Store, boot: [u64; 2]) {
    for (word, half) in store.map.words()[BOOT..].iter().zip(boot) {
        put(word, half, Ordering::Release);
    }
}

/// Takes a slot for this process, in a file that is fit for use.
///
/// A repair must not begin while any process uses the file. The repairer first stores `IN_REPAIR`, then looks for slots that
/// are taken; a process that enters first takes a slot, then loads the boot again. One of the two sees the other.
pub(super) fn enter(store: &Store, boot: [u64; 2]) -> Result<&ProcessSlot, OpenError> {
    for _ in 0..TRIES {
        let seen = after_reboot(store, boot)?;
        let is_fit = || recorded(store) == seen;
        let taken = store.registration.take(&store.map, &store.geometry, is_fit)?;
        if let Some(slot) = taken {
            return Ok(slot);
        }
    }
    Err(OpenError::Busy {
        path: store.registration.path().into(),
    })
}

/// Checks the file if it was last set up before this boot, or may have been; returns what it bears then.
///
/// A process to which the kernel does not tell the boot takes a slot in use as proof that the file was set up in this one.
fn after_reboot(store: &Store, boot: [u64; 2]) -> Result<[u64; 2], OpenError> {
    let is_known = |found| found == boot && boot != UNKNOWN;
    let seen = recorded(store);
    if is_known(seen) {
        return Ok(seen);
    }
    // Threads, and children, share the mapped file and with it its locks: they have to keep each other out too.
    let path = store.registration.path();
    let file = store.registration.reopen().map_err(|source| OpenError::Io {
        action: "open",
        path: path.into(),
        source,
    })?;
    let _lock = SetupLock::take(path, &file)?;
    let found = recorded(store);
    if is_known(found) {
        return Ok(found);
    }
    record(store, IN_REPAIR);
    fence(Ordering::SeqCst);
    let in_use = store.registration.any_is_taken(&store.geometry);
    if !in_use {
        let epoch = store.epoch().load(Ordering::Relaxed);
        for number in 0..store.geometry.shards {
            // If this fails, the next process that opens the file starts the repair again.
            repair(&store.shard(number), epoch)?;
        }
    }
    let known_to_others = in_use && boot == UNKNOWN && found != IN_REPAIR;
    let now = if known_to_others { found } else { boot };
    record(store, now);
    Ok(now)
}

/// Keeps what can be believed of a shard.
fn repair(shard: &Shard<'_>, epoch: u64) -> Result<(), OutOfMemory> {
    put(&shard.control[LOCK], 0, Ordering::Relaxed);
    for ring in [&shard.small, &shard.main] {
        if ring.used() > ring.capacity() || shard.control[SHARD_EPOCH].load(Ordering::Relaxed) != epoch {
            ring.reset();
        }
    }
    put(&shard.control[SHARD_EPOCH], epoch, Ordering::Relaxed);
    // The tail must go beyond whatever cannot be walked.
    let mut kept: Vec<(Kind, u64)> = try_with_capacity(shard.index.len())?;
    for at in 0..shard.index.len() {
        kept.extend(believable(shard, at)?.map(|(kind, record)| (kind, record.position)));
    }
    kept.sort_unstable_by_key(|(_, position)| *position);
    for ring in [&shard.small, &shard.main] {
        let own = kept.iter().filter(|(kind, _)| kind.is_in(ring.kind));
        let mut positions = try_with_capacity(kept.len())?;
        positions.extend(own.map(|(_, position)| *position));
        move_beyond_gaps(ring, &positions);
    }
    // A lock taken from the dead has entries and live words counted anew: nobody's, in the generation 0.
    put(&shard.control[LOCK], super::lock::NOBODY, Ordering::Release);
    Ok(())
}

/// The record that a slot points to, if all of it fits; else the slot is emptied.
fn believable(shard: &Shard<'_>, at: usize) -> Result<Option<(Kind, Record)>, OutOfMemory> {
    let slot = Slot(shard.index[at].load(Ordering::Relaxed));
    let Some((kind, ring)) = slot.kind().and_then(|kind| Some((kind, shard.ring(kind)?))) else {
        return Ok(None);
    };
    let mut record = ring.held(slot).and_then(|position| ring.record(position));
    if let Some(found) = &record
        && !is_whole(shard, ring, found, at, slot)?
    {
        record = None;
    }
    if record.is_none() {
        put(&shard.index[at], 0, Ordering::Relaxed);
    }
    Ok(record.map(|record| (kind, record)))
}

fn is_whole(
    shard: &Shard<'_>,
    ring: &Ring<'_>,
    record: &Record,
    at: usize,
    slot: Slot,
) -> Result<bool, OutOfMemory> {
    if is_torn(record.first) || record.slot != at {
        return Ok(false);
    }
    let (key, value) = read(ring, record)?;
    let key = shard.hashing.key(&key);
    let buckets = key.buckets(shard.index.len() / BUCKET);
    Ok(key.tag() == slot.tag()
        && buckets.contains(&(at / BUCKET))
        && shard.hashing.checksum(key.hash, &value, record.tag) == record.checksum)
}

/// A record's key and value.
pub(super) fn read(ring: &Ring<'_>, record: &Record) -> Result<(Vec<u8>, Vec<u8>), OutOfMemory> {
    let key = filled(record.key, |room| ring.copy_key(record, room))?;
    let value = filled(record.value, |room| ring.copy_value(record, room))?;
    Ok((key, value))
}

fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<u8>])) -> Result<Vec<u8>, OutOfMemory> {
    let mut bytes = try_with_capacity(len)?;
    bytes.resize(len, 0);
    // SAFETY: initialised bytes may be taken for ones that may be uninitialised, as long as none is made so; `fill` only
    // ever writes initialised ones.
    #[allow(unsafe_code)]
    fill(unsafe { &mut *(&raw mut *bytes.as_mut_slice() as *mut [MaybeUninit<u8>]) });
    Ok(bytes)
}

/// Walks from the tail to the head; where that is not possible, the tail goes to the next record that is kept. Their
/// positions ascend.
fn move_beyond_gaps(ring: &Ring<'_>, kept: &[u64]) {
    let (mut at, head) = (ring.tail(), ring.head());
    while at != head {
        let left = head.wrapping_sub(at);
        match ring.record(at).filter(|record| record.allotted as u64 <= left) {
            Some(record) if record.allotted > 0 => at = at.wrapping_add(record.allotted as u64),
            _ => {
                let next = kept.partition_point(|position| *position <= at);
                at = kept.get(next).copied().unwrap_or(head);
                ring.move_tail(at);
            }
        }
    }
}
