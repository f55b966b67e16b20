//! An entry's key: one thin pointer to its length and bytes.
//!
//! A `Box<[u8]>` takes 8 bytes more, a sixth of an entry's overhead. The length precedes the bytes in LEB128: 7 bits to a byte,
//! lowest first, with the highest bit set in all bytes but the last. Keys of up to 127 bytes have a length of one byte.
//!
//! **Invariant.** A [`StoredKey`] points to the start of an allocation of its own of `n + len` bytes with alignment 1: the `n`
//! length bytes that `encode(len)` makes, and the `len` bytes of the key. [`StoredKey::new`] establishes this, and nothing
//! changes the length bytes.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::ops::RangeInclusive;
use std::ptr::NonNull;

use crate::error::OutOfMemory;
use crate::intrinsics::prefetch;

/// The length bytes of the longest key.
const MAX_LENGTH_BYTES: usize = usize::BITS.div_ceil(7) as usize;
const LOW_BITS: u8 = 0x7f;
const MORE: u8 = 0x80;
/// The lengths of most keys, which are compared without a call.
const COMMON_LENGTHS: RangeInclusive<usize> = 8..=32;

/// The bytes of a key, owned. See the module's invariant.
pub(super) struct StoredKey(NonNull<u8>);

// SAFETY: by the invariant the allocation belongs to this value alone, as a box's does; bytes can be used in any thread.
unsafe impl Send for StoredKey {}
// SAFETY: a shared reference only reads the allocation; `overwrite` and `drop` take a mutable one.
unsafe impl Sync for StoredKey {}

impl StoredKey {
    /// Copies a key to the heap.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the allocation fails.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, OutOfMemory> {
        let (head, n) = encode(bytes.len());
        let layout = layout(n, bytes.len()).ok_or(OutOfMemory)?;
        // SAFETY: `encode` makes at least one byte, so the layout is not empty. The allocation has `n + bytes.len()` bytes, so both
        // copies are within it, and being new it overlaps with neither source.
        unsafe {
            let start = NonNull::new(alloc(layout)).ok_or(OutOfMemory)?;
            start.as_ptr().copy_from_nonoverlapping(head.as_ptr(), n);
            let key = start.add(n).as_ptr();
            key.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Ok(Self(start))
        }
    }

    /// Overwrites the key with another of the same length. Returns false, and changes nothing, if the length differs.
    pub(super) fn overwrite(&mut self, bytes: &[u8]) -> bool {
        // SAFETY: by the invariant `len` bytes of the key follow the `n` length bytes. `bytes` has `len` bytes too where they are
        // copied, and cannot overlap with the key, which is borrowed mutably.
        unsafe {
            let (len, n) = decode(self.0);
            if len == bytes.len() {
                let key = self.0.add(n).as_ptr();
                key.copy_from_nonoverlapping(bytes.as_ptr(), len);
            }
            len == bytes.len()
        }
    }

    /// Returns whether the key is equal to `bytes`.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn equals(&self, bytes: &[u8]) -> bool {
        if !COMMON_LENGTHS.contains(&bytes.len()) {
            return self.equals_uncommon(bytes);
        }
        // SAFETY: by the invariant there is a first length byte. If it is `bytes.len()`, which is below `MORE`, it is the only one
        // and that many bytes follow it, which live as long as `self`.
        unsafe {
            usize::from(self.0.read()) == bytes.len()
                && equal_common(
                    std::slice::from_raw_parts(self.0.add(1).as_ptr(), bytes.len()),
                    bytes,
                )
        }
    }

    #[inline(never)]
    fn equals_uncommon(&self, bytes: &[u8]) -> bool {
        self.bytes() == bytes
    }

    /// Prefetches the key.
    pub(super) fn prefetch(&self) {
        // SAFETY: by the invariant there is a first length byte, which lives as long as `self`.
        prefetch(unsafe { self.0.as_ref() });
    }

    /// Returns the key.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: by the invariant `len` bytes of the key follow the `n` length bytes, and live as long as `self`.
        unsafe {
            let (len, n) = decode(self.0);
            std::slice::from_raw_parts(self.0.add(n).as_ptr(), len)
        }
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        // SAFETY: by the invariant the allocation has `n + len` bytes and alignment 1, a layout that `new` has checked. `drop` runs
        // once, and nothing uses the allocation after it.
        unsafe {
            let (len, n) = decode(self.0);
            dealloc(self.0.as_ptr(), Layout::from_size_align_unchecked(n + len, 1));
        }
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

