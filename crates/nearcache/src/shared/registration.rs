//! The registration of this process in a mapped file: taking a process slot, keeping it across forks and closed
//! descriptors, and asking whether other processes are alive.
//!
//! The lock on the slot's byte belongs to an open file description of this process. If the process may not open the file,
//! because it has changed its user, the lock belongs to the process itself.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64 as ProcessLocal, Ordering};

use super::descriptors::Descriptors;
use super::error::OpenError;
use super::fork::ThreadLock;
use super::layout::Geometry;
use super::lock::Owner;
use super::mapped_words::fence;
use super::mapping::Mapping;
use super::os::{self, LockOwner};
use super::process_slot::{self, CREATOR_LOCK, ProcessSlot, SlotLocker};
use super::push_list::PushList;
use super::setup_lock::SetupLock;

/// How long a process that could not register itself waits before it tries again only to count something, in milliseconds.
const RETRY_AFTER: u64 = 100;

/// The slots that this process, and those it was forked from, have taken in a file.
#[derive(Debug)]
pub(super) struct Registration {
    path: PathBuf,
    pub(super) descriptors: Descriptors,
    opened_as: u32,
    /// Held while a slot is taken or checked.
    changing: ThreadLock,
    /// All slots that were taken; the first one is the latest.
    slots: PushList<ProcessSlot>,
    /// When a slot could not be taken last, by the coarse clock.
    failed_at: ProcessLocal,
}

