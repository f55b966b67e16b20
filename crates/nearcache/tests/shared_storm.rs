//! Many processes use all operations at the same time, and are killed at random and restarted. None hangs, no value is torn
//! or another key's, and the file is valid in the end. Meanwhile one process checks the whole file repeatedly, and one
//! copies it page by page and opens the copies as after a reboot.
//!
//! `NEARCACHE_STORM_SECONDS` sets the duration.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nearcache::shared::{Claim, ClaimRequest, Event, Incremented, NewEntry, SharedCache, SharedError};
use nearcache::{Condition, Timestamp};
use support::{End, Scratch, has_ended, shared_words, signal, spawn, wait};

const INTEGER: u8 = 7;
const VALUE: u8 = 1;
/// No operation takes this long unless it hangs.
const HUNG: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(3);

/// What children report: how much they have done, and how many values they have verified; how often the file was checked,
/// and how many copies were opened; then a heartbeat for each of them.
const DONE: usize = 0;
const WHOLE: usize = 1;
const CHECKS: usize = 2;
const COPIES: usize = 3;
/// Not 0, because checks and copies end.
const IS_OVER: usize = 4;
const BEATS: usize = 5;

const PAGE: usize = 4096;
/// The words of the header that hold the boot id.
const BOOT: usize = 9;

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 3
}

fn below(seed: &mut u64, bound: u64) -> usize {
    usize::try_from(next(seed) % bound).unwrap()
}

