//! What can go wrong with a shared cache. A miss is an `Option`, not an error.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::layout::{MAX_BYTES, MIN_BYTES};
use crate::error::{OutOfMemory, Rejected};

/// Why a cache could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The size asked for, or that of the file found, cannot be a cache's.
    #[error("a shared cache has from {MIN_BYTES} to {MAX_BYTES} bytes, not {bytes}")]
    Size {
        /// The size in question.
        bytes: u64,
    },
    /// The file cannot have so many process slots.
    #[error("a shared cache of {bytes} bytes has slots for 1 to {most} processes, not {processes}")]
    Processes {
        /// The number in question.
        processes: usize,
        /// The size of the file.
        bytes: u64,
        /// The most slots that a file of this size can have.
        most: usize,
    },
    /// The path names a directory, a symbolic link, a pipe, a device or a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// The file is on a network file system: other machines could map it, and would not see each other's writes.
    #[error(
        "{} is on a network file system (NFS, SMB, AFS or Ceph), where machines do not see each other's writes to a mapped \
         file: choose a path on a local disk or in /dev/shm",
        path.display()
    )]
    NotLocal {
        /// Where.
        path: PathBuf,
    },
    /// The file belongs to another user.
    #[error(
        "{} belongs to another user (uid {owner}; this process runs as uid {user}): run all processes as one user, or \
         `chown {user}` the file",
        path.display()
    )]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Others than its owner may write to the file.
    #[error(
        "{} can be written by others (mode {mode:o}): `chmod 600` it, and `chmod 700` its directory if that is its alone",
        path.display()
    )]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no cache that this version can read, and it was not to be replaced.
    #[error("{} is not a shared cache of this version", path.display())]
    Unknown {
        /// Where.
        path: PathBuf,
    },
    /// It is something else of somebody's, which is left as it is.
    #[error("{} holds something that is no shared cache: delete it, or choose another path", path.display())]
    NotACache {
        /// Where.
        path: PathBuf,
    },
    /// The file system has no room for the file.
    #[error(
        "there is no room for {bytes} bytes at {}: its file system has {total} bytes, {free} of them free. Choose a smaller \
         MAX_MEMORY (`Builder::bytes`; at least {MIN_BYTES}) or another path, or enlarge the file system (/dev/shm has \
         64 MB in Docker unless `--shm-size` sets another size)",
        path.display()
    )]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// How much was asked for.
        bytes: u64,
        /// The size of the file system.
        total: u64,
        /// How much of it was free when the attempt was given up.
        free: u64,
    },
    /// All process slots of the file are taken.
    #[error(
        "{processes} processes have {} open, as many as it has slots for: give it a larger MAX_PROCESSES \
         (`Builder::max_processes`), which recreates it",
        path.display()
    )]
    TooManyProcesses {
        /// The path of the file.
        path: PathBuf,
        /// How many slots it has.
        processes: usize,
    },
    /// The process may not open the file any longer, because it has changed its user since it opened it.
    #[error(
        "cannot open {} again: this process opened it as uid {opened_as}, and runs as uid {user} now. Start the process as \
         uid {user}, or open the cache after the change of user",
        path.display()
    )]
    UserChanged {
        /// The path of the file.
        path: PathBuf,
        /// The user that opened it.
        opened_as: u32,
        /// The user of this process now.
        user: u32,
    },
    /// Another process is setting up the file and does not get done.
    #[error("{} is being set up by another process that does not go on", path.display())]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// There is no memory to check the file after a reboot, or to register this process.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// The value is too large; the old value is gone.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// A key has 65,535 bytes at most.
    #[error("the key has {bytes} bytes, more than 65535")]
    KeyTooLong {
        /// How many.
        bytes: usize,
    },
    /// A living process holds the lock and does not let go: it is stopped, or starved.
    #[error("another process{} holds the lock and did not let go in {waited:?}", Pid(*.holder))]
    Busy {
        /// How long it was waited for.
        waited: Duration,
        /// The pid of the process that the lock word names, in that process's PID namespace, if it was waited for.
        holder: Option<u32>,
    },
    /// There is no memory for what had to be copied; nothing was changed.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The process could not take a process slot: a child after a fork, or a process whose descriptors were closed.
    #[error("this process is not registered in the cache and cannot write: {0}")]
    Detached(#[from] OpenError),
}

/// A pid in a message, if it is known.
struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Another process or thread is writing this very entry.
    #[error("the entry is being written by another process or thread")]
    Busy,
    /// There is no memory for the value.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Why [`update`](super::SharedCache::update) did not store a new value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The cache could not.
    #[error(transparent)]
    Cache(#[from] SharedError),
    /// The function that should have made the new value failed; the old value stays.
    #[error("{0}")]
    Function(E),
    /// Other writers were faster every time; the latest value stays.
    #[error("other writers of the key were faster {attempts} times")]
    Overtaken {
        /// How often it was tried.
        attempts: u32,
    },
}