impl Registration {
    /// Prepares the registration in a file that is about to be mapped.
    pub(super) fn new(path: PathBuf, file: File) -> io::Result<Self> {
        Ok(Self {
            path,
            descriptors: Descriptors::new(file)?,
            opened_as: os::user(),
            changing: ThreadLock::default(),
            slots: PushList::new(),
            failed_at: ProcessLocal::new(0),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the user that this process ran as when it opened the file.
    pub(super) const fn opened_as(&self) -> u32 {
        self.opened_as
    }

    /// Releases the lock of a creator, if this process created the file: its slot protects the file now.
    pub(super) fn release_creator_lock(&self) {
        if let Some(fd) = self.descriptors.inherited() {
            LockOwner::Description.unlock(fd, CREATOR_LOCK);
        }
    }

    /// Opens the mapped file once more, whatever its path names now.
    pub(super) fn reopen(&self) -> io::Result<File> {
        self.descriptors.reopen(&self.path)
    }

    /// Returns the slot that this process holds, if any.
    #[inline]
    pub(super) fn current(&self) -> Option<&ProcessSlot> {
        self.slots.first().filter(|slot| slot.is_held())
    }

    /// Returns the slot that this process has taken last, even if it does not hold it any longer.
    fn taken_by_this_process(&self) -> Option<&ProcessSlot> {
        self.slots.first().filter(|slot| slot.is_taken_by_this_process())
    }
}

/// Taking a slot.
impl Registration {
    /// Returns whether a process without a slot should try to take one only to count something. Returns `false` for a while
    /// after a failure, because an attempt makes system calls.
    pub(super) fn may_retry(&self) -> bool {
        let since = os::coarse_millis().wrapping_sub(self.failed_at.load(Ordering::Relaxed));
        since >= RETRY_AFTER
    }

    /// Returns the slot of this process, taken if it has none. After it is taken, so that other processes can see that it
    /// is, `is_fit` is called; if it returns `false`, the slot is released and the result is `None`.
    pub(super) fn take(
        &self,
        mapping: &Mapping,
        geometry: &Geometry,
        is_fit: impl Fn() -> bool,
    ) -> Result<Option<&ProcessSlot>, OpenError> {
        let _changing = self.changing.lock();
        if let Some(slot) = self.current() {
            return Ok(Some(slot));
        }
        let taken = self.slot_locker().and_then(|locker| {
            let slot = self.lock_slot(locker, mapping, geometry)?;
            Ok((locker, slot))
        });
        let (locker, (number, owner)) = taken.inspect_err(|_| {
            self.failed_at.store(os::coarse_millis(), Ordering::Relaxed);
        })?;
        let slot = self.slots.push(ProcessSlot::new(number, owner, locker.owner));
        let slot = slot.inspect_err(|_| locker.release_slot(number))?;
        fence(Ordering::SeqCst);
        if !is_fit() {
            locker.release_slot(number);
            return Ok(None);
        }
        slot.set_held();
        Ok(Some(slot))
    }

    /// Opens the descriptor through which a slot is to be locked.
    fn slot_locker(&self) -> Result<SlotLocker, OpenError> {
        let refused = match self.descriptors.open_own(&self.path) {
            Ok(fd) => {
                let owner = LockOwner::Description;
                return Ok(SlotLocker { fd, owner });
            }
            Err(error) => error,
        };
        // A lock of the process would be released if other code closed another descriptor of the file. A process that may
        // not open the file has none.
        let denied = refused.kind() == ErrorKind::PermissionDenied;
        if let Some(fd) = self.descriptors.inherited().filter(|_| denied) {
            let owner = LockOwner::Process;
            return Ok(SlotLocker { fd, owner });
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

    /// Locks a slot: the one that this process had before its descriptors were closed, if no other process has taken it
    /// since, or else a free one.
    fn lock_slot(
        &self,
        locker: SlotLocker,
        mapping: &Mapping,
        geometry: &Geometry,
    ) -> Result<(usize, Owner), OpenError> {
        let failed = |error| self.failed(error);
        if let Some(lost) = self.taken_by_this_process()
            && locker.try_slot(lost.number).map_err(failed)?
        {
            if lost.is_unchanged(mapping, geometry) {
                return Ok((lost.number, lost.owner));
            }
            locker.release_slot(lost.number);
        }
        let mut free = locker.try_any_slot(geometry).map_err(failed)?;
        if free.is_none() && self.wait_for_remover()? {
            free = locker.try_any_slot(geometry).map_err(failed)?;
        }
        let number = free.ok_or_else(|| OpenError::TooManyProcesses {
            path: self.path.clone(),
            processes: geometry.processes,
        })?;
        Ok((number, process_slot::enter(number, mapping, geometry)))
    }

    /// Waits for a process that is removing the file: it holds the locks of all slots for a moment, and the set-up lock
    /// meanwhile. Returns `false` if this process may not open the file to see that lock.
    fn wait_for_remover(&self) -> Result<bool, OpenError> {
        let Ok(file) = self.reopen() else {
            return Ok(false);
        };
        SetupLock::take(&self.path, &file).map(|_| true)
    }
}

/// Checking this process's slot, and those of others.
impl Registration {
    /// Returns whether this process has lost its slot; the next use of the file then takes one. Opens the inherited
    /// descriptor again if it was closed. A few system calls.
    pub(super) fn has_lost_slot(&self, mapping: &Mapping, geometry: &Geometry) -> bool {
        let _changing = self.changing.lock();
        let Some(slot) = self.taken_by_this_process() else {
            return false;
        };
        let fd = match slot.lock_owner {
            LockOwner::Description => self.descriptors.own(),
            LockOwner::Process => self.descriptors.inherited(),
        };
        let owner = slot.lock_owner;
        // To lock a byte that the same owner has locked changes nothing.
        let is_locked = |fd| SlotLocker { fd, owner }.try_slot(slot.number).unwrap_or(false);
        let is_held = slot.is_held() && fd.is_some_and(is_locked) && slot.is_unchanged(mapping, geometry);
        if !is_held {
            slot.set_lost();
        }
        // Without it this process works as before. A child that cannot open the file reports that itself.
        self.descriptors.restore_inherited(&self.path).ok();
        !is_held
    }

    /// Returns whether any process has a slot; this process must have none. Returns `true` if that cannot be determined.
    pub(super) fn any_is_taken(&self, geometry: &Geometry) -> bool {
        let fd = self.descriptors.any();
        fd.is_none_or(|fd| process_slot::any_is_taken(fd, geometry))
    }

    /// Returns whether the owner of a lock is alive. `me` is the slot of this process. Returns `true` if that cannot be
    /// determined.
    pub(super) fn is_alive(
        &self,
        me: &ProcessSlot,
        owner: Owner,
        mapping: &Mapping,
        geometry: &Geometry,
    ) -> bool {
        if owner == me.owner {
            return true;
        }
        let Some(slot) = owner.slot().filter(|slot| *slot < geometry.processes) else {
            return false; // no process stores such a word
        };
        if !owner.is_of(process_slot::generation(slot, mapping, geometry)) {
            return false;
        }
        let Some(fd) = self.descriptors.any() else {
            me.set_lost(); // the descriptor that held this process's lock was closed
            return true;
        };
        // The kernel does not report the locks of this very descriptor. The slot of this process in an earlier generation
        // has no owner any longer.
        slot != me.number && process_slot::is_taken(fd, slot)
    }
}
