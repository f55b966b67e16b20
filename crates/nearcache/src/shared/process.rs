//! The registration of this process in the file: a slot whose byte it keeps locked as long as it lives.
//!
//! Others ask the kernel for that lock to learn whether the process lives. The lock belongs to an open file description of
//! the process, and where the process may not open the file, having changed its user, to the process itself.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64 as ProcessLocal, Ordering};

use super::descriptors::Descriptors;
use super::error::OpenError;
use super::file::SetupLock;
use super::fork::{self, ThreadLock};
use super::layout::{Geometry, PROCESS_GENERATION, PROCESS_PID, WORD};
use super::lock::Owner;
use super::map::Map;
use super::os::{self, FileId, LockOwner};
use super::words::{AtomicU64, fence, put};
use crate::error::OutOfMemory;
use crate::memory::try_box;

/// Locks lie far beyond the file's bytes.
const LOCKS: i64 = 1 << 50;
/// The lock of the process that sets the file up, or replaces it.
pub(super) const SETUP_LOCK: i64 = LOCKS - 1;
/// The locks of all process slots, however many a version has: `TO_THE_END` bytes from here on.
pub(super) const SLOT_LOCKS: i64 = LOCKS;
/// The lock of a creator between naming the file and taking a slot in it. It is one of the bytes that a process locks to
/// remove an unused file, and no version has so many slots.
pub(super) const CREATOR_LOCK: i64 = LOCKS + (1 << 40);
/// What the kernel calls the number of all bytes that follow.
pub(super) const TO_THE_END: i64 = 0;
/// How long a process that could not register counts nothing before it tries again, in milliseconds.
const RETRY_AFTER: u64 = 100;
/// No process has this depth.
const NOWHERE: u64 = u64::MAX;

fn slot_lock(slot: usize) -> i64 {
    LOCKS.saturating_add(i64::try_from(slot).unwrap_or(i64::MAX))
}

/// The pids of the living processes that have a slot, sorted.
pub(super) fn pids(file: &File, geometry: &Geometry) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for slot in 0..geometry.processes {
        if os::byte_is_locked(file.as_raw_fd(), slot_lock(slot)) {
            let mut word = [0; WORD];
            file.read_exact_at(&mut word, ((geometry.process(slot) + PROCESS_PID) * WORD) as u64)?;
            pids.extend(u32::try_from(u64::from_ne_bytes(word)));
        }
    }
    pids.sort_unstable();
    pids.dedup(); // a process may have the file mapped more than once
    Ok(pids)
}

/// A slot in the file that a process took.
#[derive(Debug)]
pub(super) struct ProcessSlot {
    pub(super) owner: Owner,
    pub(super) number: usize,
    lock_owner: LockOwner,
    /// The depth of the process that took the slot.
    taken_in: u64,
    /// The same as long as the process has the slot, else `NOWHERE`.
    held_in: ProcessLocal,
    before: *mut ProcessSlot,
}

/// The slots of this process, and of those it was forked from.
#[derive(Debug)]
pub(super) struct Registration {
    path: PathBuf,
    descriptors: Descriptors,
    opened_as: u32,
    /// Held while a slot is taken or checked.
    changing: ThreadLock,
    latest: AtomicPtr<ProcessSlot>,
    /// When taking a slot failed last, by the coarse clock.
    failed_at: ProcessLocal,
}

// SAFETY: slots are made by one thread, published once, changed only in atomics, and freed with the registration.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

/// A descriptor to lock bytes through.
#[derive(Clone, Copy)]
struct Lock {
    fd: RawFd,
    owner: LockOwner,
}

impl Lock {
    fn try_slot(self, slot: usize) -> io::Result<bool> {
        self.owner.try_lock(self.fd, slot_lock(slot))
    }

