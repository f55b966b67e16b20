//! Hit ratios on made-up traffic with times to live and unequal sizes, for every policy.
//!
//! A million keys requested by Zipf's law (exponent 0.9), a thousand requests a second; on a miss an insert. By its key an
//! entry lives 300 s (60 %), 60 s (20 %) or an hour (20 %), and has a lognormal size with a mean of 4 KB. The same requests
//! for every policy and capacity; one shard; the first half warms up and does not count.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use nearcache::local::Cache;
use nearcache::{Eviction, ManualClock};

const KEYS: u64 = 1_000_000;
const EXPONENT: f64 = 0.9;
const REQUESTS: u64 = 6_000_000;
const BETWEEN_REQUESTS: Duration = Duration::from_millis(1);
const CAPACITIES_MB: [u64; 4] = [4, 16, 64, 256];
const MEAN_SIZE: f64 = 4096.0;
/// Of the logarithm of a size.
const DEVIATION: f64 = 1.0;
const POLICIES: [(&str, Eviction); 3] = [
    ("lru", Eviction::Lru),
    ("s3-fifo", Eviction::S3Fifo),
    ("adaptive", Eviction::Adaptive),
];

fn main() {
    for megabytes in CAPACITIES_MB {
        for (name, eviction) in POLICIES {
            let ratio = hit_ratio(eviction, megabytes << 20);
            println!("ttl-mix {megabytes}MB {name} hit_ratio={ratio:.4}");
        }
    }
}

fn hit_ratio(eviction: Eviction, capacity: u64) -> f64 {
    let clock = Arc::new(ManualClock::default());
    let builder = Cache::builder().max_weight(capacity).eviction(eviction).shards(1);
    let cache = builder
        .weigher(|_, size: &u64| *size)
        .clock(Arc::clone(&clock))
        .build();
    let mut random = Random(1);
    let mut warm = cache.stats();
    for request in 0..REQUESTS {
        if request == REQUESTS / 2 {
            warm = cache.stats();
        }
        clock.advance(BETWEEN_REQUESTS);
        let number = random.zipf();
        let key = number.to_le_bytes();
        if cache.get(&key).is_none() {
            // An entry larger than the cache is rejected, and its next request is a miss, as in a real program.
            let _ = cache.insert(&key, size(number), Some(time_to_live(number)));
        }
    }
    let stats = cache.stats();
    #[allow(clippy::cast_precision_loss)] // a ratio is shown to a few digits
    let (hits, misses) = (
        (stats.hits - warm.hits) as f64,
        (stats.misses - warm.misses) as f64,
    );
    hits / (hits + misses)
}

fn time_to_live(number: u64) -> Duration {
    match Random(number ^ 0x5EED).next() % 10 {
        0..6 => Duration::from_mins(5),
        6..8 => Duration::from_mins(1),
        _ => Duration::from_hours(1),
    }
}

/// Box and Muller's normal deviate, exponentiated.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a size in bytes
fn size(number: u64) -> u64 {
    let mut random = Random(number ^ 0x0512E);
    let normal = (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (TAU * random.unit()).cos();
    let location = MEAN_SIZE.ln() - DEVIATION * DEVIATION / 2.0;
    (location + DEVIATION * normal).exp().max(1.0) as u64
}

/// `SplitMix64` (Steele, Lea & Flood, OOPSLA 2014): the same at every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits, which is what an f64 holds
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A key's rank, by the inverse of Zipf's distribution taken as continuous.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn zipf(&mut self) -> u64 {
        let power = 1.0 - EXPONENT;
        let last = (KEYS as f64).powf(power);
        (1.0 + self.unit() * (last - 1.0)).powf(1.0 / power) as u64
    }
}
