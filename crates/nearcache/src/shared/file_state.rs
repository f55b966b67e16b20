//! What has become of a file since it was mapped.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use super::os::{self, FileId};
use super::registration::Registration;

/// What has become of the file that a process has mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileState {
    /// The path names the file, and the file is as it was created.
    Current,
    /// The file was deleted, or its path names another file. It still works for the processes that have it open.
    Replaced,
    /// The file was truncated. A process that accesses the missing part is killed by `SIGBUS`.
    Truncated {
        /// The present size of the file.
        bytes: u64,
    },
    /// The file was overwritten: its header is not the one that was mapped.
    Overwritten,
}

impl Registration {
    /// Returns what the file system says about the file, which had `bytes` bytes. One system call.
    pub(super) fn file_state(&self, bytes: u64) -> FileState {
        let id = self.descriptors.file_id();
        let (is_there, found) = match fs::symlink_metadata(self.path()) {
            Ok(there) => {
                let (device, inode) = (there.dev(), there.ino());
                (FileId { device, inode } == id, there.len())
            }
            // After a change of user, the path may be inaccessible. Then the descriptor shows whether the file has a name.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                match self.descriptors.any().and_then(|fd| os::status(fd).ok()) {
                    Some(open) => (open.st_nlink > 0, u64::try_from(open.st_size).unwrap_or_default()),
                    None => (true, bytes),
                }
            }
            Err(_) => (false, 0),
        };
        match (is_there, found) {
            (false, _) => FileState::Replaced,
            (true, found) if found < bytes => FileState::Truncated { bytes: found },
            (true, _) => FileState::Current,
        }
    }

    /// Returns whether the file has no name any longer, as far as the file system tells.
    pub(super) fn is_unlinked(&self) -> bool {
        let status = self.descriptors.any().and_then(|fd| os::status(fd).ok());
        status.is_some_and(|found| found.st_nlink == 0)
    }
}
