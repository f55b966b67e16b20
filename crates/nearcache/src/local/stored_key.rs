//! A key as an entry keeps it: one thin pointer to its length and bytes.
//!
//! A `Box<[u8]>` takes 8 bytes more, a sixth of an entry's bookkeeping. The length stands before the bytes, 7 bits to a byte,
//! lowest first, the highest bit set in all but its last byte (LEB128): so one byte for keys of up to 127.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::ops::RangeInclusive;
use std::ptr::NonNull;

use crate::error::OutOfMemory;
use crate::prefetch::prefetch;

/// As many as a `usize` has groups of 7 bits.
const MAX_LENGTH_BYTES: usize = usize::BITS.div_ceil(7) as usize;
const LOW_BITS: u8 = 0x7f;
const MORE: u8 = 0x80;
/// What most keys are as long as, and what is compared without a call.
const COMMON_LENGTHS: RangeInclusive<usize> = 8..=32;

/// The bytes of a key, owned.
///
/// Invariant: the start of an allocation of `layout(n, len)` for `n` length bytes and the `len` bytes they tell.
pub(super) struct StoredKey(NonNull<u8>);

// SAFETY: the allocation is this value's own, and changed by nobody.
unsafe impl Send for StoredKey {}
// SAFETY: as above; there is no way to change it through a reference.
unsafe impl Sync for StoredKey {}

impl StoredKey {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, OutOfMemory> {
        let (head, n) = encode(bytes.len());
        let layout = layout(n, bytes.len()).ok_or(OutOfMemory)?;
        // SAFETY: the layout has at least one byte, that of the length. The new allocation has room for `n` bytes and the
        // key's after them, and overlaps with neither source.
        unsafe {
            let start = NonNull::new(alloc(layout)).ok_or(OutOfMemory)?;
            start.as_ptr().copy_from_nonoverlapping(head.as_ptr(), n);
            let key = start.add(n).as_ptr();
            key.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Ok(Self(start))
        }
    }

    /// Becomes another key of the same length, in the same memory; false if the length is another.
    pub(super) fn overwrite(&mut self, bytes: &[u8]) -> bool {
        // SAFETY: by the invariant there are `n` length bytes and then `len` of the key, which are this value's own. The new
        // key's are as many, and elsewhere, being borrowed while these are borrowed mutably.
        unsafe {
            let (len, n) = decode(self.0);
            if len == bytes.len() {
                let key = self.0.add(n).as_ptr();
                key.copy_from_nonoverlapping(bytes.as_ptr(), len);
            }
            len == bytes.len()
        }
    }

    /// Whether it is this one.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        if !COMMON_LENGTHS.contains(&bytes.len()) {
            return self.is_uncommon(bytes);
        }
        // SAFETY: there is at least one length byte. If it is the asked length it is the only one, having no `MORE`, and
        // as many bytes follow it, which live as long as `self`.
        unsafe {
            usize::from(self.0.read()) == bytes.len()
                && same(
                    std::slice::from_raw_parts(self.0.add(1).as_ptr(), bytes.len()),
                    bytes,
                )
        }
    }

    #[inline(never)]
    fn is_uncommon(&self, bytes: &[u8]) -> bool {
        self.bytes() == bytes
    }

    /// Has it fetched.
    pub(super) fn prefetch(&self) {
        // SAFETY: the first length byte is there as long as `self`.
        prefetch(unsafe { self.0.as_ref() });
    }

    /// The key.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: by the invariant there are `n` length bytes and then `len` of the key, which live as long as `self`.
        unsafe {
            let (len, n) = decode(self.0);
            std::slice::from_raw_parts(self.0.add(n).as_ptr(), len)
        }
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        // SAFETY: by the invariant it was allocated with this very layout, which was valid; it is not used after this.
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

/// Whether they are equal, being of one common length: as two numbers that overlap, since a call of `memcmp` takes a sixth of
/// a hit.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    if other.len() < 16 {
        same_ends::<8>(one, other)
    } else {
        same_ends::<16>(one, other)
    }
}

/// Whether the first so many bytes are equal and the last, which all have.
#[inline]
fn same_ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    let first = one.first_chunk::<N>().zip(other.first_chunk());
    let last = one.last_chunk::<N>().zip(other.last_chunk());
    first
        .zip(last)
        .is_some_and(|((one, other), (end, other_end))| one == other && end == other_end)
}

/// The layout of so many length bytes and a key; `None` for a key within ten bytes of `isize::MAX`.
fn layout(length_bytes: usize, len: usize) -> Option<Layout> {
    Layout::array::<u8>(length_bytes + len).ok()
}

/// A length as bytes, and how many.
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

/// The length that is written at `start`, and how many bytes it takes.
///
/// # Safety
///
/// `start` must be that of a `StoredKey`.
unsafe fn decode(start: NonNull<u8>) -> (usize, usize) {
    // SAFETY: there is at least one length byte.
    let short = unsafe { start.read() };
    if short < MORE {
        return (usize::from(short), 1);
    }
    let (mut len, mut n) = (0, 0);
    loop {
        // SAFETY: what `encode` wrote ends with a byte below `MORE`, and is read no further.
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
    fn a_key_comes_out_as_it_went_in() {
        for len in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_152] {
            let bytes: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect();
            assert_eq!(StoredKey::new(&bytes).unwrap().bytes(), bytes);
        }
    }

    #[test]
    fn a_key_is_no_other_of_its_length() {
        for len in 0..70 {
            let key: Vec<u8> = (0..len).collect();
            assert!(StoredKey::new(&key).unwrap().is(&key));
            assert!(!StoredKey::new(&key).unwrap().is(&[&key[..], &[0]].concat()));
            for at in 0..key.len() {
                let mut other = key.clone();
                other[at] ^= 0x80;
                assert!(!StoredKey::new(&key).unwrap().is(&other));
            }
        }
    }

    #[test]
    fn a_key_becomes_another_of_its_length_only() {
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
