//! The file in this process's memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::slice;

use super::layout::WORD;
use super::words::AtomicU64;

/// A mapped file, as words that any process may change at any time.
#[derive(Debug)]
pub(super) struct Map {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: it is memory that lives as long as the map does, and is only touched as atomics.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `words` words of a file that has them all.
    pub(super) fn new(file: &File, words: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                words * WORD,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, words })
    }

    /// All words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped, aligned to pages, until `self` is dropped; atomics may be shared with other
        // processes. The file is not made shorter (docs/design/shared.md tells who could).
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nobody holds a reference to the words any longer; unmapping what was mapped cannot fail.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * WORD) };
    }
}
