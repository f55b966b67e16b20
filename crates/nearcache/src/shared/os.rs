//! What is asked of the kernel directly: locks on bytes of a file, waiting on a word, room on a file system.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use super::words::AtomicU64;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn byte_lock(kind: libc::c_int, byte: i64, count: i64) -> libc::flock {
    // SAFETY: all zeros is a valid value of this plain struct.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    lock.l_start = byte;
    lock.l_len = count;
    lock
}

/// Tries to lock a byte of a file for this open file description; returns whether it could.
pub(super) fn try_lock_byte(fd: RawFd, byte: i64) -> io::Result<bool> {
    try_lock_bytes(fd, byte, 1)
}

/// Tries to lock `count` bytes of a file (0: all from `first` on) for this open file description, all or none; returns
/// whether it could.
pub(super) fn try_lock_bytes(fd: RawFd, first: i64, count: i64) -> io::Result<bool> {
    let lock = byte_lock(libc::F_WRLCK, first, count);
    // SAFETY: reads the struct passed.
    match check(unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const lock) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives up a lock on a byte.
pub(super) fn unlock_byte(fd: RawFd, byte: i64) {
    let lock = byte_lock(libc::F_UNLCK, byte, 1);
    // SAFETY: reads the struct passed. Nothing can be done if it fails; closing the file unlocks too.
    unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const lock) };
}

/// Whether another open file description holds a lock on a byte. If the kernel will not say, it is taken to.
pub(super) fn byte_is_locked(fd: RawFd, byte: i64) -> bool {
    any_is_locked(fd, byte, 1)
}

/// Whether another open file description holds a lock on any of `count` bytes (0: all from `first` on). If the kernel
/// will not say, it is taken to.
pub(super) fn any_is_locked(fd: RawFd, first: i64, count: i64) -> bool {
    let mut lock = byte_lock(libc::F_WRLCK, first, count);
    // SAFETY: reads and writes the struct passed.
    let asked = check(unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut lock) });
    asked.is_err() || i32::from(lock.l_type) != libc::F_UNLCK
}

/// The half of a word that the kernel compares: its lower 32 bits.
fn lower_half(word: &AtomicU64) -> *const u32 {
    let first: *const u32 = ptr::from_ref(word).cast();
    if cfg!(target_endian = "little") {
        first
    } else {
        first.wrapping_add(1)
    }
}

/// Waits until woken, if the word's lower half still is `expected`'s; returns whether the time ran out.
#[allow(clippy::cast_possible_truncation)] // the lower half is what is meant
pub(super) fn wait_on(word: &AtomicU64, expected: u64, at_most: Duration) -> bool {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(at_most.subsec_nanos().cast_signed()),
    };
    let none: *const u32 = ptr::null();
    // SAFETY: the word outlives the call; the kernel reads it atomically. Shared between processes, so not private.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            lower_half(word),
            libc::FUTEX_WAIT,
            expected as u32,
            &raw const timeout,
            none,
            0_u32,
        )
    };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT)
}

/// Wakes one that waits on the word.
pub(super) fn wake_one(word: &AtomicU64) {
    // SAFETY: the address only names the waiters; nothing is read or written.
    unsafe { libc::syscall(libc::SYS_futex, lower_half(word), libc::FUTEX_WAKE, 1_u32) };
}

/// Gives a new file its size, with room for all of it.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: takes no pointers.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Lets reads through this descriptor leave the file's access time as it is, if the user may have that.
pub(super) fn keep_access_time(file: &File) {
    // SAFETY: takes no pointers. If it fails, the time that is shown to people is later than it should be.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NOATIME) };
}

/// Who this process acts as.
pub(super) fn user() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}
