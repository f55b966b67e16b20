//! The number of forks between the first process and this one.
//!
//! Threads do not survive a fork, but the memory that says that they run does. What belongs to a process is therefore
//! stored with the depth of that process. A process id would do, but reading it is a system call.
#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

static DEPTH: AtomicU64 = AtomicU64::new(1);

/// Returns the fork depth, which distinguishes a process from those whose memory it has a copy of. At least 1.
#[inline]
pub(super) fn get() -> u64 {
    DEPTH.load(SeqCst)
}

extern "C" fn count() {
    DEPTH.fetch_add(1, SeqCst);
}

/// Makes the depth count forks from now on. Calls after the first return the result of the first.
///
/// # Errors
///
/// Fails if the C library cannot allocate memory for the handler.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    // SAFETY: the handler is a function of this program, which is not unloaded: the C library removes the handlers of a
    // shared object with it. It does what a signal handler may do, and does not unwind.
    match *INSTALLED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(count)) }) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
