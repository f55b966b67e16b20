//! Where a read puts the value.

use std::mem::MaybeUninit;

use super::record::Stamp;
use crate::error::OutOfMemory;

/// Receives the value of a read.
///
/// The value is copied once, from the file to the buffer that [`buffer`](Self::buffer) returns. No lock is held meanwhile,
/// so the methods may allocate. `Vec<u8>` is a sink; a program that stores typed values can implement one that allocates
/// its own objects.
#[allow(unsafe_code)]
pub trait Sink {
    /// Returns whether the caller already has the value with this stamp, from an earlier read.
    ///
    /// If so, the value is not copied and no other method is called. The read succeeds as usual and counts as a hit. By
    /// default this returns `false`.
    fn has_copy(&mut self, _kind: u8, _len: usize, _stamp: &Stamp) -> bool {
        false
    }

    /// Returns a buffer of exactly `len` bytes for a value of this kind.
    ///
    /// If a writer interferes with the read, this is called again, and the contents of the earlier buffer are invalid. If
    /// the buffer has another length, the read is a miss.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if no memory is available. The read then fails with this error.
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory>;

    /// Reports that the buffer holds the whole value.
    ///
    /// # Safety
    ///
    /// The caller must have written all `len` bytes of the buffer that `buffer` returned last.
    unsafe fn filled(&mut self, len: usize);
}

#[allow(unsafe_code)]
impl Sink for Vec<u8> {
    fn buffer(&mut self, _kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.clear();
        self.try_reserve(len)?;
        Ok(&mut self.spare_capacity_mut()[..len])
    }

    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: `buffer` returned the first `len` bytes of the capacity of this vector, which it had cleared. The caller
        // guarantees that all of them are written.
        unsafe { self.set_len(len) };
    }
}
