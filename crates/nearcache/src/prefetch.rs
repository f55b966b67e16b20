//! Telling the processor what memory will be wanted, so that it is fetched meanwhile.
//!
//! In a large cache nearly every look is at memory far away, a hundred nanoseconds each; looks that do not wait for one another's
//! answers can be under way together.
#![allow(unsafe_code)]

/// Has the cache line of a place fetched. Nothing happens where the compiler has no stable way to say it.
#[inline]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64; nothing is read, and the address would not even have to be valid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
