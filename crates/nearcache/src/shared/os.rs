//! System calls: locks on bytes of a file, waiting on a word, file systems, forks.
//!
//! `rustix` is used where it has a safe function that does what is needed. The rest calls `libc`: OFD locks on ranges
//! (rustix locks whole files), the futex (rustix takes a 32-bit atomic, and ours are halves of 64-bit words),
//! `posix_fallocate` (rustix has only the system call, which some file systems lack) and calls with descriptor numbers that
//! other code of the process may have closed, which must not become `BorrowedFd`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::time::ClockId;

use super::mapped_words::AtomicU64;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn byte_lock(kind: libc::c_int, first: i64, count: i64) -> libc::flock {
    // SAFETY: `flock` is a C struct of integers, for which all zeros are a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    lock.l_start = first;
    lock.l_len = count;
    lock
}

/// The owner of a lock on a byte of a file. Locks of both kinds exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockOwner {
    /// The open file description. The lock is released when its last descriptor is closed, in whatever process.
    Description,
    /// The process. The lock is released when the process closes any descriptor of the file. A child does not inherit it.
    Process,
}

impl LockOwner {
    const fn command(self) -> libc::c_int {
        match self {
            Self::Description => libc::F_OFD_SETLK,
            Self::Process => libc::F_SETLK,
        }
    }

    /// Tries to lock a byte of a file; returns whether it did. A byte that the same owner has locked stays locked.
    pub(super) fn try_lock(self, fd: RawFd, byte: i64) -> io::Result<bool> {
        self.try_lock_range(fd, byte, 1)
    }

    /// Tries to lock `count` bytes (0: all from `first` on), all or none; returns whether it did.
    pub(super) fn try_lock_range(self, fd: RawFd, first: i64, count: i64) -> io::Result<bool> {
        let lock = byte_lock(libc::F_WRLCK, first, count);
        // SAFETY: with these commands, fcntl reads a `flock` through the pointer, which points to one that is alive. A
        // number that is no descriptor is an error.
        match check(unsafe { libc::fcntl(fd, self.command(), &raw const lock) }) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Releases the lock on a byte.
    pub(super) fn unlock(self, fd: RawFd, byte: i64) {
        self.unlock_range(fd, byte, 1);
    }

    /// Releases the locks on `count` bytes (0: all from `first` on). A failure is ignored: closing the file unlocks too.
    pub(super) fn unlock_range(self, fd: RawFd, first: i64, count: i64) {
        let lock = byte_lock(libc::F_UNLCK, first, count);
        // SAFETY: as in `try_lock_range`.
        unsafe { libc::fcntl(fd, self.command(), &raw const lock) };
    }
}

/// Returns whether another open file description, or a process, holds a lock on a byte. Returns `true` if the kernel does
/// not tell.
pub(super) fn is_locked(fd: RawFd, byte: i64) -> bool {
    any_is_locked(fd, byte, 1)
}

/// Returns whether another open file description, or a process, holds a lock on any of `count` bytes (0: all from `first`
/// on). Returns `true` if the kernel does not tell.
pub(super) fn any_is_locked(fd: RawFd, first: i64, count: i64) -> bool {
    let mut lock = byte_lock(libc::F_WRLCK, first, count);
    // SAFETY: with this command, fcntl reads and writes a `flock` through the pointer, which points to one that is alive
    // and borrowed by nobody else. A number that is no descriptor is an error.
    let asked = check(unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut lock) });
    asked.is_err() || i32::from(lock.l_type) != libc::F_UNLCK
}

/// Identifies a file. No other file has the same id as long as this one is open or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Returns the status of a descriptor's file. Only makes a system call.
pub(super) fn status(fd: RawFd) -> io::Result<libc::stat> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat writes a `stat` through the pointer, which has room for one. A number that is no descriptor is an
    // error.
    check(unsafe { libc::fstat(fd, found.as_mut_ptr()) })?;
    // SAFETY: fstat has succeeded, so it has written the whole struct.
    Ok(unsafe { found.assume_init() })
}

/// Returns the id of a descriptor's file. Only makes a system call.
pub(super) fn file_id(fd: RawFd) -> io::Result<FileId> {
    status(fd).map(|found| FileId {
        device: found.st_dev,
        inode: found.st_ino,
    })
}

/// Closes a descriptor. The caller has opened it, still has its number, and does not use it again.
pub(super) fn close(fd: RawFd) {
    // SAFETY: close takes no pointers. Closing somebody else's descriptor would break their I/O; the only caller has opened
    // this one, and has just compared its file with the one that it opened.
    unsafe { libc::close(fd) };
}

const DESCRIPTORS: &[u8] = b"/proc/self/fd/";
const DIGITS: usize = 10;

