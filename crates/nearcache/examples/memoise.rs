//! Memoises an expensive function for several threads: `cargo run --release -p nearcache --example memoise`.
//!
//! Eight threads compute how many primes there are below a number, for some numbers far more often than for others. The cache keeps
//! each answer for at most a minute. Threads that miss the same answer at the same time compute it once: one computes, the others wait.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nearcache::local::Cache;

const THREADS: u8 = 8;
/// Fewer in an unoptimised build, which takes fifty times as long.
const CALLS: u64 = if cfg!(debug_assertions) { 100 } else { 5_000 };
const TTL: Option<Duration> = Some(Duration::from_secs(60));

/// The expensive function.
fn primes_below(limit: u64) -> u32 {
    let is_prime = |n: &u64| (2..=n.isqrt()).all(|factor| !n.is_multiple_of(factor));
    (2..limit).filter(is_prime).map(|_| 1).sum()
}

fn memoised(cache: &Cache<u32>, limit: u64) -> u32 {
    cache.get_or_insert_with(&limit.to_le_bytes(), TTL, || primes_below(limit))
}

/// Returns the argument of a thread's call: small numbers most often.
fn limit(thread: u64, call: u64) -> u64 {
    let scattered = (call * u64::from(THREADS) + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    10 * (1 + (scattered >> 40) % (1 + (scattered & 0x7FF)))
}

/// Makes all calls in all threads, and returns the sum of the answers.
fn sum_of_calls(function: impl Fn(u64) -> u32 + Sync) -> u64 {
    let sum_from = |thread| {
        (0..CALLS)
            .map(|call| u64::from(function(limit(thread, call))))
            .sum()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..u64::from(THREADS))
            .map(|thread| scope.spawn(move || -> u64 { sum_from(thread) }))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

/// Lets all threads ask for the same missing answer at once, and returns how many of them computed it.
fn stampede(ask: impl Fn(&dyn Fn() -> u32) -> u32 + Sync) -> u64 {
    let (computed, start) = (AtomicU64::new(0), Barrier::new(usize::from(THREADS)));
    let compute = || {
        computed.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
        primes_below(1_000)
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                ask(&compute)
            });
        }
    });
    computed.into_inner()
}

fn main() {
    let cache = Cache::builder().max_entries(10_000).build();
    let begin = Instant::now();
    let computed = sum_of_calls(primes_below);
    let without = begin.elapsed();
    let begin = Instant::now();
    let remembered = sum_of_calls(|limit| memoised(&cache, limit));
    let with = begin.elapsed();
    assert_eq!(computed, remembered);
    println!(
        "{} answers: {without:.0?} computed, {with:.0?} memoised",
        u64::from(THREADS) * CALLS
    );
    let numbers: HashSet<u64> = (0..u64::from(THREADS))
        .flat_map(|thread| (0..CALLS).map(move |call| limit(thread, call)))
        .collect();
    assert_eq!(cache.stats().flights, numbers.len() as u64, "each computed once");
    println!("{:#?}", cache.stats());

    let unguarded = stampede(|compute| {
        cache.get(b"a").unwrap_or_else(|| {
            let primes = compute();
            // Fails only if memory is short, and then the answer is not cached.
            let _ = cache.insert(b"a", primes, TTL);
            primes
        })
    });
    let guarded = stampede(|compute| cache.get_or_insert_with(b"b", TTL, compute));
    assert_eq!(guarded, 1);
    println!(
        "{THREADS} threads ask for one missing answer: with get and insert it is computed {unguarded} times, with get_or_insert_with once"
    );
}
