//! Process slots and the locks on them.
//!
//! A process that uses a cache file holds a lock on one byte of it, the byte of its process slot, as long as it lives.
//! Other processes ask the kernel for that lock to learn whether the process is alive. The bytes lie far beyond the end of
//! the file, where nothing is ever stored.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::process;
use std::sync::atomic::{AtomicU64 as ProcessLocal, Ordering};

use super::fork;
use super::layout::{Geometry, PROCESS_GENERATION, PROCESS_PID, WORD};
use super::lock::Owner;
use super::mapped_words::{AtomicU64, store};
use super::mapping::Mapping;
use super::os::{self, LockOwner};

const LOCKS: i64 = 1 << 50;
/// The byte that a process locks while it sets up, adopts, replaces or removes the file.
pub(super) const SETUP_LOCK: i64 = LOCKS - 1;
/// The first of the bytes of all process slots: `TO_THE_END` bytes, however many slots a version has.
pub(super) const SLOT_LOCKS: i64 = LOCKS;
/// The byte that a creator locks between naming the file and taking a slot in it. It is one of the bytes that a process
/// locks to remove an unused file, and no version has so many slots.
pub(super) const CREATOR_LOCK: i64 = LOCKS + (1 << 40);
/// The kernel's notation for all bytes that follow.
pub(super) const TO_THE_END: i64 = 0;
/// The fork depth of no process.
const NOWHERE: u64 = u64::MAX;

fn slot_lock(slot: usize) -> i64 {
    LOCKS.saturating_add(i64::try_from(slot).unwrap_or(i64::MAX))
}

/// Returns the pids of the living processes that have a slot, sorted.
pub(super) fn pids(file: &File, geometry: &Geometry) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for slot in 0..geometry.processes {
        if is_taken(file.as_raw_fd(), slot) {
            let mut word = [0; WORD];
            file.read_exact_at(&mut word, ((geometry.process(slot) + PROCESS_PID) * WORD) as u64)?;
            pids.extend(u32::try_from(u64::from_ne_bytes(word)));
        }
    }
    pids.sort_unstable();
    pids.dedup(); // a process may have the file mapped more than once
    Ok(pids)
}

/// Returns whether a process has taken a slot, other than through this descriptor.
pub(super) fn is_taken(fd: RawFd, slot: usize) -> bool {
    os::is_locked(fd, slot_lock(slot))
}

/// Returns whether any process has taken a slot, other than through this descriptor.
pub(super) fn any_is_taken(fd: RawFd, geometry: &Geometry) -> bool {
    let slots = i64::try_from(geometry.processes).unwrap_or(i64::MAX);
    os::any_is_locked(fd, slot_lock(0), slots)
}

/// Returns how often a slot has been taken.
pub(super) fn generation(slot: usize, mapping: &Mapping, geometry: &Geometry) -> u64 {
    let word: &AtomicU64 = &mapping.words()[geometry.process(slot) + PROCESS_GENERATION];
    word.load(Ordering::Acquire)
}

/// Enters this process in a slot whose byte it has locked; returns the owner that the slot has now.
pub(super) fn enter(slot: usize, mapping: &Mapping, geometry: &Geometry) -> Owner {
    let words = &mapping.words()[geometry.process(slot)..];
    let generation = words[PROCESS_GENERATION].load(Ordering::Relaxed).wrapping_add(1);
    store(&words[PROCESS_PID], u64::from(process::id()), Ordering::Relaxed);
    store(&words[PROCESS_GENERATION], generation, Ordering::Release);
    Owner::new(slot, generation)
}

/// A descriptor through which slots are locked.
#[derive(Clone, Copy)]
pub(super) struct SlotLocker {
    pub(super) fd: RawFd,
    pub(super) owner: LockOwner,
}

impl SlotLocker {
    /// Locks a slot if no other process has it; returns whether it did.
    pub(super) fn try_slot(self, slot: usize) -> io::Result<bool> {
        self.owner.try_lock(self.fd, slot_lock(slot))
    }

    /// Locks a slot that no living process has; returns its number, or `None` if all are taken.
    pub(super) fn try_any_slot(self, geometry: &Geometry) -> io::Result<Option<usize>> {
        // Processes start at different slots, so that each tries few of them.
        let first = usize::try_from(process::id()).unwrap_or_default() % geometry.processes;
        for slot in (first..geometry.processes).chain(0..first) {
            if self.try_slot(slot)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    pub(super) fn release_slot(self, slot: usize) {
        self.owner.unlock(self.fd, slot_lock(slot));
    }
}

/// A slot in the file that a process has taken.
#[derive(Debug)]
pub(super) struct ProcessSlot {
    pub(super) owner: Owner,
    pub(super) number: usize,
    pub(super) lock_owner: LockOwner,
    /// The fork depth of the process that took the slot.
    taken_at: u64,
    /// The same number as long as that process has the slot, otherwise `NOWHERE`.
    held_at: ProcessLocal,
}

impl ProcessSlot {
    /// Creates the slot of this process, which does not count as held yet.
    pub(super) fn new(number: usize, owner: Owner, lock_owner: LockOwner) -> Self {
        Self {
            owner,
            number,
            lock_owner,
            taken_at: fork::depth(),
            held_at: ProcessLocal::new(NOWHERE),
        }
    }

    /// Returns whether this process, and not a parent of it, has taken the slot.
    pub(super) fn is_taken_by_this_process(&self) -> bool {
        self.taken_at == fork::depth()
    }

    /// Returns whether this process holds the slot.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.held_at.load(Ordering::Relaxed) == fork::depth()
    }

    pub(super) fn set_held(&self) {
        self.held_at.store(self.taken_at, Ordering::Release);
    }

    /// Marks the slot as lost: its lock is gone. The next use of the file takes a slot again.
    pub(super) fn set_lost(&self) {
        self.held_at.store(NOWHERE, Ordering::Release);
    }

    /// Returns whether no other process has taken the slot since.
    pub(super) fn is_unchanged(&self, mapping: &Mapping, geometry: &Geometry) -> bool {
        self.owner.is_of(generation(self.number, mapping, geometry))
    }
}