/// Opens a descriptor's file once more, with an open file description of its own.
///
/// Only makes a system call: it has to work right after a fork, where no memory may be allocated.
pub(super) fn open_again(fd: RawFd) -> io::Result<OwnedFd> {
    let mut number = u32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let mut digits = [0_u8; DIGITS];
    let mut first = DIGITS;
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    // Zeros follow the number.
    let mut path = [0_u8; DESCRIPTORS.len() + DIGITS + 1];
    let text = DESCRIPTORS.iter().chain(&digits[first..]);
    path.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Returns the address of a word's lower 32 bits, which the kernel compares.
fn lower_half(word: &AtomicU64) -> *const u32 {
    let first: *const u32 = ptr::from_ref(word).cast();
    if cfg!(target_endian = "little") {
        first
    } else {
        first.wrapping_add(1)
    }
}

/// Sleeps until woken, if the lower half of the word is still that of `expected`; returns whether the time ran out.
#[allow(clippy::cast_possible_truncation)] // the lower half is meant
pub(super) fn wait_on(word: &AtomicU64, expected: u64, at_most: Duration) -> bool {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(at_most.subsec_nanos().cast_signed()),
    };
    let none: *const u32 = ptr::null();
    // SAFETY: the address is half of a word that `word` borrows for the call; it is a multiple of 4, and the kernel reads
    // it atomically. `timeout` is alive. The operation is not private, because other processes wake this one.
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

/// Wakes one thread that sleeps on the word, in any process.
pub(super) fn wake_one(word: &AtomicU64) {
    // SAFETY: the kernel uses the address only to find the sleepers; it reads and writes nothing.
    unsafe { libc::syscall(libc::SYS_futex, lower_half(word), libc::FUTEX_WAKE, 1_u32) };
}

/// Makes `before` run before, and `in_child` in the child after, every fork from now on; returns 0 or an error code.
///
/// `in_child` may only do what is allowed in a signal handler: use atomics and make system calls.
pub(super) fn at_fork(before: extern "C" fn(), in_child: extern "C" fn()) -> libc::c_int {
    // SAFETY: the handlers are functions of this program, which is not unloaded: the C library removes the handlers of a
    // shared object with it. They take no arguments and do not unwind, since they are `extern "C"`.
    unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) }
}

/// Allocates `count` bytes of a file from `first` on, and extends the file if it is shorter.
pub(super) fn allocate(file: &File, first: u64, count: u64) -> io::Result<()> {
    let offset = |bytes| libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    let (first, count) = (offset(first)?, offset(count)?);
    loop {
        // SAFETY: posix_fallocate takes no pointers, and `file` keeps the descriptor open.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), first, count) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// The space on a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    /// What this user may still allocate.
    pub(super) free: u64,
}

/// Returns the space on the file system of a path.
pub(super) fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    // File systems on disks reserve some blocks for root.
    let free = if user() == 0 {
        found.f_bfree
    } else {
        found.f_bavail
    };
    Ok(Space {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free: free.saturating_mul(found.f_frsize),
    })
}

/// Returns the type of a file's file system, as a magic number (`linux/magic.h`).
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unnecessary_cast
)] // 32 bits, in an integer whose type depends on the platform
pub(super) fn file_system(file: &File) -> io::Result<u32> {
    Ok(rustix::fs::fstatfs(file)?.f_type as u32)
}

/// Returns whether a file system is shared by several machines: NFS, SMB (1, 2 and CIFS), AFS or Ceph.
pub(super) const fn is_network(file_system: u32) -> bool {
    matches!(
        file_system,
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x6b41_4653 | 0x00c3_6400
    )
}

/// Makes reads through this descriptor leave the file's access time unchanged, if the user may do that. If not, the time
/// that is displayed to people is later than it should be.
pub(super) fn keep_access_time(file: &File) {
    rustix::fs::fcntl_setfl(file, OFlags::NOATIME).ok();
}

/// Returns the time of a monotonic clock in milliseconds, as of the last timer tick. Takes a few nanoseconds.
pub(super) fn coarse_millis() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000
}

/// Returns the effective user id of this process.
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_recognized() {
        let tmpfs = Path::new("/dev/shm")
            .is_dir()
            .then(|| File::open("/dev/shm").unwrap());
        assert!(tmpfs.is_none_or(|shm| file_system(&shm).unwrap() == 0x0102_1994));
        let proc = File::open("/proc").unwrap();
        assert_eq!(file_system(&proc).unwrap(), 0x9fa0);
        assert!(is_network(0x6969) && is_network(0xff53_4d42));
        // tmpfs, ext4, xfs, btrfs, overlay, fuse
        for local in [
            0x0102_1994,
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0x794c_7630,
            0x6573_5546,
        ] {
            assert!(!is_network(local), "{local:x}");
        }
    }
}
