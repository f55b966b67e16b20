//! Millions of operations a second, nearcache against other libraries, in one run.
//!
//! All caches of a row are open at the same time and take turns in short bursts; what counts is each one's fastest. Keys are
//! byte strings of 16 bytes, which every cache owns, values `u64`, nothing expires. The keys' order is drawn beforehand. With two threads both use one cache, and
//! the burst lasts until both are done.

use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nearcache_bench::contender::{Contender, Setup, open};

const USAGE: &str =
    "usage: speed [--quick] [FILTER...]   (a filter is part of a row's name, such as 'get hit' or '1K')";
const NAMES: [&str; 6] = [
    "adaptive",
    "quick_cache",
    "moka",
    "mini-moka",
    "foyer-s3fifo",
    "foyer-lfu",
];
/// What the others' ratios are of.
const BASE: usize = 1;
const SIZES: [(&str, u64); 3] = [("1K", 1_000), ("100K", 100_000), ("10M", 10_000_000)];
const THREADS: [usize; 2] = [1, 2];
const BURST: usize = 200_000;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// One in so many operations of the mix is an insertion.
const INSERT_ONE_IN: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Load {
    Hit,
    Miss,
    Insert,
    Mix,
}

const LOADS: [(&str, Load); 4] = [
    ("get hit", Load::Hit),
    ("get miss", Load::Miss),
    ("insert, evicting", Load::Insert),
    ("95/5 Zipf mix", Load::Mix),
];

fn main() -> ExitCode {
    let mut filters: Vec<_> = std::env::args().skip(1).collect();
    let quick = filters.iter().any(|word| word == "--quick");
    filters.retain(|word| word != "--quick");
    if filters.iter().any(|word| word.starts_with('-')) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    println!(
        "| operation | entries | threads | {} |",
        NAMES.join(" | ").replace("adaptive", "nearcache")
    );
    println!("|---|---|---:|{}", "---:|".repeat(NAMES.len()));
    for (size, entries) in SIZES {
        for (load_name, load) in LOADS {
            let row = format!("{load_name} {size}");
            if filters.iter().all(|filter| row.contains(filter.as_str())) {
                run(
                    load,
                    load_name,
                    size,
                    entries,
                    if quick { QUICK_ROUNDS } else { ROUNDS },
                );
            }
        }
    }
    ExitCode::SUCCESS
}

/// One load at one size, with every number of threads.
fn run(load: Load, name: &str, size: &str, entries: u64, rounds: usize) {
    let caches: Vec<_> = NAMES
        .iter()
        .filter_map(|name| open(name, entries, Setup::Default))
        .collect();
    // The requested keys are below `entries`. They are inserted in one order, and once more for caches that settle slowly.
    for cache in &caches {
        (0..entries).chain(0..entries).for_each(|key| {
            if !cache.get(key) {
                cache.insert(key);
            }
        });
    }
    for threads in THREADS {
        let mut fastest = vec![Duration::MAX; caches.len()];
        for round in 0..rounds {
            let plans: Vec<_> = (0..threads)
                .map(|thread| plan(load, entries, round * 8 + thread))
                .collect();
            for (cache, fastest) in caches.iter().zip(&mut fastest) {
                *fastest = burst(cache.as_ref(), &plans).min(*fastest);
            }
        }
        print_row(name, size, threads, &fastest);
    }
}

#[allow(clippy::cast_precision_loss)] // shown to two digits
fn print_row(name: &str, size: &str, threads: usize, fastest: &[Duration]) {
    let rates: Vec<_> = fastest
        .iter()
        .map(|time| (BURST * threads) as f64 / time.as_secs_f64() / 1e6)
        .collect();
    let cells: Vec<_> = rates
        .iter()
        .map(|rate| format!("{rate:.1} ({:.2}x)", rate / rates[BASE]))
        .collect();
    println!("| {name} | {size} | {threads} | {} |", cells.join(" | "));
}

/// An operation: the key, and whether it is to be stored.
type Step = (u64, bool);

/// How long it takes the threads to do what is planned for them, all starting together.
fn burst(cache: &dyn Contender, plans: &[Vec<Step>]) -> Duration {
    let follow = |plan: &[Step]| {
        let mut hits = 0_u64;
        for &(key, store) in plan {
            if store {
                cache.insert(key);
            } else {
                hits += u64::from(cache.get(key));
            }
        }
        std::hint::black_box(hits);
    };
    if let [plan] = plans {
        let start = Instant::now();
        follow(plan);
        return start.elapsed();
    }
    let barrier = Barrier::new(plans.len());
    let timed = |plan| {
        barrier.wait();
        let start = Instant::now();
        follow(plan);
        (start, Instant::now())
    };
    let spans: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = plans.iter().map(|plan| scope.spawn(|| timed(plan))).collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .collect()
    });
    let first = spans.iter().map(|span| span.0).min();
    let last = spans.iter().map(|span| span.1).max();
    first
        .zip(last)
        .map_or(Duration::MAX, |(first, last)| last - first)
}

/// What one thread is to do in a burst.
fn plan(load: Load, entries: u64, seed: usize) -> Vec<Step> {
    let mut random = Scatter(seed as u64 + 1);
    let step = |at: usize| match load {
        Load::Hit => (random.below(entries), false),
        Load::Miss => (entries * 2 + random.below(entries), false),
        // New ones all the time.
        Load::Insert => (entries * 4 + (seed * BURST + at) as u64, true),
        Load::Mix => (random.zipf(entries * 2), random.below(INSERT_ONE_IN) == 0),
    };
    (0..BURST).map(step).collect()
}

/// Numbers in a fixed order that no cache can foresee.
struct Scatter(u64);

impl Scatter {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % bound
    }

    /// A rank below `bound` with a chance that falls off as 1/rank.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // a rank
    fn zipf(&mut self, bound: u64) -> u64 {
        let uniform = self.below(1 << 40) as f64 / (1_u64 << 40) as f64;
        ((bound as f64).powf(uniform) as u64 - 1).min(bound - 1)
    }
}
