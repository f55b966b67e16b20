//! What a fork leaves in the child: the memory that says that the listener runs, and its sockets, but not its thread.
//!
//! What belongs to a process is stored with the process's fork depth. A process id would do, but reading it is a system
//! call. Nothing here is locked: a thread of the parent could hold the lock during the fork.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// The number of forks between the first process and this one, plus one.
static DEPTH: AtomicU64 = AtomicU64::new(1);

/// Returns the fork depth, which distinguishes a process from those whose memory it has a copy of. At least 1.
#[inline]
pub(super) fn depth() -> u64 {
    DEPTH.load(SeqCst)
}

extern "C" fn count() {
    DEPTH.fetch_add(1, SeqCst);
}

/// Makes the depth count forks from now on. Calls after the first do nothing.
///
/// # Errors
///
/// Fails if the C library cannot allocate memory for the handler.
pub(super) fn install_handler() -> io::Result<()> {
    static IS_INSTALLED: AtomicBool = AtomicBool::new(false);
    if IS_INSTALLED.load(SeqCst) {
        return Ok(());
    }
    // Two threads may get here. Then each fork counts as two, which does no harm.
    //
    // SAFETY: the handler is a function of this program, which is not unloaded: the C library removes the handlers of a
    // shared object with it. It does what a signal handler may do, and does not unwind.
    match unsafe { libc::pthread_atfork(None, None, Some(count)) } {
        0 => IS_INSTALLED.store(true, SeqCst),
        code => return Err(io::Error::from_raw_os_error(code)),
    }
    Ok(())
}

/// A descriptor and the socket that it stood for when it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    fd: RawFd,
    device: u64,
    inode: u64,
}

impl Recorded {
    /// Records a descriptor.
    pub(super) fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let status = rustix::fs::fstat(descriptor)?;
        Ok(Self {
            fd: descriptor.as_raw_fd(),
            device: status.st_dev,
            inode: status.st_ino,
        })
    }

    /// Closes a descriptor that this process inherited, if its number still stands for the same socket.
    ///
    /// To be called in a child for descriptors of a thread that exists only in the parent.
    pub(super) fn close_inherited(self) {
        // SAFETY: the descriptor is borrowed for one system call, to which a number that is not open is an error.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.fd) };
        if Self::new(descriptor).is_ok_and(|now| now == self) {
            // SAFETY: the number stands for a socket of the listener, as the comparison has just shown. Its owner is on the
            // stack of a thread of the parent, so nothing in this process uses or closes it.
            unsafe { rustix::io::close(self.fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_recorded_socket_is_closed() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let copy = theirs.try_clone().unwrap();
        let recorded = Recorded::new(copy.as_fd()).unwrap();
        Recorded {
            inode: recorded.inode + 1,
            ..recorded
        }
        .close_inherited();
        assert_eq!(Recorded::new(copy.as_fd()).unwrap(), recorded);
        std::mem::forget(copy);
        recorded.close_inherited();
        drop(theirs);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}
