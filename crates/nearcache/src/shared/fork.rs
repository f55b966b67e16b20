//! Descriptors that must not be open in a child after `fork`.
//!
//! A lock on a byte of a file belongs to the open file description. A child inherits that, and would keep it locked
//! when the parent is dead. So the child closes these descriptors at once, in a handler that only makes system calls.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{IntoRawFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use crate::memory::try_box;

/// How many forks led from the first process of all to this one.
static DEPTH: AtomicU64 = AtomicU64::new(0);
/// How many forks this process has begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static FIRST: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
const CLOSED: RawFd = -1;

/// A place in the list of descriptors. Never freed, but used again.
#[derive(Debug)]
struct Node {
    used: AtomicBool,
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    next: *const Node,
}

// SAFETY: `next` is only written before the node is shared, and nodes live for good.
unsafe impl Sync for Node {}

/// An open file that a child does not inherit.
#[derive(Debug)]
pub(super) struct Uninherited(&'static Node);

/// Changes whenever this code finds itself in another process.
#[inline]
pub(super) fn depth() -> u64 {
    DEPTH.load(Ordering::Relaxed)
}

/// The device and inode of an open descriptor. Only makes a system call.
fn identity(fd: RawFd) -> Option<(u64, u64)> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fills the struct, or fails.
    if unsafe { libc::fstat(fd, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: filled by the call above.
    let found = unsafe { found.assume_init() };
    Some((found.st_dev, found.st_ino))
}

extern "C" fn before_fork() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    DEPTH.fetch_add(1, Ordering::SeqCst);
    let mut node: *const Node = FIRST.load(Ordering::Acquire);
    // SAFETY: nodes live for good.
    while let Some(this) = unsafe { node.as_ref() } {
        this.close();
        node = this.next;
    }
}

/// Has the handlers run at every fork from now on.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    // SAFETY: the handlers are functions of this program that only make system calls and use atomics.
    let code =
        *INSTALLED.get_or_init(|| unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) });
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}

impl Node {
    /// Closes the descriptor, if it still is the file that it was: somebody may have closed it under our hands.
    fn close(&self) {
        let fd = self.fd.swap(CLOSED, Ordering::SeqCst);
        let inode = self.inode.load(Ordering::Relaxed);
        let expected = (self.device.load(Ordering::Relaxed), inode);
        if fd != CLOSED && identity(fd) == Some(expected) {
            // SAFETY: ours to close, and nobody else will: the number was taken out of the node.
            unsafe { libc::close(fd) };
        }
    }

    /// A node that nobody uses.
    fn take() -> io::Result<&'static Self> {
        let mut node: *const Self = FIRST.load(Ordering::Acquire);
        // SAFETY: nodes live for good.
        while let Some(this) = unsafe { node.as_ref() } {
            if !this.used.swap(true, Ordering::AcqRel) {
                return Ok(this);
            }
            node = this.next;
        }
        let new = try_box(Self {
            used: AtomicBool::new(true),
            fd: AtomicI32::new(CLOSED),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            next: ptr::null(),
        });
        let new = Box::leak(new.map_err(|_| io::ErrorKind::OutOfMemory)?);
        let mut first = FIRST.load(Ordering::Acquire);
        loop {
            new.next = first;
            match FIRST.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(new),
                Err(now) => first = now,
            }
        }
    }
}

impl Uninherited {
    /// Opens a file that no child will inherit; `open` may be called several times.
    pub(super) fn open(open: impl Fn() -> io::Result<File>) -> io::Result<Self> {
        install()?;
        loop {
            let begun = BEGUN.load(Ordering::SeqCst);
            let this = Self(Node::take()?);
            let fd = open()?.into_raw_fd();
            let Some((device, inode)) = identity(fd) else {
                return Err(io::Error::last_os_error());
            };
            this.0.device.store(device, Ordering::Relaxed);
            this.0.inode.store(inode, Ordering::Relaxed);
            this.0.fd.store(fd, Ordering::SeqCst);
            // A fork in between might have left a child with a descriptor that it does not know of.
            if BEGUN.load(Ordering::SeqCst) == begun {
                return Ok(this);
            }
        }
    }

    /// The descriptor; none if this is a child's copy.
    pub(super) fn fd(&self) -> Option<RawFd> {
        Some(self.0.fd.load(Ordering::Relaxed)).filter(|fd| *fd != CLOSED)
    }
}

impl Drop for Uninherited {
    fn drop(&mut self) {
        self.0.close();
        self.0.used.store(false, Ordering::Release);
    }
}
