//! A mapped file with a textbook mutex for each part of it: what the cache is compared with.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// As many as the cache has shards.
const PARTS: usize = 8;
/// Words of a part before those that are written: the mutex and room around it.
const LEAD: usize = 512;
pub(crate) const MEGABYTE: usize = 1 << 20;

/// Words that all processes share.
#[derive(Debug)]
pub(crate) struct Memory {
    words: &'static [AtomicU64],
}

/// How a part is protected during a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Futex,
    None,
}

impl Memory {
    /// Maps a file until the process ends.
    pub(crate) fn map(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, wherever the kernel puts it.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: so many words are mapped and never unmapped; they are accessed as atomics only.
        let words = unsafe { slice::from_raw_parts(base.cast::<AtomicU64>(), bytes / 8) };
        Ok(Self { words })
    }

    /// Writes to each page.
    pub(crate) fn touch(&self) {
        for word in self.words.iter().skip(LEAD - 1).step_by(LEAD) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Copies a value to a place that `random` determines, and reads and writes `touches` other words at random.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn write(&self, random: u64, value: &[u8], touches: u32, protection: Protection) {
        let part = self.words.len() / PARTS;
        let words = &self.words[part * (random as usize % PARTS)..][..part];
        let (lead, words) = words.split_at(LEAD);
        // SAFETY: the lower half of an aligned word is an aligned `u32`. It is never accessed as a part of the word.
        let mutex = unsafe { AtomicU32::from_ptr(lead[0].as_ptr().cast()) };
        if protection == Protection::Futex {
            lock(mutex);
        }
        let mut draw = random;
        for _ in 0..touches {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = &words[(draw >> 33) as usize % words.len()];
            // What is read decides nothing, but the next place waits for it, as in a search.
            draw ^= word.load(Ordering::Relaxed) & 1;
            word.store(draw & !1, Ordering::Relaxed);
        }
        let (bytes, _) = value.as_chunks::<8>();
        let start = (random >> 8) as usize % (words.len() - bytes.len());
        for (word, bytes) in words[start..].iter().zip(bytes) {
            word.store(u64::from_ne_bytes(*bytes) & !1, Ordering::Relaxed);
        }
        if protection == Protection::Futex {
            unlock(mutex);
        }
    }

    /// Copies the first megabyte after the first mutex.
    pub(crate) fn copy_megabyte(&self, room: &mut Vec<u8>) {
        room.clear();
        room.reserve(MEGABYTE);
        let from = self.words[LEAD..][..MEGABYTE / 8].as_ptr().cast::<u8>();
        // SAFETY: so many bytes are mapped and reserved. A write by another process tears the copy, which is never read.
        unsafe {
            ptr::copy_nonoverlapping(from, room.as_mut_ptr(), MEGABYTE);
            room.set_len(MEGABYTE);
        }
    }
}

// Drepper, "Futexes Are Tricky" (2011), the second mutex: 0 free, 1 locked, 2 locked and perhaps waited for.

fn lock(mutex: &AtomicU32) {
    let Err(mut state) = mutex.compare_exchange(0, 1, Ordering::Acquire, Ordering::Acquire) else {
        return;
    };
    if state != 2 {
        state = mutex.swap(2, Ordering::Acquire);
    }
    while state != 0 {
        let forever: *const libc::timespec = ptr::null();
        // SAFETY: the mutex is mapped; the kernel reads it atomically.
        unsafe { libc::syscall(libc::SYS_futex, mutex.as_ptr(), libc::FUTEX_WAIT, 2, forever) };
        state = mutex.swap(2, Ordering::Acquire);
    }
}

fn unlock(mutex: &AtomicU32) {
    if mutex.swap(0, Ordering::Release) == 2 {
        // SAFETY: the address only names the waiters.
        unsafe { libc::syscall(libc::SYS_futex, mutex.as_ptr(), libc::FUTEX_WAKE, 1) };
    }
}
