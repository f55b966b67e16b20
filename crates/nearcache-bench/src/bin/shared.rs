//! What the shared cache costs: time, bytes of bookkeeping, copying, the longest write.
//!
//!     cargo run --release -p nearcache-bench --bin shared [FILE]

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nearcache::shared::{ClaimRequest, NewEntry, SharedCache};

const BYTES: u64 = 64 << 20;
const ROUNDS: u64 = 2_000_000;
const INTEGER: u8 = 1;

type Outcome = Result<(), Box<dyn Error>>;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `bound`, low numbers far more often.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn skewed(&mut self, bound: u64) -> u64 {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((bound as f64).powf(part) - 1.0) as u64
    }
}

fn key(number: u64) -> [u8; 20] {
    let mut key = *b":1:views.page.000000";
    let mut left = number;
    for digit in key[14..].iter_mut().rev() {
        *digit = b'0' + (left % 10).to_le_bytes()[0];
        left /= 10;
    }
    key
}

#[allow(clippy::cast_precision_loss)] // shown to a few digits
fn show(what: &str, elapsed: Duration, rounds: u64) {
    println!("{what:<44} {:>8.1} ns", elapsed.as_nanos() as f64 / rounds as f64);
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn time(what: &str, rounds: u64, mut run: impl FnMut(u64) -> Outcome) -> Outcome {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        for round in 0..rounds {
            run(round)?;
        }
        best = best.min(start.elapsed());
    }
    show(what, best, rounds);
    Ok(())
}

fn speed(path: &Path) -> Outcome {
    for len in [8, 100, 1000, 10_000, 100_000] {
        let cache = SharedCache::open(path, BYTES)?;
        cache.clear();
        let value = vec![7; len];
        let keys = 1000.min(BYTES / 4 / len as u64);
        for number in 0..keys {
            cache.insert(&key(number), &value, None)?;
        }
        let names: Vec<_> = (0..keys).map(key).collect();
        let pick = |round: u64| &names[usize::try_from(round % keys).unwrap_or_default()][..];
        let rounds = ROUNDS / (1 + len as u64 / 500);
        let mut room = Vec::with_capacity(len);
        time(&format!("get {len} B of {keys}"), rounds, |round| {
            black_box(cache.get_into(pick(round), &mut room).is_ok());
            Ok(())
        })?;
        time(&format!("insert {len} B in place"), rounds, |round| {
            Ok(cache.insert(pick(round), &value, None)?)
        })?;
        time(
            &format!("insert {len} B new, evicting"),
            rounds.min(900_000),
            |round| Ok(cache.insert(&key(round), &value, None)?),
        )?;
    }
    let cache = SharedCache::open(path, BYTES)?;
    cache.insert_entry(b"count", NewEntry::new(&0_i64.to_ne_bytes()).kind(INTEGER))?;
    time("get of what is not there", ROUNDS, |_| {
        black_box(cache.contains(b"nothing"));
        Ok(())
    })?;
    time("incr", ROUNDS, |_| {
        black_box(cache.incr(b"count", 1, INTEGER)?);
        Ok(())
    })?;
    let values = vec![7; 100];
    for number in 0..200_000 {
        cache.insert(&key(number), &values, None)?;
    }
    let (mut random, mut room) = (Random(9), Vec::with_capacity(100));
    time("get 100 B of 200,000 at random", ROUNDS, |_| {
        black_box(cache.get_into(&key(random.next() % 200_000), &mut room).is_ok());
        Ok(())
    })
}

/// Entries with a cost, and flights.
fn flights(path: &Path) -> Outcome {
    let cache = SharedCache::open(path, BYTES)?;
    cache.clear();
    let value = [7; 100];
    let entry = NewEntry::new(&value).cost(Duration::from_millis(5));
    let names: Vec<_> = (0..1000).map(key).collect();
    for name in &names {
        cache.insert_entry(name, entry)?;
    }
    let pick = |round: u64| &names[usize::try_from(round % 1000).unwrap_or_default()][..];
    let mut room = Vec::with_capacity(100);
    time("get 100 B with a cost", ROUNDS, |round| {
        black_box(cache.get_into(pick(round), &mut room).is_ok());
        Ok(())
    })?;
    time("claim and release a refresh", ROUNDS, |round| {
        cache.claim(pick(round), ClaimRequest::new(round).refresh())?;
        black_box(cache.release(pick(round), round)?);
        Ok(())
    })?;
    time("claim and complete 100 B new, evicting", 900_000, |round| {
        let name = key(1000 + round);
        cache.claim(&name, ClaimRequest::new(round))?;
        black_box(cache.complete(&name, round, entry)?);
        Ok(())
    })
}

