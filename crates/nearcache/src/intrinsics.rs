//! Processor intrinsics, with portable forms where a processor has none: comparing many small numbers at once, and prefetching.
//!
//! Every x86-64 processor has these instructions. From the portable comparison the compiler makes three times as many. In a
//! large cache nearly every access is to distant memory, a hundred nanoseconds each; prefetched accesses overlap.

#[cfg(target_arch = "x86_64")]
pub(crate) use self::sse2::{equal_bytes, equal_words, prefetch};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use self::portable::{equal_bytes, equal_words, prefetch};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, clippy::cast_ptr_alignment)]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_cmpeq_epi8, _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8,
        _mm_packs_epi16, _mm_prefetch, _mm_set1_epi8, _mm_set1_epi16,
    };

    /// Returns which bytes are equal to `byte`, a bit each, the first in the lowest bit.
    #[inline]
    pub(crate) fn equal_bytes(bytes: &[u8; 16], byte: u8) -> u32 {
        // SAFETY: SSE2 is part of x86-64. The load reads 16 bytes of any alignment, which is the size of the array.
        unsafe {
            let vector = _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>());
            let equal = _mm_cmpeq_epi8(vector, _mm_set1_epi8(byte.cast_signed()));
            _mm_movemask_epi8(equal).cast_unsigned()
        }
    }

    /// Returns which words are equal to `word`, a bit each, the first in the lowest bit.
    #[inline]
    pub(crate) fn equal_words(words: &[u16; 16], word: u16) -> u32 {
        let start = words.as_ptr().cast::<__m128i>();
        // SAFETY: SSE2 is part of x86-64. Each load reads 16 bytes of any alignment; two of them are the size of the array.
        unsafe {
            let wanted = _mm_set1_epi16(word.cast_signed());
            let low = _mm_cmpeq_epi16(_mm_loadu_si128(start), wanted);
            let high = _mm_cmpeq_epi16(_mm_loadu_si128(start.add(1)), wanted);
            _mm_movemask_epi8(_mm_packs_epi16(low, high)).cast_unsigned()
        }
    }

    /// Asks the processor to load the cache line of `place`, and does not wait for it.
    #[inline]
    pub(crate) fn prefetch<T>(place: &T) {
        // SAFETY: SSE is part of x86-64. A prefetch reads nothing and accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    pub(crate) fn equal_bytes(bytes: &[u8; 16], byte: u8) -> u32 {
        mask(bytes.iter().map(|&other| other == byte))
    }

    pub(crate) fn equal_words(words: &[u16; 16], word: u16) -> u32 {
        mask(words.iter().map(|&other| other == word))
    }

    fn mask(equal: impl Iterator<Item = bool>) -> u32 {
        let bits = equal
            .zip(0..)
            .map(|(equal, lane): (bool, u32)| u32::from(equal) << lane);
        bits.fold(0, |all, bit| all | bit)
    }

    /// Does nothing: stable Rust has no portable prefetch.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn prefetch<T>(_: &T) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_forms_give_the_same_mask(bytes: [u8; 16], words: [u16; 16], lane in 0..16_usize) {
            let bytes = bytes.map(|byte| byte & 0x83);
            let words = words.map(|word| word & 0x8081);
            prop_assert_eq!(equal_bytes(&bytes, bytes[lane]), portable::equal_bytes(&bytes, bytes[lane]));
            prop_assert_eq!(equal_words(&words, words[lane]), portable::equal_words(&words, words[lane]));
            prop_assert!(equal_words(&words, words[lane]) & 1 << lane != 0);
        }
    }
}
