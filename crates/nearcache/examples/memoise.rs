//! Memoises an expensive function for several threads: `cargo run --release -p nearcache --example memoise`.
//!
//! Four threads compute how many primes there are below a number, for some numbers far more often than for others. The cache keeps at most
//! 2,000 answers, each for at most a minute.

use std::thread;
use std::time::{Duration, Instant};

use nearcache::local::Cache;

const THREADS: u64 = 4;
/// Fewer in an unoptimised build, which takes fifty times as long.
const CALLS: u64 = if cfg!(debug_assertions) { 100 } else { 5_000 };
const TTL: Option<Duration> = Some(Duration::from_secs(60));

/// The expensive function.
fn primes_below(limit: u64) -> u32 {
    let is_prime = |n: &u64| (2..=n.isqrt()).all(|factor| !n.is_multiple_of(factor));
    (2..limit).filter(is_prime).map(|_| 1).sum()
}

fn memoised(cache: &Cache<u32>, limit: u64) -> u32 {
    let key = limit.to_le_bytes();
    cache.get(&key).unwrap_or_else(|| {
        let primes = primes_below(limit);
        // Fails only if memory is short, and then the answer is not cached. Two threads may both compute an answer; they store the
        // same one.
        let _ = cache.insert(&key, primes, TTL);
        primes
    })
}

/// Returns the argument of a thread's call: small numbers most often.
fn limit(thread: u64, call: u64) -> u64 {
    let scattered = (call * THREADS + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
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
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || -> u64 { sum_from(thread) }))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

fn main() {
    let cache = Cache::builder().max_entries(2_000).build();
    let begin = Instant::now();
    let computed = sum_of_calls(primes_below);
    let without = begin.elapsed();
    let begin = Instant::now();
    let remembered = sum_of_calls(|limit| memoised(&cache, limit));
    let with = begin.elapsed();
    assert_eq!(computed, remembered);
    println!(
        "{} answers: {without:.0?} computed, {with:.0?} memoised",
        THREADS * CALLS
    );
    println!("{:#?}", cache.stats());
}
