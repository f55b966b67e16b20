//! The descriptors of mapped files: across forks, and in programs that close descriptors which they did not open.
//!
//! Each process has two descriptors of a file:
//!
//! - The *inherited* one: children inherit it, and no OFD lock is ever taken through it.
//! - Its *own* one, which holds the OFD lock on the process's slot. Such a lock belongs to the open file description, and a
//!   child shares that: it would keep the slot of a dead parent locked. So a handler in the child closes it, and opens the
//!   file again through `/proc/self/fd`. It does so at once, because a child that changes its user, as a worker of
//!   `gunicorn -u nobody` does, may not open the file later.
//!
//! A daemon may close all descriptors that it finds open, and the kernel then gives the numbers to other files. So a number
//! is compared with the file's device and inode before every use, and a number that the kernel has just given to one of
//! these descriptors is removed from any other that still has it.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use super::fork;
use super::os::{self, FileId};
use crate::memory::try_box;

static FIRST: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
const CLOSED: RawFd = -1;

/// The descriptors of one file, in a list that the handler of a fork can walk. Never freed, but reused.
#[derive(Debug)]
struct Node {
    used: AtomicBool,
    inherited: AtomicI32,
    own: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    next: *const Node,
}

// SAFETY: `next` is only written before the node is shared, and nodes live for good.
unsafe impl Sync for Node {}

/// All nodes, used or not.
fn nodes() -> impl Iterator<Item = &'static Node> {
    let mut node: *const Node = FIRST.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or a node, which lives for good.
        let this = unsafe { node.as_ref() }?;
        node = this.next;
        Some(this)
    })
}

/// Gives a child of `fork` descriptors of its own. Only makes system calls.
pub(super) fn reopen_in_child() {
    for node in nodes() {
        node.close(&node.own);
        if let Some(inherited) = node.checked(&node.inherited)
            && let Ok(own) = os::open_again(inherited)
        {
            node.store(&node.own, own);
        }
    }
}

impl Node {
    /// Returns a node that nobody uses.
    fn take() -> io::Result<&'static Self> {
        if let Some(unused) = nodes().find(|node| !node.used.swap(true, Ordering::AcqRel)) {
            return Ok(unused);
        }
        let new = try_box(Self {
            used: AtomicBool::new(true),
            inherited: AtomicI32::new(CLOSED),
            own: AtomicI32::new(CLOSED),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            next: ptr::null(),
        });
        let new = Box::leak(new.map_err(|_| ErrorKind::OutOfMemory)?);
        let mut first = FIRST.load(Ordering::Acquire);
        loop {
            new.next = first;
            match FIRST.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(new),
                Err(now) => first = now,
            }
        }
    }

    fn file_id(&self) -> FileId {
        FileId {
            device: self.device.load(Ordering::Relaxed),
            inode: self.inode.load(Ordering::Relaxed),
        }
    }

    /// The number in `place`, if it still is a descriptor of this file.
    fn checked(&self, place: &AtomicI32) -> Option<RawFd> {
        let fd = place.load(Ordering::SeqCst);
        (fd != CLOSED && os::file_id(fd).is_ok_and(|found| found == self.file_id())).then_some(fd)
    }

    /// Stores a descriptor that was just opened in `place`, which is this node's.
    fn store(&self, place: &AtomicI32, fd: RawFd) {
        for node in nodes() {
            for stale in [&node.inherited, &node.own] {
                // The kernel gives a number out again only after it was closed. A failure means: another number.
                let _ = stale.compare_exchange(fd, CLOSED, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
        place.store(fd, Ordering::SeqCst);
    }

    /// Closes the descriptor in `place`, if it still is one of this file.
    fn close(&self, place: &AtomicI32) {
        let fd = self.checked(place);
        place.store(CLOSED, Ordering::SeqCst);
        if let Some(fd) = fd {
            // SAFETY: a descriptor of this file, which this node opened and nothing uses any longer.
            unsafe { libc::close(fd) };
        }
    }
}

/// The descriptors of one mapped file. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Descriptors(&'static Node);

impl Descriptors {
    /// Takes an open file for the inherited descriptor. There is no own one yet.
    pub(super) fn new(file: File) -> io::Result<Self> {
        fork::install()?;
        let id = os::file_id(file.as_raw_fd())?;
        let node = Node::take()?;
        node.device.store(id.device, Ordering::Relaxed);
        node.inode.store(id.inode, Ordering::Relaxed);
        node.store(&node.inherited, file.into_raw_fd());
        Ok(Self(node))
    }

    pub(super) fn file_id(&self) -> FileId {
        self.0.file_id()
    }

    /// The descriptor that children inherit, if it is open.
    pub(super) fn inherited(&self) -> Option<RawFd> {
        self.0.checked(&self.0.inherited)
    }

    /// The descriptor of this process alone, if it is open.
    pub(super) fn own(&self) -> Option<RawFd> {
        self.0.checked(&self.0.own)
    }

    /// Any descriptor of the file that is open.
    pub(super) fn any(&self) -> Option<RawFd> {
        self.own().or_else(|| self.inherited())
    }

    /// Opens the file once more, through a descriptor, else by its path if that still names it.
    pub(super) fn reopen(&self, path: &Path) -> io::Result<File> {
        if let Some(opened) = self.any().and_then(|fd| os::open_again(fd).ok()) {
            // SAFETY: just opened, and owned by nobody else.
            return Ok(unsafe { File::from_raw_fd(opened) });
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

    /// The descriptor of this process alone, opened if it is not. One thread at a time may call this.
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
            // A fork in between may have left a child with a descriptor that it does not know of: lock through another.
            self.0.close(&self.0.own);
        }
    }

    /// Opens the inherited descriptor again if it was closed. One thread at a time may call this.
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
        self.0.used.store(false, Ordering::Release);
    }
}
