//! The memory of a [`NearState`](super::NearState)'s words: zeroed memory of this process, or a mapped file.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};
use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::state::Words;

/// Allocates zeroed words, which are never freed.
///
/// # Errors
///
/// [`io::ErrorKind::OutOfMemory`] if the allocation fails.
pub(super) fn allocate() -> io::Result<&'static Words> {
    let layout = Layout::new::<Words>();
    // SAFETY: `Words` is not empty, so neither is the layout.
    let memory = unsafe { alloc_zeroed(layout) };
    #[allow(clippy::cast_ptr_alignment)] // the layout has the alignment
    let memory = NonNull::new(memory.cast::<Words>()).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: the memory is new, has the layout of `Words` and is never freed. `Words` consists of atomic integers, for which
    // zeros are valid.
    Ok(unsafe { memory.as_ref() })
}

/// Maps the words at the beginning of a file, for ever. The file must be at least that long.
pub(super) fn map(file: &File) -> io::Result<&'static Words> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: with a null address and without `FIXED`, the kernel chooses an unused range, so no memory of this process is
    // affected.
    let base = unsafe {
        mmap(
            ptr::null_mut(),
            size_of::<Words>(),
            protection,
            MapFlags::SHARED,
            file,
            0,
        )
    }?;
    let base = NonNull::new(base.cast::<Words>()).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: the range is as long as `Words`, aligned to a page, and never unmapped. `Words` consists of atomic integers:
    // every bit pattern is valid, and other processes may change them. The file keeps its length: this program only
    // extends it, and only its user could truncate it.
    Ok(unsafe { base.as_ref() })
}
