//! What an entry costs beside its key and value, counted at the allocator.
#![allow(unsafe_code, clippy::unwrap_used, clippy::cast_precision_loss)] // counts shown to one digit

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nearcache::Eviction;
use nearcache::local::{Cache, RawCache};

/// The bar. A test here fails when a struct grows beyond it.
const MAX_BOOKKEEPING: f64 = 48.0;
const KEY_LEN: usize = 16;

struct Counting;

thread_local! {
    /// Bytes that this thread has allocated, less what it has freed: the test harness, in another, counts for nothing.
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: isize) {
    ALLOCATED.set(ALLOCATED.get() + sign * bytes.cast_signed());
}

// SAFETY: every call is the system allocator's; only the bytes asked for are counted beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn key(number: usize) -> [u8; KEY_LEN] {
    (number as u128).to_le_bytes()
}

/// Bytes an entry of a full cache takes beside its key and value, its part of table and ghosts included.
fn bookkeeping(eviction: Eviction, entries: usize) -> f64 {
    let before = ALLOCATED.get();
    let cache = Cache::builder()
        .max_entries(entries as u64)
        .eviction(eviction)
        .shards(1)
        .build();
    // Some are asked for again, so that both queues and both ghosts fill up.
    for number in 0..entries * 4 {
        cache.insert(&key(number), 0_u64, None).unwrap();
        for back in [10, entries / 3] {
            let _ = cache.get(&key(number.saturating_sub(back)));
        }
    }
    assert_eq!(cache.len(), entries as u64);
    let taken = ALLOCATED.get() - before;
    taken as f64 / entries as f64 - (KEY_LEN + size_of::<u64>()) as f64
}

/// One test, since what is counted is the whole process's.
#[test]
fn bookkeeping_of_an_entry_is_at_most_48_bytes() {
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo, Eviction::Lru] {
        let measured = [1_000, 1_100, 1_500, 2_500, 10_000, 50_000, 200_000].map(|entries| {
            let bytes = bookkeeping(eviction, entries);
            println!("{eviction:?}, {entries} entries: {bytes:.1} bytes of bookkeeping each");
            bytes
        });
        assert!(
            measured.iter().all(|&bytes| bytes <= MAX_BOOKKEEPING),
            "{measured:?}"
        );
        // What is counted against a limit on memory is what is taken, by a few bytes.
        let mean = measured.iter().sum::<f64>() / measured.len() as f64;
        assert!(
            (mean - RawCache::<u64>::BOOKKEEPING as f64).abs() < 5.0,
            "{eviction:?}: {mean}"
        );
    }
}
