//! Memoises an expensive function for several threads: `cargo run --release -p nearcache --example memoise`.
//!
//! Four threads ask how many primes there are below a number, some numbers far more often than others. Answers are kept for a
//! minute at most, and no more than 2,000 of them.

use std::thread;
use std::time::{Duration, Instant};

use nearcache::local::Cache;

const THREADS: u64 = 4;
const QUESTIONS: u64 = 5_000;
const KEPT_FOR: Option<Duration> = Some(Duration::from_secs(60));

/// The expensive function.
fn primes_below(limit: u64) -> u32 {
    let is_prime = |n: &u64| (2..=n.isqrt()).all(|factor| !n.is_multiple_of(factor));
    (2..limit).filter(is_prime).map(|_| 1).sum()
}

fn memoised(cache: &Cache<u32>, limit: u64) -> u32 {
    let key = limit.to_le_bytes();
    cache.get(&key).unwrap_or_else(|| {
        let primes = primes_below(limit);
        // Only a value heavier than the whole cache is rejected, and here every one weighs 1. Two threads may both compute
        // it, and both come to the same.
        let _ = cache.insert(&key, primes, KEPT_FOR);
        primes
    })
}

/// What a thread asks: small numbers most often.
fn limit(thread: u64, question: u64) -> u64 {
    let scattered = (question * THREADS + thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    10 * (1 + (scattered >> 40) % (1 + (scattered & 0x7FF)))
}

/// Asks all questions from all threads; the sum of the answers.
fn ask(answer: impl Fn(u64) -> u32 + Sync) -> u64 {
    let ask_from = |thread| {
        (0..QUESTIONS)
            .map(|question| u64::from(answer(limit(thread, question))))
            .sum()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || -> u64 { ask_from(thread) }))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

fn main() {
    let cache = Cache::builder().max_entries(2_000).build();
    let begin = Instant::now();
    let computed = ask(primes_below);
    let without = begin.elapsed();
    let begin = Instant::now();
    let remembered = ask(|limit| memoised(&cache, limit));
    let with = begin.elapsed();
    assert_eq!(computed, remembered);
    println!(
        "{} answers: {without:.0?} computed, {with:.0?} memoised",
        THREADS * QUESTIONS
    );
    println!("{:#?}", cache.stats());
}
