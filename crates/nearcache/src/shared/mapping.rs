//! The memory mapping of a cache file.
//!
//! Other processes change the words at any time, so they are only accessed as atomics. The safety of [`Mapping::words`]
//! depends on the file not becoming shorter; `docs/design/shared.md` describes who could truncate it and what happens then.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::slice;

use super::layout::WORD;
use super::mapped_words::AtomicU64;

/// A mapped file as an array of words that any process may change at any time.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: `base` points to memory that this value owns: `new` mapped it, and only `drop` unmaps it. It is accessed only
// through `words`, as atomics, which any thread may use.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`: shared references give access to atomics only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `words` words of a file. The file must be at least that long.
    pub(super) fn new(file: &File, words: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: with a null address and without MAP_FIXED, the kernel chooses an unused range, so no existing memory of
        // this process is affected.
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

    /// Returns all words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `new` mapped `self.words` words at `base`, and they stay mapped as long as `self`, which the returned
        // slice borrows. mmap aligns `base` to a page. Every bit pattern is an `AtomicU64`, and atomics may be changed by
        // other processes. The file keeps its length: this program never truncates a cache file that has a name, and only
        // its user could do so otherwise (see the module's documentation).
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this range, and `words` borrows `self`, so no reference to it is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * WORD) };
    }
}
