//! What is asked of the kernel directly: locks on bytes of a file, waiting on a word, room on a file system.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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

/// Whose a lock on a byte of a file is. Locks of both kinds exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockOwner {
    /// The open file description's: released when its last descriptor is closed, in whatever process.
    Description,
    /// The process's: released when the process closes any descriptor of the file. A child does not inherit it.
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
        // SAFETY: reads the struct passed.
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

    /// Releases the locks on `count` bytes (0: all from `first` on).
    pub(super) fn unlock_range(self, fd: RawFd, first: i64, count: i64) {
        let lock = byte_lock(libc::F_UNLCK, first, count);
        // SAFETY: reads the struct passed. Nothing can be done if it fails; closing the file unlocks too.
        unsafe { libc::fcntl(fd, self.command(), &raw const lock) };
    }
}

/// Which file a descriptor is of. No other file has the same as long as this one is open or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What the kernel says of an open descriptor. Only makes a system call.
pub(super) fn status(fd: RawFd) -> io::Result<libc::stat> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fills the struct, or fails.
    check(unsafe { libc::fstat(fd, found.as_mut_ptr()) })?;
    // SAFETY: filled by the call above.
    Ok(unsafe { found.assume_init() })
}

/// Which file a descriptor is of. Only makes a system call.
pub(super) fn file_id(fd: RawFd) -> io::Result<FileId> {
    status(fd).map(|found| FileId {
        device: found.st_dev,
        inode: found.st_ino,
    })
}

const DESCRIPTORS: &[u8] = b"/proc/self/fd/";
const DIGITS: usize = 10;

/// Opens the file of a descriptor once more, with a description of its own. Only makes a system call: it has to work right
/// after a fork, where no memory may be allocated.
pub(super) fn open_again(fd: RawFd) -> io::Result<RawFd> {
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
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: the path ends in a zero.
    check(unsafe { libc::open(path.as_ptr().cast(), flags) })
}

/// Whether another open file description, or a process, holds a lock on a byte. If the kernel does not say, it does.
pub(super) fn byte_is_locked(fd: RawFd, byte: i64) -> bool {
    any_is_locked(fd, byte, 1)
}

/// Whether another open file description, or a process, holds a lock on any of `count` bytes (0: all from `first` on). If the
/// kernel does not say, one does.
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

/// Allocates `count` bytes of a file from `first` on, and lengthens the file if it is shorter.
pub(super) fn allocate(file: &File, first: u64, count: u64) -> io::Result<()> {
    let offset = |bytes| libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    let (first, count) = (offset(first)?, offset(count)?);
    loop {
        // SAFETY: takes no pointers.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), first, count) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// The size of a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) total: u64,
    /// What this user may still allocate.
    pub(super) free: u64,
}

/// The size of the file system that a path is on.
pub(super) fn room(path: &Path) -> io::Result<Room> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero; fills the struct, or fails.
    check(unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) })?;
    // SAFETY: filled by the call above.
    let found = unsafe { found.assume_init() };
    // File systems on disks keep some blocks for root.
    let free = if user() == 0 {
        found.f_bfree
    } else {
        found.f_bavail
    };
    Ok(Room {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free: free.saturating_mul(found.f_frsize),
    })
}

/// What kind of file system a file is on, by its magic number (`linux/magic.h`).
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unnecessary_cast
)] // 32 bits, of a type that varies
pub(super) fn file_system(file: &File) -> io::Result<u32> {
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: fills the struct, or fails.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) })?;
    // SAFETY: filled by the call above.
    Ok(unsafe { found.assume_init() }.f_type as u32)
}

/// Whether a file system is one of several machines: NFS, SMB (1, 2 and CIFS), AFS or Ceph.
pub(super) const fn is_network(file_system: u32) -> bool {
    matches!(
        file_system,
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x6b41_4653 | 0x00c3_6400
    )
}

/// Lets reads through this descriptor leave the file's access time as it is, if the user may have that.
pub(super) fn keep_access_time(file: &File) {
    // SAFETY: takes no pointers. If it fails, the time that is shown to people is later than it should be.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NOATIME) };
}

/// A clock that only goes forward, in milliseconds, to the tick of the system's timer. Costs a few nanoseconds.
pub(super) fn coarse_millis() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is there to be written. It cannot fail: every Linux has that clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000_000
}

/// The user that this process acts as.
pub(super) fn user() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
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
