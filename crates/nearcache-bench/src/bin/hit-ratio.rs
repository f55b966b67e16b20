//! Replays request traces through the real cache and prints hit ratios.
//!
//! Each request is a get and, on a miss, an insert of weight 1. One shard, no expiry; the cold start counts.

use std::path::PathBuf;
use std::process::ExitCode;

use nearcache::Eviction;
use nearcache::local::Cache;
use nearcache_bench::trace::Trace;

const USAGE: &str = "usage: hit-ratio [--policy s3-fifo|adaptive|lru] --capacity N TRACE.u64.zst...";

/// What the command line asks for.
struct Args {
    eviction: Eviction,
    capacity: u64,
    traces: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("hit-ratio: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    for path in &args.traces {
        let trace = match Trace::read(path) {
            Ok(trace) => trace,
            Err(error) => {
                eprintln!("hit-ratio: {error}");
                return ExitCode::FAILURE;
            }
        };
        let ratio = hit_ratio(&trace.keys, args.eviction, args.capacity);
        println!("{} {} hit_ratio={ratio:.4}", trace.name, args.capacity);
    }
    ExitCode::SUCCESS
}

/// Reads the command line; `None` if help is asked for.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let (mut eviction, mut capacity, mut traces) = (Eviction::S3Fifo, None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--policy" => eviction = policy(&words.next().ok_or("--policy needs a name")?)?,
            "--capacity" => capacity = Some(entries(&words.next().ok_or("--capacity needs a number")?)?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            path => traces.push(PathBuf::from(path)),
        }
    }
    let capacity = capacity.ok_or("--capacity is missing")?;
    if traces.is_empty() {
        return Err("no trace is named".into());
    }
    Ok(Some(Args {
        eviction,
        capacity,
        traces,
    }))
}

fn policy(name: &str) -> Result<Eviction, String> {
    match name {
        "s3-fifo" => Ok(Eviction::S3Fifo),
        "adaptive" => Ok(Eviction::Adaptive),
        "lru" => Ok(Eviction::Lru),
        _ => Err(format!(
            "unknown policy {name:?}; there are s3-fifo, adaptive and lru"
        )),
    }
}

fn entries(number: &str) -> Result<u64, String> {
    let parsed = number.parse().ok().filter(|&entries| entries > 0);
    parsed.ok_or_else(|| format!("capacity {number:?} is not a whole number of at least 1"))
}

/// The share of requests that found their key.
fn hit_ratio(keys: &[u64], eviction: Eviction, capacity: u64) -> f64 {
    let cache = Cache::builder()
        .max_entries(capacity)
        .eviction(eviction)
        .shards(1)
        .build();
    for key in keys.iter().map(|key| key.to_le_bytes()) {
        if cache.get(&key).is_none() {
            // Cannot be rejected: the weight is not bounded.
            let _ = cache.insert(&key, (), None);
        }
    }
    cache.stats().hit_ratio().unwrap_or(0.0)
}
