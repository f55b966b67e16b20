//! The cost of each operation of the local cache. Compare rows, not times: machines differ and are noisy.
//!
//! Keys are 16 bytes, values `u64`, and entries expire after an hour, so that the clock is read. A bare `HashMap`, which has no
//! lock, no capacity and no expiry, shows the lower bound.
#![allow(missing_docs)] // criterion's macros

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nearcache::Eviction;
use nearcache::local::Cache;

const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
const POLICIES: [(&str, Eviction); 3] = [
    ("s3-fifo", Eviction::S3Fifo),
    ("adaptive", Eviction::Adaptive),
    ("lru", Eviction::Lru),
];
const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

/// Generates a fixed sequence of numbers that looks random.
struct Scatter(u64);

impl Scatter {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns a rank below `bound`, with a probability proportional to 1/rank.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn zipf(&mut self, bound: u64) -> u64 {
        let uniform = self.below(1 << 40) as f64 / (1_u64 << 40) as f64;
        (bound as f64).powf(uniform) as u64 - 1
    }
}

fn key(number: u64) -> [u8; 16] {
    u128::from(number)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        .to_le_bytes()
}

fn filled(entries: u64, eviction: Eviction) -> Cache<u64> {
    let cache = Cache::builder().max_entries(entries).eviction(eviction).build();
    for number in 0..entries {
        store(&cache, number);
    }
    cache
}

fn store(cache: &Cache<u64>, number: u64) {
    cache
        .insert(&key(number), number, HOUR)
        .expect("the weight is not bounded");
}

fn get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    for entries in SIZES {
        let cache = filled(entries, Eviction::default());
        let mut scatter = Scatter(1);
        group.bench_function(BenchmarkId::new("hit", entries), |bencher| {
            bencher.iter(|| cache.get(black_box(&key(scatter.below(entries)))));
        });
        group.bench_function(BenchmarkId::new("miss", entries), |bencher| {
            bencher.iter(|| cache.get(black_box(&key(entries + scatter.below(entries)))));
        });
        let map: HashMap<_, _> = (0..entries).map(|number| (key(number), number)).collect();
        group.bench_function(BenchmarkId::new("limit-hashmap", entries), |bencher| {
            bencher.iter(|| map.get(black_box(&key(scatter.below(entries)))).copied());
        });
    }
}

/// The same hits and misses with and without single flight.
fn get_or_insert(criterion: &mut Criterion) {
    const ENTRIES: u64 = 1_000;
    let mut group = criterion.benchmark_group("get-or-insert");
    let cache = filled(ENTRIES, Eviction::default());
    let mut scatter = Scatter(1);
    group.bench_function("hit-get", |bencher| {
        bencher.iter(|| cache.get(black_box(&key(scatter.below(ENTRIES)))));
    });
    group.bench_function("hit-get_or_insert_with", |bencher| {
        bencher.iter(|| cache.get_or_insert_with(black_box(&key(scatter.below(ENTRIES))), HOUR, || 0));
    });
    let mut number = ENTRIES;
    group.bench_function("miss-get-and-insert", |bencher| {
        bencher.iter(|| {
            number += 1;
            if cache.get(&key(number)).is_none() {
                store(&cache, black_box(number));
            }
        });
    });
    group.bench_function("miss-get_or_insert_with", |bencher| {
        bencher.iter(|| {
            number += 1;
            cache.get_or_insert_with(&key(number), HOUR, || black_box(number))
        });
    });
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    for (policy, eviction) in POLICIES {
        for entries in SIZES {
            let cache = filled(entries, eviction);
            let mut number = entries;
            group.bench_function(BenchmarkId::new(format!("evict-{policy}"), entries), |bencher| {
                bencher.iter(|| {
                    number += 1;
                    store(&cache, black_box(number));
                });
            });
        }
    }
}

/// Gets, and inserts on a miss, over ten times as many keys as fit. Prints the hit ratio.
fn mix(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mix");
    for (policy, eviction) in POLICIES {
        for entries in SIZES {
            let cache = filled(entries, eviction);
            let mut scatter = Scatter(1);
            group.bench_function(BenchmarkId::new(format!("zipf-{policy}"), entries), |bencher| {
                bencher.iter(|| {
                    let number = scatter.zipf(entries * 10);
                    if cache.get(&key(number)).is_none() {
                        store(&cache, number);
                    }
                });
            });
            let ratio = cache.stats().hit_ratio().unwrap_or_default();
            println!("mix/zipf-{policy}/{entries}  hit ratio: {ratio:.3}");
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = get, get_or_insert, insert, mix
}
criterion_main!(benches);