fn checksum(key: &[u8], sequence: u64, filling: &[u8]) -> u64 {
    let start = sequence ^ 0xcbf2_9ce4_8422_2325;
    key.iter().chain(filling).fold(start, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns a value that can be verified: length of the key, sequence, checksum, key, filling.
fn certified(key: &[u8], sequence: u64, len: usize) -> Vec<u8> {
    let mut state = sequence;
    let filling: Vec<u8> = (0..len).map(|_| next(&mut state).to_le_bytes()[0]).collect();
    let head = [key.len() as u64, sequence, checksum(key, sequence, &filling)];
    let head = head.iter().flat_map(|word| word.to_le_bytes());
    head.chain(key.iter().copied()).chain(filling).collect()
}

fn assert_whole(key: &[u8], value: &[u8]) {
    let words: Vec<u64> = value
        .chunks(8)
        .take(3)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    let (own, filling) = value[24..].split_at(usize::try_from(words[0]).unwrap().min(value.len() - 24));
    assert_eq!(own, key, "the value of another key");
    assert_eq!(
        words[2],
        checksum(key, words[1], filling),
        "a torn value under {key:?}"
    );
}

struct Worker<'a> {
    cache: SharedCache,
    progress: &'a [AtomicU64],
    seed: u64,
    keys: u64,
    longest: u64,
    is_copy: bool,
}

impl Worker<'_> {
    fn key(&mut self) -> Vec<u8> {
        // Some keys are used much more often than others.
        let range = if next(&mut self.seed).is_multiple_of(2) {
            self.keys
        } else {
            self.keys / 16
        };
        let number = next(&mut self.seed) % range;
        let mut key = format!("key {number}").into_bytes();
        key.resize(key.len() + usize::try_from(number % 40).unwrap(), b'.');
        key
    }

    fn value(&mut self, key: &[u8]) -> Vec<u8> {
        let longest = if next(&mut self.seed).is_multiple_of(32) {
            self.longest
        } else {
            1500
        };
        let sequence = next(&mut self.seed);
        let len = below(&mut self.seed, longest);
        certified(key, sequence, len)
    }

    fn expires(&mut self) -> Timestamp {
        let ttl = Duration::from_millis(next(&mut self.seed) % 2000);
        let mortal = next(&mut self.seed).is_multiple_of(4);
        self.cache.expiry(mortal.then_some(ttl))
    }

    fn found(&self, key: &[u8], value: &[u8]) {
        assert_whole(key, value);
        self.progress[WHOLE].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&mut self, key: &[u8]) {
        let cache = &self.cache;
        match below(&mut self.seed, 40) {
            4 => {
                let mut value = Vec::new();
                if cache.get_stale_into(key, &mut value).unwrap().is_some() {
                    cache.count(Event::StaleHit);
                    self.found(key, &value);
                }
            }
            0 => drop(cache.expires_at(key)),
            1 => drop(cache.contains(key)),
            2 => {
                for key in cache.keys().take(50).map(Result::unwrap) {
                    assert!(key == b"count" || key == b"watchdog" || key.starts_with(b"key "));
                }
            }
            // After a reboot, counts may be wrong until the recount ends.
            3 => assert!(self.is_copy || cache.stats().counts.weight <= cache.stats().capacity_bytes),
            _ => {
                if let Some(value) = cache.get(key) {
                    self.found(key, &value);
                }
            }
        }
    }

    fn count_up(&mut self) -> Result<(), SharedError> {
        let zero = 0_i64.to_ne_bytes();
        match self.cache.incr(b"count", 1, INTEGER)? {
            Incremented::Value(sum) => assert!(sum > 0),
            Incremented::Missing => drop(self.cache.insert_entry_if(
                b"count",
                NewEntry::new(&zero).kind(INTEGER),
                Condition::IfAbsent,
            )?),
            other => panic!("{other:?}"),
        }
        if next(&mut self.seed).is_multiple_of(2000) {
            self.cache.clear();
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), SharedError> {
        match below(&mut self.seed, 3) {
            0 => drop(self.cache.remove(key)?),
            1 => {
                if let Some(found) = self.cache.peek(key) {
                    self.cache.remove_if_unchanged(key, found.stamp)?;
                }
            }
            _ => drop(self.cache.remove_if(key, |kind, value| {
                assert_whole(key, value);
                kind == VALUE && value[8].is_multiple_of(2)
            })?),
        }
        Ok(())
    }

    /// Claims a key, and completes or releases its flight, or leaves it to others.
    fn fly(&mut self, key: &[u8], item: NewEntry<'_>) -> Result<(), SharedError> {
        let number = next(&mut self.seed);
        let is_odd = number % 2 == 1;
        let request = ClaimRequest::new(number);
        let request = if is_odd { request.refresh() } else { request };
        match self.cache.claim(key, request)? {
            Claim::Hit => assert!(!is_odd || item.value.len() > 30_000, "refused to refresh"),
            Claim::Leader if number % 8 < 5 => drop(self.cache.complete(key, number, item)?),
            Claim::Leader if number % 8 < 7 => drop(self.cache.release(key, number)?),
            Claim::Leader => {}
            Claim::Held(flight) if self.cache.is_alive(flight.process) && !number.is_multiple_of(4) => {}
            Claim::Held(flight) => drop(self.cache.claim(key, request.overtake(flight))?),
        }
        Ok(())
    }

    /// Reads or computes a value.
    fn compute(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), SharedError> {
        let ttl = Some(Duration::from_millis(500));
        let hasty = self.cache.with_flight_timeout(PAUSE);
        self.found(key, &hasty.get_or_insert_with(key, ttl, || value)?);
        Ok(())
    }

    fn step(&mut self) -> Result<(), SharedError> {
        let key = self.key();
        let choice = below(&mut self.seed, 28);
        if choice < 12 {
            self.read(&key);
            return Ok(());
        }
        let (bytes, expires) = (self.value(&key), self.expires());
        let mut item = NewEntry::new(&bytes).kind(VALUE).expires_at(expires);
        if next(&mut self.seed).is_multiple_of(4) {
            item = item
                .stale_until(expires.after(Duration::from_secs(1)))
                .cost(PAUSE);
        }
        match choice {
            12..16 => self.cache.insert_entry(&key, item)?,
            16 => drop(self.cache.insert_entry_if(&key, item, Condition::IfAbsent)?),
            17 => drop(self.cache.insert_entry_if(&key, item, Condition::IfPresent)?),
            18 => {
                if let Some(found) = self.cache.peek(&key) {
                    self.cache.insert_entry_if_unchanged(&key, item, found.stamp)?;
                }
            }
            19 => {
                let updated = self.cache.update(&key, |kind, old| {
                    assert_whole(&key, old);
                    Ok::<_, ()>((kind, bytes.clone()))
                });
                // Other writers may have changed the entry during every attempt.
                drop(updated);
            }
            20 => drop(self.cache.touch(&key, Some(Duration::from_millis(500)))?),
            21 => drop(self.cache.expire_at(&key, expires)?),
            22 => self.remove(&key)?,
            23..26 => self.fly(&key, item)?,
            26 => self.compute(&key, bytes)?,
            _ => self.count_up()?,
        }
        Ok(())
    }

    fn run(&mut self, beat: usize) -> i32 {
        loop {
            if let Err(error) = self.step() {
                panic!("{error}");
            }
            self.progress[DONE].fetch_add(1, Ordering::Relaxed);
            self.progress[BEATS + beat].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Checks the whole file repeatedly.
fn check_repeatedly(path: &Path, bytes: u64, progress: &[AtomicU64]) -> i32 {
    let cache = SharedCache::builder(path)
        .bytes(bytes)
        .lock_timeout(HUNG)
        .open()
        .unwrap();
    while progress[IS_OVER].load(Ordering::Relaxed) == 0 {
        cache.validate().unwrap();
        progress[CHECKS].fetch_add(1, Ordering::Relaxed);
    }
    0
}

/// Copies a file that others write to, page by page in some order, as a file of an earlier boot.
fn copy(path: &Path, to: &Path, seed: &mut u64) {
    let from = File::open(path).unwrap();
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .unwrap();
    let pages = usize::try_from(from.metadata().unwrap().len()).unwrap() / PAGE;
    let (mut page, first) = ([0; PAGE], below(seed, pages as u64));
    // In ascending order from some page on, or in descending order.
    let descending = next(seed).is_multiple_of(2);
    for number in 0..pages {
        let number = if descending { pages - number } else { number };
        let at = ((first + number) % pages * PAGE) as u64;
        from.read_exact_at(&mut page, at).unwrap();
        to.write_all_at(&page, at).unwrap();
        if next(seed).is_multiple_of(64) {
            thread::sleep(Duration::from_micros(next(seed) % 5000));
        }
    }
    to.write_all_at(&[1; 16], (BOOT * 8) as u64).unwrap();
}

/// Copies the file repeatedly, and uses the copies.
fn copy_repeatedly(path: &Path, bytes: u64, progress: &'static [AtomicU64]) -> i32 {
    let to = path.with_extension("copy");
    let mut seed = bytes | 1;
    // The work in a copy is not reported with the rest.
    let own: &'static [AtomicU64] = Box::leak(progress.iter().map(|_| AtomicU64::new(0)).collect());
    while progress[IS_OVER].load(Ordering::Relaxed) == 0 {
        copy(path, &to, &mut seed);
        let cache = SharedCache::open(&to, bytes).unwrap();
        let mut worker = Worker {
            cache,
            progress: own,
            seed: next(&mut seed) | 1,
            keys: bytes / 1500,
            longest: bytes / 20,
            is_copy: true,
        };
        let keys: Vec<_> = worker.cache.keys().map(Result::unwrap).collect();
        for key in keys.iter().filter(|key| key.starts_with(b"key ")) {
            if let Some(value) = worker.cache.get(key) {
                worker.found(key, &value);
            }
        }
        for _ in 0..next(&mut seed) % 3000 {
            worker.step().unwrap();
        }
        // A check of such a copy sometimes finds wrong counts, so only its values are verified.
        drop(worker.cache.validate());
        fs::remove_file(&to).unwrap();
        progress[COPIES].fetch_add(1, Ordering::Relaxed);
    }
    0
}

struct Storm<'a> {
    path: &'a Path,
    bytes: u64,
    progress: &'static [AtomicU64],
    children: Vec<libc::pid_t>,
    seed: u64,
    kills: u64,
}

impl Storm<'_> {
    fn start(&mut self, at: usize) {
        let (path, bytes, progress, seed) = (self.path, self.bytes, self.progress, next(&mut self.seed) | 1);
        self.children[at] = spawn(|| {
            let cache = SharedCache::builder(path)
                .bytes(bytes)
                .lock_timeout(HUNG)
                .open()
                .unwrap();
            let mut worker = Worker {
                cache,
                progress,
                seed,
                keys: bytes / 1500,
                longest: bytes / 20,
                is_copy: false,
            };
            worker.run(at)
        });
    }

    fn kill(&mut self, at: usize) {
        let child = self.children[at];
        if next(&mut self.seed).is_multiple_of(8) {
            // Long enough for others to wait for a lock that it may hold.
            signal(child, libc::SIGSTOP);
            thread::sleep(PAUSE * 5);
            if next(&mut self.seed).is_multiple_of(2) {
                signal(child, libc::SIGCONT);
                return;
            }
        }
        signal(child, libc::SIGKILL);
        let end = wait(child);
        assert_eq!(end, End::Killed(libc::SIGKILL), "the child failed by itself");
        self.kills += 1;
        self.start(at);
    }

    /// Checks that every child continues when none is killed any more.
    fn assert_all_go_on(&self) {
        let beats = || -> Vec<u64> {
            let beats = self.progress[BEATS..][..self.children.len()].iter();
            beats.map(|beat| beat.load(Ordering::Relaxed)).collect()
        };
        let (before, start) = (beats(), Instant::now());
        while beats().iter().zip(&before).any(|(now, before)| now <= before) {
            assert!(start.elapsed() < HUNG, "hung: {before:?}, then {:?}", beats());
            assert!(self.children.iter().all(|child| has_ended(*child).is_none()));
            thread::sleep(PAUSE);
        }
    }

    fn rage(&mut self, watchdog: &SharedCache, length: Duration) {
        (0..self.children.len()).for_each(|at| self.start(at));
        let (path, bytes, progress) = (self.path, self.bytes, self.progress);
        let checker = spawn(|| check_repeatedly(path, bytes, progress));
        let copier = spawn(|| copy_repeatedly(path, bytes, progress));
        let start = Instant::now();
        while start.elapsed() < length {
            thread::sleep(PAUSE);
            let at = below(&mut self.seed, self.children.len() as u64);
            self.kill(at);
            let asked = Instant::now();
            watchdog.insert(b"watchdog", b"bark", None).unwrap();
            assert!(asked.elapsed() < HUNG / 4, "{:?}", asked.elapsed());
        }
        progress[IS_OVER].store(1, Ordering::Relaxed);
        let ends = [checker, copier].map(wait);
        self.assert_all_go_on();
        for child in &self.children {
            signal(*child, libc::SIGKILL);
            assert_eq!(wait(*child), End::Killed(libc::SIGKILL));
        }
        assert_eq!(ends, [End::Exit(0); 2], "the check or the copy failed");
    }
}

fn storm(bytes: u64, length: Duration) {
    let scratch = Scratch::new("storm");
    let path = scratch.path();
    let cache = SharedCache::builder(&path)
        .bytes(bytes)
        .lock_timeout(HUNG)
        .open()
        .unwrap();
    let cores = thread::available_parallelism().unwrap().get();
    // A small file has no more than 64 process slots.
    let children = (2 * cores).clamp(4, 56);
    let mut storm = Storm {
        path: &path,
        bytes,
        progress: shared_words(BEATS + children),
        children: vec![0; children],
        seed: 0x9e37_79b9_7f4a_7c15 ^ bytes,
        kills: 0,
    };
    storm.rage(&cache, length);

    let [done, whole, checks, copies] =
        [DONE, WHOLE, CHECKS, COPIES].map(|at| storm.progress[at].load(Ordering::Relaxed));
    let (report, stats) = (cache.validate().unwrap(), cache.stats());
    eprintln!(
        "{bytes} bytes, {children} processes: {} kills, {done} operations, {whole} values whole, {checks} checks, {copies} copies, \
         {report:?}, {stats:?}",
        storm.kills
    );
    // Reads may have timed out, waiting for a writer that was stopped. A write that timed out would have ended its child.
    assert_eq!(stats.damages, 0);
    assert_eq!(stats.counts.entries, report.entries + report.torn);
    assert!(stats.counts.weight <= bytes && report.record_bytes <= stats.counts.weight);
    assert!(stats.counts.insertions > 0 && checks > 0 && copies > 0);
    // A value that was computed, or that another caller computed meanwhile, counts as a miss.
    assert!(stats.counts.hits + stats.counts.misses + stats.stale_hits >= whole);
    assert!(
        stats.counts.flights > 100 && stats.saved > Duration::ZERO,
        "{stats:?}"
    );
    assert!(u128::from(storm.kills) > length.as_millis() / 100 && done > 1000);
    // Dead processes hold no slots: as many processes as before can open the file.
    let all: Vec<_> = (0..children)
        .map(|_| SharedCache::open(&path, bytes).unwrap())
        .collect();
    for key in cache
        .keys()
        .map(Result::unwrap)
        .filter(|key| key.starts_with(b"key "))
    {
        if let Some(value) = all[0].get(&key) {
            assert_whole(&key, &value);
        }
    }
}

#[test]
fn processes_killed_at_random_cause_no_hangs_and_no_torn_values() {
    let seconds = std::env::var("NEARCACHE_STORM_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(10);
    // One shard, and two.
    for bytes in [1 << 20, 16 << 20] {
        storm(bytes, Duration::from_secs(seconds) / 2);
    }
}