/// Returns whether two keys of one common length are equal. Compares two numbers that overlap: a call of `memcmp` takes a
/// sixth of a hit.
#[inline]
fn equal_common(one: &[u8], other: &[u8]) -> bool {
    if other.len() < 16 {
        equal_ends::<8>(one, other)
    } else {
        equal_ends::<16>(one, other)
    }
}

/// Returns whether the first `N` bytes are equal and the last `N`. Both keys have at least `N`.
#[inline]
fn equal_ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    let first = one.first_chunk::<N>().zip(other.first_chunk());
    let last = one.last_chunk::<N>().zip(other.last_chunk());
    first
        .zip(last)
        .is_some_and(|((one, other), (end, other_end))| one == other && end == other_end)
}

/// Returns the layout of the length bytes and a key, or `None` for a key whose length is within ten bytes of `isize::MAX`.
fn layout(length_bytes: usize, len: usize) -> Option<Layout> {
    Layout::array::<u8>(length_bytes + len).ok()
}

/// Encodes a length, and returns the bytes and their number.
#[allow(clippy::cast_possible_truncation)] // 7 bits are taken at a time
fn encode(mut len: usize) -> ([u8; MAX_LENGTH_BYTES], usize) {
    let (mut bytes, mut n) = ([0; MAX_LENGTH_BYTES], 0);
    while len > usize::from(LOW_BITS) {
        bytes[n] = len as u8 | MORE;
        len >>= 7;
        n += 1;
    }
    bytes[n] = len as u8;
    (bytes, n + 1)
}

/// Decodes the length at `start`, and returns it with the number of bytes it takes.
///
/// # Safety
///
/// `start` must be the pointer of a `StoredKey`, for which the module's invariant holds.
unsafe fn decode(start: NonNull<u8>) -> (usize, usize) {
    // SAFETY: by the invariant there is a first length byte.
    let short = unsafe { start.read() };
    if short < MORE {
        return (usize::from(short), 1);
    }
    let (mut len, mut n) = (0, 0);
    loop {
        // SAFETY: `encode` made the length bytes, of which the last is below `MORE`; the loop ends there.
        let byte = unsafe { start.add(n).read() };
        len |= usize::from(byte & LOW_BITS) << (7 * n);
        n += 1;
        if byte < MORE {
            return (len, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_bytes_it_was_made_of() {
        for len in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_152] {
            let bytes: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect();
            assert_eq!(StoredKey::new(&bytes).unwrap().bytes(), bytes);
        }
    }

    #[test]
    fn a_key_equals_its_own_bytes_only() {
        for len in 0..70 {
            let key: Vec<u8> = (0..len).collect();
            assert!(StoredKey::new(&key).unwrap().equals(&key));
            assert!(!StoredKey::new(&key).unwrap().equals(&[&key[..], &[0]].concat()));
            for at in 0..key.len() {
                let mut other = key.clone();
                other[at] ^= 0x80;
                assert!(!StoredKey::new(&key).unwrap().equals(&other));
            }
        }
    }

    #[test]
    fn a_key_can_be_overwritten_by_one_of_its_length_only() {
        for len in [0, 1, 16, 127, 128, 70_000] {
            let mut key = StoredKey::new(&vec![1; len]).unwrap();
            assert!(key.overwrite(&vec![2; len]));
            assert!(!key.overwrite(&vec![3; len + 1]));
            assert_eq!(key.bytes(), vec![2; len]);
        }
    }

    #[test]
    fn a_key_takes_one_pointer_in_its_entry() {
        assert_eq!(size_of::<Option<StoredKey>>(), size_of::<usize>());
    }
}