fn bookkeeping(path: &Path) -> Outcome {
    let cache = SharedCache::open(path, BYTES)?;
    for len in [20, 100, 1000] {
        cache.clear();
        for number in 0..900_000 {
            cache.insert(&key(number), &vec![1; len], None)?;
        }
        let report = cache.validate()?;
        let payload = report.payload_bytes;
        println!(
            "{len:>5} B values: {} records, {:.1} B bookkeeping each of record, {:.1} B of the whole file, {:.1} % of the file key and value",
            report.entries,
            ratio(report.record_bytes - payload, report.entries),
            ratio(BYTES - payload, report.entries),
            ratio(payload, BYTES) * 100.0,
        );
    }
    Ok(())
}

/// Gets with an insertion at each miss, overwrites, removals, times to live; sizes around a kilobyte.
fn mixed(path: &Path, keys: u64) -> Outcome {
    let cache = SharedCache::open(path, BYTES)?;
    cache.clear();
    let mut random = Random(5);
    let mut room = Vec::new();
    let value = vec![3; 20_000];
    let mut longest = Vec::new();
    let (mut hits, mut gets) = (0_u64, 0_u64);
    for round in 0..3_000_000_u64 {
        if round == 1_500_000 {
            cache.reset_stats();
            longest.clear();
            (hits, gets) = (0, 0);
        }
        let key = key(random.skewed(keys));
        let size = random.next();
        let len = usize::try_from(64 + (size % 40) * (size >> 8 & 63)).unwrap_or_default();
        let write = match random.next() % 20 {
            0 => {
                cache.remove(&key)?;
                false
            }
            1 | 2 => true,
            _ => {
                gets += 1;
                let found = matches!(cache.get_into(&key, &mut room), Ok(Some(_)));
                hits += u64::from(found);
                !found
            }
        };
        if write {
            let ttl = [None, Some(Duration::from_secs(2)), Some(Duration::from_mins(5))];
            let ttl = ttl[usize::try_from(size >> 40 & 3).unwrap_or_default() % 3];
            let start = Instant::now();
            cache.insert(&key, &value[..len], ttl)?;
            longest.push(start.elapsed());
        }
    }
    longest.sort_unstable();
    let (report, stats) = (cache.validate()?, cache.stats());
    let at = |part: usize| longest[longest.len() * part / 10_000];
    println!(
        "mixed, {keys} keys: {:.1} % hits; {:.1} % of the file live records, {:.1} % key and value; {:.2} B moved per B written; insert: median {:?}, 99.99 % {:?}, longest {:?}",
        ratio(hits, gets) * 100.0,
        ratio(report.record_bytes, BYTES) * 100.0,
        ratio(report.payload_bytes, BYTES) * 100.0,
        ratio(stats.moved_bytes, stats.written_bytes),
        at(5000),
        at(9999),
        longest[longest.len() - 1],
    );
    Ok(())
}

fn main() -> Outcome {
    let path = std::env::args_os().nth(1).map_or_else(
        || PathBuf::from(format!("/dev/shm/nearcache-bench-{}", std::process::id())),
        PathBuf::from,
    );
    let start = Instant::now();
    drop(SharedCache::open(&path, BYTES)?);
    let made = start.elapsed();
    let start = Instant::now();
    drop(SharedCache::open(&path, BYTES)?);
    println!("made in {made:?}, opened in {:?}", start.elapsed());
    let outcome = speed(&path)
        .and_then(|()| flights(&path))
        .and_then(|()| bookkeeping(&path))
        .and_then(|()| mixed(&path, 40_000))
        .and_then(|()| mixed(&path, 400_000));
    std::fs::remove_file(&path)?;
    outcome
}
