//! Bytes in ring words: reading, writing and comparing keys and values.
//!
//! A key or a value starts with a word and takes whole words; the last one is padded with zeros. A [`Span`] is those words,
//! in two pieces if they wrap around the end of the ring. Bytes are copied word by word with relaxed loads and stores,
//! because other processes may write at the same time; readers validate afterwards what they copied.
//!
//! This module has the only code that declares copied bytes to be initialised, in [`Span::read`].

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::hashing::BLOCK;
use super::layout::WORD;
use super::mapped_words::{AtomicU64, store};
use crate::error::OutOfMemory;
use crate::memory::try_with_capacity;

/// Words of a record in its ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) first: &'a [AtomicU64],
    /// The words at the beginning of the ring, if the span wraps around its end.
    pub(super) second: &'a [AtomicU64],
}

impl<'a> Span<'a> {
    /// Iterates over the words.
    pub(super) fn words(self) -> impl Iterator<Item = &'a AtomicU64> {
        self.first.iter().chain(self.second)
    }

    /// Copies the bytes to `buffer` and returns it.
    ///
    /// # Panics
    ///
    /// If the span does not have exactly the words that the length of the buffer takes.
    pub(super) fn read(self, buffer: &mut [MaybeUninit<u8>]) -> &mut [u8] {
        let (one, other) = buffer.split_at_mut((self.first.len() * WORD).min(buffer.len()));
        copy_words(self.first, one, (), |(), _| ());
        copy_words(self.second, other, (), |(), _| ());
        let bytes = std::ptr::from_mut::<[MaybeUninit<u8>]>(buffer) as *mut [u8];
        // SAFETY: `bytes` is the buffer, borrowed for as long as the result is. `copy_words` has written every byte of both
        // of its parts, or has panicked. `MaybeUninit<u8>` has the layout of `u8`.
        #[allow(unsafe_code)]
        unsafe {
            &mut *bytes
        }
    }

    /// Copies the first `len` bytes to a new vector.
    pub(super) fn to_vec(self, len: usize) -> Result<Vec<u8>, OutOfMemory> {
        // With capacity for whole words, so that nothing is reallocated.
        let mut bytes = try_with_capacity(len.next_multiple_of(WORD))?;
        for word in self.words().take(len.div_ceil(WORD)) {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Stores bytes in the words, the last one padded with zeros.
    pub(super) fn write(self, bytes: &[u8]) {
        let (one, other) = bytes.split_at((self.first.len() * WORD).min(bytes.len()));
        store_bytes(self.first, one);
        store_bytes(self.second, other);
    }

    /// Returns whether the words hold these bytes, the last one padded with zeros.
    #[inline(always)]
    pub(super) fn holds(self, bytes: &[u8]) -> bool {
        let (one, other) = bytes.split_at((self.first.len() * WORD).min(bytes.len()));
        are_equal(self.first, one) && are_equal(self.second, other)
    }
}

/// Copies words to all of `buffer`, and folds them while they are in registers: `fold` gets `state` and each block of
/// words, the last one padded with zeros. Returns the last state. (A state that a closure borrows would go through memory.)
///
/// # Panics
///
/// If there are not exactly as many words as the length of the buffer takes.
#[inline(always)]
pub(super) fn copy_words<T>(
    words: &[AtomicU64],
    buffer: &mut [MaybeUninit<u8>],
    mut state: T,
    fold: impl Fn(T, &[u64; BLOCK]) -> T,
) -> T {
    assert!(
        words.len() == buffer.len().div_ceil(WORD),
        "the words are not the buffer's"
    );
    let (blocks, last) = buffer.as_chunks_mut::<{ BLOCK * WORD }>();
    let (words, rest) = words.split_at(blocks.len() * BLOCK);
    for (bytes, words) in blocks.iter_mut().zip(words.as_chunks::<BLOCK>().0) {
        let block: [u64; BLOCK] = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
        for (bytes, word) in bytes.as_chunks_mut::<WORD>().0.iter_mut().zip(block) {
            *bytes = initialised(word);
        }
        state = fold(state, &block);
    }
    if rest.is_empty() {
        return state;
    }
    let mut block = [0; BLOCK];
    for (at, word) in rest.iter().take(BLOCK).enumerate() {
        block[at] = word.load(Ordering::Relaxed);
    }
    let (whole, odd) = last.as_chunks_mut::<WORD>();
    for (bytes, word) in whole.iter_mut().zip(block) {
        *bytes = initialised(word);
    }
    odd.copy_from_slice(&initialised(block[whole.len() % BLOCK])[..odd.len()]);
    fold(state, &block)
}

#[inline(always)]
fn initialised(word: u64) -> [MaybeUninit<u8>; WORD] {
    word.to_ne_bytes().map(MaybeUninit::new)
}

/// Returns the bytes at the end that do not fill a word, padded with zeros; `None` if there are none.
#[inline(always)]
fn last_word(bytes: &[u8]) -> Option<u64> {
    let odd = bytes.len() % WORD;
    if odd == 0 {
        return None;
    }
    let Some(last) = bytes.last_chunk::<WORD>() else {
        let mut last = [0; WORD];
        last[..odd].copy_from_slice(bytes);
        return Some(u64::from_ne_bytes(last));
    };
    // A copy of variable length would be a function call.
    let before = u8::BITS as usize * (WORD - odd);
    let last = u64::from_ne_bytes(*last);
    Some(if cfg!(target_endian = "little") {
        last >> before
    } else {
        last << before
    })
}

#[inline(always)]
fn are_equal(words: &[AtomicU64], bytes: &[u8]) -> bool {
    let (whole, _) = bytes.as_chunks::<WORD>();
    let is = |word: &AtomicU64, bytes| word.load(Ordering::Relaxed) == bytes;
    let same = whole
        .iter()
        .zip(words)
        .all(|(bytes, word)| is(word, u64::from_ne_bytes(*bytes)));
    let last = last_word(bytes).zip(words.get(whole.len()));
    same && last.is_none_or(|(bytes, word)| is(word, bytes))
}

fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, _) = bytes.as_chunks::<WORD>();
    for (word, bytes) in words.iter().zip(whole) {
        store(word, u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if let Some((word, last)) = words.get(whole.len()).zip(last_word(bytes)) {
        store(word, last, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bytes to a span of `first` and then other words, reads them back and compares them.
    fn round_trip(len: usize, first: usize) {
        let words: Vec<AtomicU64> = (0..len.div_ceil(WORD))
            .map(|_| AtomicU64::new(u64::MAX))
            .collect();
        let (first, second) = words.split_at(first.min(words.len()));
        let span = Span { first, second };
        let bytes: Vec<u8> = (1..=u8::MAX).cycle().take(len).collect();
        span.write(&bytes);
        assert!(span.holds(&bytes));
        let mut buffer = vec![MaybeUninit::uninit(); len];
        assert_eq!(span.read(&mut buffer), bytes);
        assert_eq!(span.to_vec(len), Ok(bytes));
    }

    #[test]
    fn bytes_of_any_length_are_read_as_they_were_written() {
        for len in 0..200 {
            for first in [0, 1, 7, 8, 9, 100] {
                round_trip(len, first);
            }
        }
    }

    #[test]
    #[should_panic(expected = "the words are not the buffer's")]
    fn a_buffer_that_the_words_do_not_fill_is_refused() {
        let words = [AtomicU64::new(0)];
        let span = Span {
            first: &words,
            second: &[],
        };
        span.read(&mut [MaybeUninit::uninit(); WORD + 1]);
    }
}
