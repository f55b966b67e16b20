//! Adoption of a file after a reboot, when its pages may be of different times.
//!
//! The header records the boot in which the file was last used. The first process that opens the file in another boot
//! adopts it: it resets the control words and starts a scrub, which later writes carry out. That takes as long as a few
//! writes, whatever the size of the file, because no entry is examined.
//!
//! A file must not be adopted while any process uses it. The adopter holds the set-up lock, stores `ADOPTING` as the boot,
//! and then looks for process slots that are taken. A process that enters takes a slot first, and then loads the boot
//! again. So at least one of the two sees the other.

use std::fs;
use std::sync::atomic::Ordering;

use super::cache_file::CacheFile;
use super::error::OpenError;
use super::layout::{BOOT, FREE_SPACE, LOCK, MOVING, SHARD, SHARD_EPOCH};
use super::mapped_words::{fence, store};
use super::process_slot::ProcessSlot;
use super::recount;
use super::ring::Ring;
use super::setup_lock::SetupLock;
use super::shard::Shard;

/// The id of the boot for a process that cannot read it, because it has no `/proc`.
pub(super) const UNKNOWN: [u64; 2] = [0; 2];
/// The recorded boot while a process finds out whether the file is in use, and adopts it.
const ADOPTING: [u64; 2] = [u64::MAX; 2];
/// How often this process tries to register while others change the recorded boot.
const TRIES: u32 = 100;

/// Returns the kernel's id of this boot; [`UNKNOWN`] if it cannot be read.
pub(super) fn boot_id() -> [u64; 2] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |from| {
        digits
            .get(from..from + 16)
            .and_then(|half| u64::from_str_radix(half, 16).ok())
            .unwrap_or_default()
    };
    [half(0), half(16)]
}

fn recorded_boot(file: &CacheFile) -> [u64; 2] {
    let words = &file.mapping.words()[BOOT..];
    [words[0].load(Ordering::Acquire), words[1].load(Ordering::Acquire)]
}

fn record_boot(file: &CacheFile, boot: [u64; 2]) {
    for (word, half) in file.mapping.words()[BOOT..].iter().zip(boot) {
        store(word, half, Ordering::Release);
    }
}

/// Takes a process slot for this process. Adopts the file first if it was last used in another boot.
pub(super) fn register(file: &CacheFile, boot: [u64; 2]) -> Result<&ProcessSlot, OpenError> {
    for _ in 0..TRIES {
        let seen = adopt_if_needed(file, boot)?;
        let is_fit = || recorded_boot(file) == seen;
        let taken = file.registration.take(&file.mapping, &file.geometry, is_fit)?;
        if let Some(slot) = taken {
            return Ok(slot);
        }
    }
    Err(OpenError::Busy {
        path: file.registration.path().into(),
    })
}

/// Adopts the file if it was, or may have been, last used in another boot; returns the boot that is recorded then.
///
/// If the boot is unknown, a slot that is taken proves that the file was used in this boot.
fn adopt_if_needed(file: &CacheFile, boot: [u64; 2]) -> Result<[u64; 2], OpenError> {
    let is_this_boot = |found| found == boot && boot != UNKNOWN;
    let seen = recorded_boot(file);
    if is_this_boot(seen) {
        return Ok(seen);
    }
    // Opened again, because threads and children share the mapped file's description, and with it the lock. They must
    // exclude each other too.
    let path = file.registration.path();
    let reopened = file.registration.reopen().map_err(|source| OpenError::Io {
        action: "open",
        path: path.into(),
        source,
    })?;
    let _lock = SetupLock::take(path, &reopened)?;
    let found = recorded_boot(file);
    if is_this_boot(found) {
        return Ok(found);
    }
    record_boot(file, ADOPTING);
    fence(Ordering::SeqCst);
    let in_use = file.registration.any_is_taken(&file.geometry);
    if !in_use {
        let epoch = file.epoch().load(Ordering::Relaxed);
        for number in 0..file.geometry.shards {
            adopt(&file.shard(number), epoch);
        }
    }
    let is_known_to_others = in_use && boot == UNKNOWN && found != ADOPTING;
    let now = if is_known_to_others { found } else { boot };
    record_boot(file, now);
    Ok(now)
}

/// Makes a shard usable whose pages may be of different times. Takes the same time at any size: readers believe a record
/// only if all of it is consistent, and the scrub removes the entries that are not.
fn adopt(shard: &Shard<'_>, epoch: u64) {
    let control = shard.control;
    let is_outdated = control[SHARD_EPOCH].load(Ordering::Relaxed) != epoch;
    for ring in [&shard.small, &shard.main] {
        if !ring.is_valid() {
            ring.restart();
        } else if is_outdated {
            ring.clear();
        } else {
            adopt_ring(ring);
        }
    }
    for hint in &control[FREE_SPACE..SHARD] {
        store(hint, 0, Ordering::Relaxed);
    }
    store(&control[MOVING], 0, Ordering::Relaxed);
    store(&control[SHARD_EPOCH], epoch, Ordering::Relaxed);
    recount::start_scrub(control);
    store(&control[LOCK], 0, Ordering::Release);
}

/// Moves the head to the end of the ring, and makes all words suspect. If the page of the head is older than the pages of
/// the records, some records lie beyond the head: readers would find them, and writers would overwrite them unnoticed.
fn adopt_ring(ring: &Ring<'_>) {
    let head = ring.tail().advanced(ring.capacity());
    ring.suspect_before(head);
    ring.move_head(head);
}
