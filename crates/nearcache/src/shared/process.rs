//! This process's place in the file: a slot whose byte it keeps locked as long as it lives.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::error::OpenError;
use super::file::SetupLock;
use super::fork::{self, Uninherited};
use super::layout::{Geometry, PROCESS, PROCESS_GENERATION, PROCESS_PID, WORD};
use super::lock::Owner;
use super::map::Map;
use super::os;
use super::words::{AtomicU64, fence, put};

/// Locks lie far beyond the file's bytes.
const LOCKS: i64 = 1 << 50;
/// The lock of whoever sets the file up, or replaces it.
pub(super) const SETUP_LOCK: i64 = LOCKS - 1;
/// The locks of all process slots, however many a version has: `TO_THE_END` bytes from here on.
pub(super) const SLOT_LOCKS: i64 = LOCKS;
/// What the kernel calls the number of all bytes that follow.
pub(super) const TO_THE_END: i64 = 0;

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

/// Locks the byte of a slot that no living process has; returns the slot, or `None` if all are taken.
fn free_slot(fd: RawFd, geometry: &Geometry) -> io::Result<Option<usize>> {
    // Each process starts at another slot, so that it tries few.
    let first = usize::try_from(process::id()).unwrap_or_default() % geometry.processes;
    for slot in (first..geometry.processes).chain(0..first) {
        if os::try_lock_byte(fd, slot_lock(slot))? {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// A slot taken by this process.
#[derive(Debug)]
pub(super) struct Place {
    depth: u64,
    pub(super) owner: Owner,
    pub(super) slot: usize,
    lock: Uninherited,
    before: *mut Place,
}

/// The place of this process, and of those it was forked from.
#[derive(Debug)]
pub(super) struct Places {
    now: AtomicPtr<Place>,
    path: PathBuf,
    /// The mapped file; inherited by children, and without locks.
    file: File,
}

// SAFETY: places are made by one thread, published once, never changed, and freed with `Places`.
unsafe impl Send for Places {}
// SAFETY: as above.
unsafe impl Sync for Places {}

impl Places {
    pub(super) const fn new(path: PathBuf, file: File) -> Self {
        Self {
            now: AtomicPtr::new(ptr::null_mut()),
            path,
            file,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// The place of this very process, if it has one.
    #[inline]
    pub(super) fn current(&self) -> Option<&Place> {
        // SAFETY: null, or published with all that it holds and freed only when `self` is dropped.
        let place = unsafe { self.now.load(Ordering::Acquire).as_ref() }?;
        (place.depth == fork::depth()).then_some(place)
    }

    /// The place of this process, taken if it has none yet; none if the file turns out unfit once it is taken, and
    /// others can tell that it is.
    pub(super) fn take(
        &self,
        map: &Map,
        geometry: &Geometry,
        is_fit: impl Fn() -> bool,
    ) -> Result<Option<&Place>, OpenError> {
        loop {
            if let Some(place) = self.current() {
                return Ok(Some(place));
            }
            let before = self.now.load(Ordering::Acquire);
            let place = self.make(map, geometry, before)?;
            fence(Ordering::SeqCst);
            if !is_fit() {
                return Ok(None);
            }
            let new = Box::into_raw(Box::new(place));
            let won = self
                .now
                .compare_exchange(before, new, Ordering::AcqRel, Ordering::Acquire);
            if won.is_err() {
                // SAFETY: made above and not shared. Another thread was faster.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn make(&self, map: &Map, geometry: &Geometry, before: *mut Place) -> Result<Place, OpenError> {
        let depth = fork::depth();
        let failed = |source| OpenError::Io {
            action: "lock",
            path: self.path.clone(),
            source,
        };
        let lock = Uninherited::open(|| self.open_again()).map_err(failed)?;
        let fd = lock
            .fd()
            .ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EBADF)))?;
        let mut free = free_slot(fd, geometry).map_err(failed)?;
        if free.is_none() {
            // Whoever removes the file holds the locks of all slots for a moment, and the set-up lock meanwhile.
            drop(SetupLock::take(&self.path, &self.file)?);
            free = free_slot(fd, geometry).map_err(failed)?;
        }
        let slot = free.ok_or(OpenError::TooManyProcesses {
            processes: geometry.processes,
        })?;
        let words = &map.words()[geometry.process(slot)..][..PROCESS];
        let generation = words[PROCESS_GENERATION].load(Ordering::Relaxed).wrapping_add(1);
        put(&words[PROCESS_PID], u64::from(process::id()), Ordering::Relaxed);
        put(&words[PROCESS_GENERATION], generation, Ordering::Release);
        Ok(Place {
            depth,
            owner: Owner::new(slot, generation),
            slot,
            lock,
            before,
        })
    }

    /// Opens the mapped file once more, whatever its name is by now.
    pub(super) fn open_again(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let by_number = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let opened = options.open(by_number).or_else(|_| {
            options
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&self.path)
        })?;
        let (ours, found) = (self.file.metadata()?, opened.metadata()?);
        if (ours.dev(), ours.ino()) == (found.dev(), found.ino()) {
            Ok(opened)
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOENT))
        }
    }

    /// Whether anybody has a place; this process has none.
    pub(super) fn any_is_taken(&self, geometry: &Geometry) -> bool {
        let places = i64::try_from(geometry.processes).unwrap_or(i64::MAX);
        os::any_is_locked(self.file.as_raw_fd(), slot_lock(0), places)
    }

    /// Whether an owner of a lock still lives; `me` does.
    pub(super) fn is_alive(&self, me: &Place, owner: Owner, map: &Map, geometry: &Geometry) -> bool {
        if owner == me.owner {
            return true;
        }
        let Some(slot) = owner.slot().filter(|slot| *slot < geometry.processes) else {
            return false; // nonsense: nobody's
        };
        let word: &AtomicU64 = &map.words()[geometry.process(slot) + PROCESS_GENERATION];
        let is_its = || owner.is_of(word.load(Ordering::Acquire));
        // Our own slot in another generation is not locked as far as the kernel tells us, and its owner is dead.
        let locked = |fd| slot != me.slot && os::byte_is_locked(fd, slot_lock(slot));
        // No descriptor: somebody closed it, so nothing can be said.
        is_its() && me.lock.fd().is_none_or(locked)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut place = *self.now.get_mut();
        while !place.is_null() {
            // SAFETY: made by `Box::into_raw`, in the list once, and nobody holds a reference any longer.
            let this = unsafe { Box::from_raw(place) };
            place = this.before;
        }
    }
}
