//! Adopting a file after a reboot: its pages on disk may be of different times.
//!
//! The process that adopts a file holds the set-up lock, and others that open the file wait for it. That takes as long as a
//! few writes, whatever the file's size, since no entry is looked at.

use std::sync::atomic::Ordering;

use super::error::OpenError;
use super::file::SetupLock;
use super::layout::{BOOT, HOLES, LOCK, MOVING, SHARD, SHARD_EPOCH};
use super::process::ProcessSlot;
use super::recount;
use super::ring::Ring;
use super::shard::Shard;
use super::store::Store;
use super::words::{fence, put};

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
            adopt(&store.shard(number), epoch);
        }
    }
    let known_to_others = in_use && boot == UNKNOWN && found != IN_REPAIR;
    let now = if known_to_others { found } else { boot };
    record(store, now);
    Ok(now)
}

/// Makes a shard usable whose pages may be of different times. Costs the same at any size: readers believe a record only
/// if all of it fits, and writers remove the entries that do not, a few at each write (`recount.rs`).
fn adopt(shard: &Shard<'_>, epoch: u64) {
    let control = shard.control;
    let is_outdated = control[SHARD_EPOCH].load(Ordering::Relaxed) != epoch;
    for ring in [&shard.small, &shard.main] {
        if !ring.is_sound() {
            ring.restart();
        } else if is_outdated {
            ring.reset();
        } else {
            adopt_ring(ring);
        }
    }
    for hint in &control[HOLES..SHARD] {
        put(hint, 0, Ordering::Relaxed);
    }
    put(&control[MOVING], 0, Ordering::Relaxed);
    put(&control[SHARD_EPOCH], epoch, Ordering::Relaxed);
    recount::start_scrub(control);
    put(&control[LOCK], 0, Ordering::Release);
}

/// Takes the whole ring for used. Records may lie beyond the head, if its page is older than theirs: readers would find
/// them there, and writers must not write over them unawares.
fn adopt_ring(ring: &Ring<'_>) {
    let head = ring.tail().advanced(ring.capacity());
    ring.suspect_before(head);
    ring.move_head(head);
}
