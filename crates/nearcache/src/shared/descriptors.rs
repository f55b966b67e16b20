//! The file descriptors of mapped files: across forks, and in programs that close descriptors which they did not open.
//!
//! Each process has two descriptors of a file:
//!
//! - The *inherited* one: children inherit it, and no OFD lock is ever taken through it.
//! - Its *own* one, which holds the OFD lock on the process's slot. Such a lock belongs to the open file description, which
//!   a child shares: the child would keep the slot of a dead parent locked. So a handler in the child closes it and opens
//!   the file again through `/proc/self/fd`. It does so at once, because a child that changes its user, such as a worker of
//!   `gunicorn -u nobody`, may not open the file later.
//!
//! A daemon may close all descriptors that it finds open, and the kernel then gives their numbers to other files. So before
//! every use, the file of a number is compared with the device and inode of the mapped file. When the kernel gives a number
//! to one of these descriptors, the number is removed from any other that still has it.
//!
//! The handler in a child may not allocate or take locks, so all descriptors of the process are in a list of atomics that
//! is never freed; unused elements are used again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use super::fork;
use super::os::{self, FileId};
use super::push_list::PushList;

static ALL: PushList<Numbers> = PushList::new();
const CLOSED: RawFd = -1;

/// The numbers of one file's descriptors.
#[derive(Debug)]
struct Numbers {
    is_used: AtomicBool,
    inherited: AtomicI32,
    own: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// Gives a child of `fork` descriptors of its own. Only makes system calls.
pub(super) fn reopen_in_child() {
    for numbers in ALL.iter() {
        numbers.close(&numbers.own);
        if let Some(inherited) = numbers.checked(&numbers.inherited)
            && let Ok(own) = os::open_again(inherited)
        {
            numbers.store(&numbers.own, own.into_raw_fd());
        }
    }
}

impl Numbers {
    /// Returns an element of the list that nobody uses, and marks it as used.
    fn take() -> io::Result<&'static Self> {
        let unused = ALL
            .iter()
            .find(|numbers| !numbers.is_used.swap(true, Ordering::AcqRel));
        if let Some(unused) = unused {
            return Ok(unused);
        }
        let pushed = ALL.push(Self {
            is_used: AtomicBool::new(true),
            inherited: AtomicI32::new(CLOSED),
            own: AtomicI32::new(CLOSED),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        });
        Ok(pushed.map_err(|_| ErrorKind::OutOfMemory)?)
    }

    fn file_id(&self) -> FileId {
        FileId {
            device: self.device.load(Ordering::Relaxed),
            inode: self.inode.load(Ordering::Relaxed),
        }
    }

    /// Returns the number in `place` if it still is a descriptor of this file.
    fn checked(&self, place: &AtomicI32) -> Option<RawFd> {
        let fd = place.load(Ordering::SeqCst);
        (fd != CLOSED && os::file_id(fd).is_ok_and(|found| found == self.file_id())).then_some(fd)
    }

    /// Stores the number of a descriptor that was just opened in `place`.
    fn store(&self, place: &AtomicI32, fd: RawFd) {
        for numbers in ALL.iter() {
            for stale in [&numbers.inherited, &numbers.own] {
                // The kernel assigns a number again only after it was closed, so others that have this number are stale. If
                // the exchange fails, the place has another number.
                let _ = stale.compare_exchange(fd, CLOSED, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
        place.store(fd, Ordering::SeqCst);
    }

    /// Closes the descriptor in `place` if it still is one of this file.
    fn close(&self, place: &AtomicI32) {
        let fd = self.checked(place);
        place.store(CLOSED, Ordering::SeqCst);
        if let Some(fd) = fd {
            os::close(fd);
        }
    }
}

/// The descriptors of one mapped file. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Descriptors(&'static Numbers);

impl Descriptors {
    /// Takes an open file for the inherited descriptor. There is no own descriptor yet.
    pub(super) fn new(file: File) -> io::Result<Self> {
        fork::install_handlers()?;
        let id = os::file_id(file.as_raw_fd())?;
        let numbers = Numbers::take()?;
        numbers.device.store(id.device, Ordering::Relaxed);
        numbers.inode.store(id.inode, Ordering::Relaxed);
        numbers.store(&numbers.inherited, file.into_raw_fd());
        Ok(Self(numbers))
    }

    pub(super) fn file_id(&self) -> FileId {
        self.0.file_id()
    }

    /// Returns the descriptor that children inherit, if it is open.
    pub(super) fn inherited(&self) -> Option<RawFd> {
        self.0.checked(&self.0.inherited)
    }

    /// Returns the descriptor of this process alone, if it is open.
    pub(super) fn own(&self) -> Option<RawFd> {
        self.0.checked(&self.0.own)
    }

    /// Returns any descriptor of the file that is open.
    pub(super) fn any(&self) -> Option<RawFd> {
        self.own().or_else(|| self.inherited())
    }

    /// Opens the file once more: through an open descriptor, or else by its path, if that still names the file.
    pub(super) fn reopen(&self, path: &Path) -> io::Result<File> {
        if let Some(opened) = self.any().and_then(|fd| os::open_again(fd).ok()) {
            return Ok(File::from(opened));
        }
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        if os::file_id(opened.as_raw_fd())? == self.file_id() {
            return Ok(opened);
        }
        let gone = "the descriptors of the mapped file are closed, and its path names another file";
        Err(io::Error::new(ErrorKind::NotFound, gone))
    }

    /// Returns the descriptor of this process alone, opened if it is not. The caller serializes calls.
    pub(super) fn open_own(&self, path: &Path) -> io::Result<RawFd> {
        loop {
            if let Some(own) = self.own() {
                return Ok(own);
            }
            let begun = fork::begun();
            let own = self.reopen(path)?.into_raw_fd();
            self.0.store(&self.0.own, own);
            if fork::begun() == begun {
                return Ok(own);
            }
            // A fork in between may have left a child with a descriptor that it does not know of: open another one.
            self.0.close(&self.0.own);
        }
    }

    /// Opens the inherited descriptor again if it was closed. The caller serializes calls.
    pub(super) fn restore_inherited(&self, path: &Path) -> io::Result<()> {
        if self.inherited().is_none() {
            let opened = self.reopen(path)?;
            self.0.store(&self.0.inherited, opened.into_raw_fd());
        }
        Ok(())
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        self.0.close(&self.0.own);
        self.0.close(&self.0.inherited);
        self.0.is_used.store(false, Ordering::Release);
    }
}