    /// Locks a slot that no living process has; returns its number, or `None` if all are taken.
    fn try_any_slot(self, geometry: &Geometry) -> io::Result<Option<usize>> {
        // Each process starts at another slot, so that it tries few.
        let first = usize::try_from(process::id()).unwrap_or_default() % geometry.processes;
        for slot in (first..geometry.processes).chain(0..first) {
            if self.try_slot(slot)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    fn release_slot(self, slot: usize) {
        self.owner.unlock(self.fd, slot_lock(slot));
    }
}

impl Registration {
    /// For a file that is about to be mapped.
    pub(super) fn new(path: PathBuf, file: File) -> io::Result<Self> {
        Ok(Self {
            path,
            descriptors: Descriptors::new(file)?,
            opened_as: os::user(),
            changing: ThreadLock::default(),
            latest: AtomicPtr::new(ptr::null_mut()),
            failed_at: ProcessLocal::new(0),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has no name any longer, as far as the file system tells.
    pub(super) fn is_unlinked(&self) -> bool {
        let status = self.descriptors.any().and_then(|fd| os::status(fd).ok());
        status.is_some_and(|found| found.st_nlink == 0)
    }

    /// Releases the lock of a creator, if this process created the file: its slot protects the file now.
    pub(super) fn release_creator_lock(&self) {
        if let Some(fd) = self.descriptors.inherited() {
            LockOwner::Description.unlock(fd, CREATOR_LOCK);
        }
    }

    /// The user that this process acted as when it opened the file.
    pub(super) const fn opened_as(&self) -> u32 {
        self.opened_as
    }

    /// The slot of this very process, if it has one.
    #[inline]
    pub(super) fn current(&self) -> Option<&ProcessSlot> {
        let slot = self.latest()?;
        (slot.held_in.load(Ordering::Relaxed) == fork::depth()).then_some(slot)
    }

    /// The slot taken last, perhaps by a parent of this process.
    #[inline]
    fn latest(&self) -> Option<&ProcessSlot> {
        // SAFETY: null, or published with all that it holds and freed only when `self` is dropped.
        unsafe { self.latest.load(Ordering::Acquire).as_ref() }
    }

    /// The slot that this process took last, whether or not it still holds it.
    fn taken_by_this_process(&self) -> Option<&ProcessSlot> {
        self.latest().filter(|slot| slot.taken_in == fork::depth())
    }

    /// Whether a process without a slot should try to take one now. False for a while after it failed: a caller that can
    /// do without one should not pay for an attempt each time.
    pub(super) fn may_try(&self) -> bool {
        let since = os::coarse_millis().wrapping_sub(self.failed_at.load(Ordering::Relaxed));
        since >= RETRY_AFTER
    }

    /// The slot of this process, taken if it has none; none if the file turns out unfit once the slot is taken, and others
    /// can see that it is.
    pub(super) fn take(
        &self,
        map: &Map,
        geometry: &Geometry,
        is_fit: impl Fn() -> bool,
    ) -> Result<Option<&ProcessSlot>, OpenError> {
        let _changing = self.changing.lock();
        if let Some(slot) = self.current() {
            return Ok(Some(slot));
        }
        let taken = self.lock_descriptor().and_then(|lock| {
            let owner = self.lock_slot(lock, map, geometry)?;
            Ok((lock, owner))
        });
        let (lock, (number, owner)) = taken.inspect_err(|_| {
            self.failed_at.store(os::coarse_millis(), Ordering::Relaxed);
        })?;
        let published = self.publish(ProcessSlot {
            owner,
            number,
            lock_owner: lock.owner,
            taken_in: fork::depth(),
            held_in: ProcessLocal::new(NOWHERE),
            before: self.latest.load(Ordering::Acquire),
        });
        let slot = published.inspect_err(|_| lock.release_slot(number))?;
        fence(Ordering::SeqCst);
        if !is_fit() {
            lock.release_slot(number);
            return Ok(None);
        }
        slot.held_in.store(slot.taken_in, Ordering::Release);
        Ok(Some(slot))
    }

    /// Makes a slot the latest one. The caller holds `changing`.
    fn publish(&self, slot: ProcessSlot) -> Result<&ProcessSlot, OutOfMemory> {
        let slot = Box::into_raw(try_box(slot)?);
        self.latest.store(slot, Ordering::Release);
        // SAFETY: made above, and freed only when `self` is dropped.
        Ok(unsafe { &*slot })
    }

    /// Opens what a slot's lock is to be taken through.
    fn lock_descriptor(&self) -> Result<Lock, OpenError> {
        let refused = match self.descriptors.open_own(&self.path) {
            Ok(fd) => {
                let owner = LockOwner::Description;
                return Ok(Lock { fd, owner });
            }
            Err(error) => error,
        };
        // A process that may not open the file cannot close another descriptor of it either, unknown to this code. That
        // would release the lock.
        let denied = refused.kind() == ErrorKind::PermissionDenied;
        if let Some(fd) = self.descriptors.inherited().filter(|_| denied) {
            let owner = LockOwner::Process;
            return Ok(Lock { fd, owner });
        }
        Err(self.failed(refused))
    }

    fn failed(&self, source: io::Error) -> OpenError {
        let (path, opened_as, user) = (self.path.clone(), self.opened_as, os::user());
        if source.kind() == ErrorKind::PermissionDenied && user != opened_as {
            return OpenError::UserChanged {
                path,
                opened_as,
                user,
            };
        }
        let action = "lock";
        OpenError::Io { action, path, source }
    }

    /// Locks a slot: the one that this process had before its descriptors were closed, if nobody took it since, else one
    /// that is free.
    fn lock_slot(&self, lock: Lock, map: &Map, geometry: &Geometry) -> Result<(usize, Owner), OpenError> {
        let failed = |error| self.failed(error);
        if let Some(lost) = self.taken_by_this_process()
            && lock.try_slot(lost.number).map_err(failed)?
        {
            if lost.is_unchanged(map, geometry) {
                return Ok((lost.number, lost.owner));
            }
            lock.release_slot(lost.number);
        }
        let mut free = lock.try_any_slot(geometry).map_err(failed)?;
        if free.is_none() && self.remover_has_finished()? {
            free = lock.try_any_slot(geometry).map_err(failed)?;
        }
        let number = free.ok_or_else(|| OpenError::TooManyProcesses {
            path: self.path.clone(),
            processes: geometry.processes,
        })?;
        let words = &map.words()[geometry.process(number)..];
        let generation = words[PROCESS_GENERATION].load(Ordering::Relaxed).wrapping_add(1);
        put(&words[PROCESS_PID], u64::from(process::id()), Ordering::Relaxed);
        put(&words[PROCESS_GENERATION], generation, Ordering::Release);
        Ok((number, Owner::new(number, generation)))
    }

    /// Waits for a process that removes the file: it holds the locks of all slots for a moment, and the set-up lock
    /// meanwhile. Returns false if this process may not open the file to see that lock.
    fn remover_has_finished(&self) -> Result<bool, OpenError> {
        let Ok(file) = self.reopen() else {
            return Ok(false);
        };
        SetupLock::take(&self.path, &file).map(|_| true)
    }

    /// Returns whether this process has lost its slot. Then the next use of the file takes one. Opens the inherited
    /// descriptor again if it was closed. A few system calls.
    pub(super) fn has_lost_slot(&self, map: &Map, geometry: &Geometry) -> bool {
        let _changing = self.changing.lock();
        let Some(slot) = self.taken_by_this_process() else {
            return false;
        };
        let fd = match slot.lock_owner {
            LockOwner::Description => self.descriptors.own(),
            LockOwner::Process => self.descriptors.inherited(),
        };
        let owner = slot.lock_owner;
        // To lock a byte again that the same owner has locked changes nothing.
        let is_locked = |fd| Lock { fd, owner }.try_slot(slot.number).unwrap_or(false);
        let is_held =
            self.current().is_some() && fd.is_some_and(is_locked) && slot.is_unchanged(map, geometry);
        if !is_held {
            slot.lose();
        }
        // Without it this process works as before; a child that cannot open the file then reports that itself.
        self.descriptors.restore_inherited(&self.path).ok();
        !is_held
    }

    /// Opens the mapped file once more, whatever its name is by now.
    pub(super) fn reopen(&self) -> io::Result<File> {
        self.descriptors.reopen(&self.path)
    }

    /// Whether any process has a slot; this process has none. True if that cannot be told.
    pub(super) fn any_is_taken(&self, geometry: &Geometry) -> bool {
        let slots = i64::try_from(geometry.processes).unwrap_or(i64::MAX);
        let is_taken = |fd| os::any_is_locked(fd, slot_lock(0), slots);
        self.descriptors.any().is_none_or(is_taken)
    }

    /// Whether the owner of a lock still lives; `me` does. True if that cannot be told.
    pub(super) fn is_alive(&self, me: &ProcessSlot, owner: Owner, map: &Map, geometry: &Geometry) -> bool {
        if owner == me.owner {
            return true;
        }
        let Some(slot) = owner.slot().filter(|slot| *slot < geometry.processes) else {
            return false; // no word that a process writes
        };
        if !owner.is_of(generation(slot, map, geometry)) {
            return false;
        }
        let Some(fd) = self.descriptors.any() else {
            me.lose(); // this process's lock is gone with the descriptor
            return true;
        };
        // The kernel does not report the locks of this very descriptor. This process's slot in its former generation has
        // no owner any longer.
        slot != me.number && os::byte_is_locked(fd, slot_lock(slot))
    }

    /// What the file system says of the file.
    pub(super) fn file_state(&self, bytes: u64) -> FileState {
        let id = self.descriptors.file_id();
        let (is_there, found) = match fs::symlink_metadata(&self.path) {
            Ok(there) => {
                let (device, inode) = (there.dev(), there.ino());
                (FileId { device, inode } == id, there.len())
            }
            // After a change of user the path may be out of reach: then the descriptor says whether the file has a name.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                match self.descriptors.any().and_then(|fd| os::status(fd).ok()) {
                    Some(open) => (open.st_nlink > 0, u64::try_from(open.st_size).unwrap_or_default()),
                    None => (true, bytes),
                }
            }
            Err(_) => (false, 0),
        };
        match (is_there, found) {
            (false, _) => FileState::Replaced,
            (true, found) if found < bytes => FileState::Truncated { bytes: found },
            (true, _) => FileState::Current,
        }
    }
}

fn generation(slot: usize, map: &Map, geometry: &Geometry) -> u64 {
    let word: &AtomicU64 = &map.words()[geometry.process(slot) + PROCESS_GENERATION];
    word.load(Ordering::Acquire)
}

impl ProcessSlot {
    /// Whether no other process has taken the slot since.
    fn is_unchanged(&self, map: &Map, geometry: &Geometry) -> bool {
        self.owner.is_of(generation(self.number, map, geometry))
    }

    fn lose(&self) {
        self.held_in.store(NOWHERE, Ordering::Release);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut slot = *self.latest.get_mut();
        while !slot.is_null() {
            // SAFETY: made by `Box::into_raw`, in the list once, and nobody holds a reference any longer.
            let this = unsafe { Box::from_raw(slot) };
            slot = this.before;
        }
    }
}

/// What has become of the file that a process has mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileState {
    /// Its path names it, and it is as it was made.
    Current,
    /// It was deleted, or its path names another file. It works for the processes that have it open.
    Replaced,
    /// It was made shorter. A process that touches what is missing is killed by `SIGBUS`.
    Truncated {
        /// Its bytes now.
        bytes: u64,
    },
    /// Something else was written over it: its header is not the one that was mapped.
    Overwritten,
}
