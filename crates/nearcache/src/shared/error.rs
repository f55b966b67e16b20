//! Errors of the shared cache. A miss is not an error but `None`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::directory_of;
use super::layout::{MAX_BYTES, MIN_BYTES};
use super::os;
use crate::error::{OutOfMemory, Rejected};

/// The reason why a cache could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A cache file cannot have this size.
    #[error("a shared cache cannot have {bytes} bytes; expected {MIN_BYTES} to {MAX_BYTES}")]
    Size {
        /// The requested size.
        bytes: u64,
    },
    /// A cache file of this size cannot have this number of process slots.
    #[error(
        "a shared cache of {bytes} bytes cannot have slots for {processes} processes; expected 1 to {most}"
    )]
    Processes {
        /// The requested number of slots.
        processes: usize,
        /// The size of the file.
        bytes: u64,
        /// The largest number of slots for this size.
        most: usize,
    },
    /// The path names a directory, a symbolic link, a pipe, a device or a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is on a network file system, where machines do not see each other's writes to a mapped file.
    #[error(
        "{} is on a network file system (NFS, SMB, AFS or Ceph), where machines do not see each other's writes to a mapped \
         file; choose a path on a local disk or in /dev/shm",
        path.display()
    )]
    NotLocal {
        /// The path.
        path: PathBuf,
    },
    /// The file belongs to another user.
    #[error(
        "{} belongs to another user (uid {owner}), and this process runs as uid {user}; run all processes as one user, or \
         run `chown {user}` on the file",
        path.display()
    )]
    Foreign {
        /// The path.
        path: PathBuf,
        /// The user (uid) to whom the file belongs.
        owner: u32,
        /// The user (uid) of this process.
        user: u32,
    },
    /// Other users may write to the file.
    #[error(
        "{} can be written by others (mode {mode:o}); run `chmod 600` on it, and `chmod 700` on its directory if nobody else \
         needs that",
        path.display()
    )]
    Exposed {
        /// The path.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
    /// The file is not a cache that this version can read, and the builder has no size with which to replace it.
    #[error("{} is not a shared cache of this version", path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// The file is not a cache. It is left unchanged.
    #[error("{} is not a shared cache; delete it, or choose another path", path.display())]
    NotACache {
        /// The path.
        path: PathBuf,
    },
    /// The file system does not have enough free space for the file.
    #[error(
        "no space for {bytes} bytes at {}: its file system has {total} bytes, {free} of them free; choose a smaller size (at \
         least {MIN_BYTES}) or another path, or enlarge the file system",
        path.display()
    )]
    NoRoom {
        /// The path.
        path: PathBuf,
        /// The requested size.
        bytes: u64,
        /// The size of the file system.
        total: u64,
        /// The free space of the file system when the attempt failed.
        free: u64,
    },
    /// All process slots of the file are taken.
    #[error(
        "all {processes} process slots of {} are taken; choose a larger number of processes, which recreates the file",
        path.display()
    )]
    TooManyProcesses {
        /// The path.
        path: PathBuf,
        /// The number of slots.
        processes: usize,
    },
    /// The process has changed its user since it opened the file, and may not open it any longer.
    #[error(
        "cannot open {} again: this process opened it as uid {opened_as} and now runs as uid {user}; start the process as \
         uid {user}, or open the cache after the change of user",
        path.display()
    )]
    UserChanged {
        /// The path.
        path: PathBuf,
        /// The user (uid) that opened the file.
        opened_as: u32,
        /// The present user (uid) of this process.
        user: u32,
    },
    /// Another process is creating or removing the file and does not finish.
    #[error("timed out waiting for another process to initialise {}", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// No memory is available to register this process.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The operating system reported an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// Creates the errors of one path.
pub(super) struct PathErrors<'a>(pub(super) &'a Path);

impl PathErrors<'_> {
    /// Returns a conversion of the errors of an action.
    pub(super) fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> OpenError {
        let path = self.0.to_path_buf();
        move |source| OpenError::Io {
            action,
            path: path.clone(),
            source,
        }
    }

    /// As [`failed`](Self::failed), for an action that takes space for a file of `bytes`.
    pub(super) fn failed_to_allocate(
        &self,
        action: &'static str,
        bytes: u64,
    ) -> impl Fn(io::Error) -> OpenError {
        let path = self.0.to_path_buf();
        move |source| match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => PathErrors(&path).no_space(bytes),
            _ => PathErrors(&path).failed(action)(source),
        }
    }

    pub(super) fn no_space(&self, bytes: u64) -> OpenError {
        let space = os::space(directory_of(self.0)).unwrap_or_default();
        OpenError::NoRoom {
            path: self.0.into(),
            bytes,
            total: space.total,
            free: space.free,
        }
    }
}

/// The reason why an operation was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// The value is too large for the cache. The old value of the key has been removed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The key is longer than 65,535 bytes.
    #[error("the key has {bytes} bytes; expected at most 65535")]
    KeyTooLong {
        /// The length of the key.
        bytes: usize,
    },
    /// A living process held the lock for the whole timeout. It was stopped, or was given no processor time.
    #[error("timed out after {waited:?} waiting for a lock that another process{} holds", Pid(*.holder))]
    Busy {
        /// The timeout.
        waited: Duration,
        /// The pid of the process that holds the lock, in that process's PID namespace; `None` if the timeout was zero.
        holder: Option<u32>,
    },
    /// No memory is available for a copy that the operation needs. Nothing has changed.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// This process could not take a process slot. It is a child of `fork`, or its file descriptors were closed.
    #[error("this process cannot write, because it cannot register in the cache: {0}")]
    Detached(#[from] OpenError),
}

/// A pid in a message, if it is known.
struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

/// The reason why a read returned no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Another process or thread is writing the same entry.
    #[error("another process or thread is writing the entry")]
    Busy,
    /// No memory is available for the value.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// The reason why [`try_get_or_insert_with`](super::SharedCache::try_get_or_insert_with) returned no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError<E> {
    /// The cache could not be used. Nothing was computed.
    #[error(transparent)]
    Cache(#[from] SharedError),
    /// The function that computes the value failed.
    #[error("{0}")]
    Function(E),
}

/// The reason why [`update`](super::SharedCache::update) did not insert a new value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The new value could not be inserted.
    #[error(transparent)]
    Cache(#[from] SharedError),
    /// The function that computes the new value failed. The old value stays.
    #[error("{0}")]
    Function(E),
    /// Another writer changed the entry during every attempt. Its value stays.
    #[error("other writers changed the entry during each of {attempts} attempts to update it")]
    Overtaken {
        /// The number of attempts.
        attempts: u32,
    },
}
