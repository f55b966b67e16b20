//! A shared cache and a naive map that go through the same steps and must agree after each of them.
#![allow(clippy::unwrap_used)] // in helper code, as in tests
#![allow(
    clippy::single_match,
    clippy::too_many_lines,
    clippy::enum_variant_names,
    clippy::duration_suboptimal_units
)] // a model, read as a table

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nearcache::shared::{Incremented, NewEntry, SharedCache, SharedError};
use nearcache::{Clock, ManualClock, Timestamp};

pub(crate) const BYTES: u64 = 1 << 20;
const INTEGER: u8 = 7;
/// Larger than the largest value in a file of this size.
pub(crate) const TOO_LARGE: usize = 600_000;

/// A step on both.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Get(u8),
    Set(u8, usize, u8, Option<u64>),
    Add(u8, usize),
    SetIfPresent(u8, usize),
    Integer(u8, i64),
    Incr(u8, i64),
    IncrOrInit(u8, i64, Option<u64>),
    Update(u8, usize),
    Delete(u8),
    Touch(u8, Option<u64>),
    Clear,
    Advance(u64),
    StepBack(u64),
    Keys,
}
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    kind: u8,
    value: Vec<u8>,
    expires: Timestamp,
    written: Timestamp,
}

impl Kept {
    fn is_live(&self, now: Timestamp) -> bool {
        let stepped_back = self.written > now.after(Duration::from_millis(1000));
        self.expires == Timestamp::NEVER || !self.expires.is_over(now) && !stepped_back
    }
}

struct Pair {
    cache: SharedCache<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    naive: HashMap<Vec<u8>, Kept>,
    writes: u64,
}

/// Returns a key. The keys include an empty one, a long one, and all lengths around multiples of a word.
fn key(number: u8) -> Vec<u8> {
    match number {
        23 => vec![b'k'; 5000],
        number => (0..number).map(|at| at ^ number).collect(),
    }
}

impl Pair {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn value(&mut self, len: usize) -> Vec<u8> {
        self.writes += 1;
        let start = self.writes.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..len as u64)
            .map(|at| (start.wrapping_add(at * 0x9e37) >> 8).to_le_bytes()[0])
            .collect()
    }

    fn live(&self, key: &[u8]) -> Option<&Kept> {
        self.naive.get(key).filter(|kept| kept.is_live(self.now()))
    }

    fn has_evicted(&self) -> bool {
        self.cache.stats().counts.evictions > 0
    }

    /// Compares whether a key is present. The cache may have evicted an entry that the map still has.
    fn agree_on_presence(&mut self, key: &[u8], present: bool) {
        if self.live(key).is_some() != present {
            assert!(!present && self.has_evicted(), "found {present} under {key:?}");
            self.naive.remove(key);
        }
    }

    fn keep(&mut self, key: Vec<u8>, kind: u8, value: Vec<u8>, expires: Timestamp) {
        let written = self.now();
        self.naive.insert(
            key,
            Kept {
                kind,
                value,
                expires,
                written,
            },
        );
    }

    /// Stores a value, always or only if the presence of the key is `wanted`.
    fn store(&mut self, number: u8, len: usize, wanted: Option<bool>, kind: u8, ttl: Option<u64>) {
        let (key, value) = (key(number), self.value(len));
        let expires = self.cache.expiry(ttl.map(Duration::from_millis));
        let entry = NewEntry::new(&value).kind(kind).expires_at(expires);
        let stored = match wanted {
            None => self.cache.set(&key, entry).map(|()| true),
            Some(false) => self.cache.add(&key, entry),
            Some(true) => self.cache.set_if_present(&key, entry),
        };
        match stored {
            Ok(stored) => {
                if let Some(wanted) = wanted {
                    self.agree_on_presence(&key, wanted == stored);
                }
                if stored {
                    self.keep(key, kind, value, expires);
                }
            }
            Err(SharedError::Rejected(_)) => {
                assert!(
                    len > self.cache.max_value_bytes(key.len()),
                    "{len} bytes rejected"
                );
                self.naive.remove(&key);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn get(&mut self, key: &[u8]) {
        let mut value = Vec::new();
        let found = self.cache.get_into(key, &mut value).unwrap();
        self.agree_on_presence(key, found.is_some());
        if let (Some(found), Some(kept)) = (found, self.live(key)) {
            assert_eq!(
                (found.kind, &value, found.expires_at),
                (kept.kind, &kept.value, kept.expires)
            );
        }
    }

    fn incr(&mut self, key: &[u8], delta: i64) {
        let counted = self.cache.incr(key, delta, INTEGER).unwrap();
        self.agree_on_presence(key, counted != Incremented::Missing);
        let integer = self.live(key).map(|kept| {
            let bytes = <[u8; 8]>::try_from(kept.value.as_slice()).ok();
            bytes.filter(|_| kept.kind == INTEGER).map(i64::from_ne_bytes)
        });
        let expected = match integer {
            None => Incremented::Missing,
            Some(None) => Incremented::NotAnInteger,
            Some(Some(integer)) => integer
                .checked_add(delta)
                .map_or(Incremented::Overflow, Incremented::Value),
        };
        assert_eq!(counted, expected);
        if let (Incremented::Value(sum), Some(kept)) = (counted, self.naive.get_mut(key)) {
            kept.value = sum.to_ne_bytes().to_vec();
        }
    }

    fn incr_or_init(&mut self, key: &[u8], delta: i64, ttl: Option<u64>) {
        let ttl = ttl.map(Duration::from_millis);
        let expires = self.cache.expiry(ttl);
        let counted = self.cache.incr_or_init(key, delta, INTEGER, ttl).unwrap();
        let integer = self.live(key).map(|kept| {
            let bytes = <[u8; 8]>::try_from(kept.value.as_slice()).ok();
            bytes.filter(|_| kept.kind == INTEGER).map(i64::from_ne_bytes)
        });
        let expected = match integer {
            None => Incremented::Value(delta),
            Some(None) => Incremented::NotAnInteger,
            Some(Some(integer)) => integer
                .checked_add(delta)
                .map_or(Incremented::Overflow, Incremented::Value),
        };
        let was_present = integer.is_some() && counted == expected;
        if !was_present {
            assert_eq!(counted, Incremented::Value(delta));
            self.agree_on_presence(key, false);
        }
        let Incremented::Value(sum) = counted else {
            return;
        };
        match self.naive.get_mut(key).filter(|_| was_present) {
            Some(kept) => kept.value = sum.to_ne_bytes().to_vec(),
            None => self.keep(key.to_vec(), INTEGER, sum.to_ne_bytes().to_vec(), expires),
        }
    }

    fn update(&mut self, key: &[u8], len: usize) {
        let value = self.value(len);
        let updated = self
            .cache
            .update::<Infallible>(key, |kind, _| Ok((kind, value.clone())));
        if let Ok(updated) = updated {
            self.agree_on_presence(key, updated);
            let now = self.now();
            if let Some(kept) = self.naive.get_mut(key).filter(|_| updated) {
                (kept.value, kept.written) = (value, now);
            }
        } else {
            assert!(len > self.cache.max_value_bytes(key.len()));
            self.naive.remove(key);
        }
    }

    fn keys(&mut self) {
        let mut found: Vec<Vec<u8>> = self.cache.keys().map(Result::unwrap).collect();
        let mut kept: Vec<Vec<u8>> = self
            .naive
            .keys()
            .filter(|key| self.live(key).is_some())
            .cloned()
            .collect();
        found.sort();
        kept.sort();
        if self.has_evicted() {
            assert!(found.iter().all(|key| kept.contains(key)));
        } else {
            assert_eq!(found, kept);
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Get(number) => self.get(&key(number)),
            Step::Set(number, len, kind, ttl) => self.store(number, len, None, kind, ttl),
            Step::Add(number, len) => self.store(number, len, Some(false), 0, None),
            Step::SetIfPresent(number, len) => self.store(number, len, Some(true), 0, None),
            Step::Integer(number, value) => {
                let bytes = value.to_ne_bytes();
                self.cache
                    .set(&key(number), NewEntry::new(&bytes).kind(INTEGER))
                    .unwrap();
                self.keep(key(number), INTEGER, bytes.to_vec(), Timestamp::NEVER);
            }
            Step::Incr(number, delta) => self.incr(&key(number), delta),
            Step::IncrOrInit(number, delta, ttl) => self.incr_or_init(&key(number), delta, ttl),
            Step::Update(number, len) => self.update(&key(number), len),
            Step::Delete(number) => {
                let deleted = self.cache.delete(&key(number)).unwrap();
                self.agree_on_presence(&key(number), deleted);
                self.naive.remove(&key(number));
            }
            Step::Touch(number, ttl) => {
                let touched = self
                    .cache
                    .touch(&key(number), ttl.map(Duration::from_millis))
                    .unwrap();
                self.agree_on_presence(&key(number), touched);
                let (expires, now) = (self.cache.expiry(ttl.map(Duration::from_millis)), self.now());
                if let Some(kept) = self.naive.get_mut(&key(number)).filter(|_| touched) {
                    (kept.expires, kept.written) = (expires, now);
                }
            }
            Step::Clear => {
                self.cache.clear();
                self.naive.clear();
            }
            Step::Advance(millis) => self.clock.advance(Duration::from_millis(millis)),
            Step::StepBack(millis) => {
                let micros = i64::try_from(millis * 1000).unwrap();
                self.clock
                    .set(Timestamp::from_unix_micros(self.now().as_unix_micros() - micros));
                // Entries that the cache found expired meanwhile stay expired.
                let now = self.now();
                self.naive.retain(|_, kept| kept.is_live(now));
                let gone: Vec<_> = (0..24)
                    .map(key)
                    .filter(|key| !self.naive.contains_key(key))
                    .collect();
                for key in gone {
                    self.cache.delete(&key).unwrap();
                }
            }
            Step::Keys => self.keys(),
        }
        if !matches!(step, Step::StepBack(_)) {
            // An entry that has expired stays expired, even if the clock is set back later.
            let now = self.now();
            let dead: Vec<_> = self
                .naive
                .iter()
                .filter(|(_, kept)| !kept.is_live(now))
                .map(|(key, _)| key.clone())
                .collect();
            for key in dead {
                self.naive.remove(&key);
                assert!(!self.cache.delete(&key).unwrap(), "{key:?} is dead");
            }
        }
        if let Err(error) = self.cache.validate() {
            panic!("{error}");
        }
    }
}

/// A file that is removed when this is dropped.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "nearcache-model-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            memory.into()
        } else {
            std::env::temp_dir()
        };
        Self(directory.join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Runs the steps and compares after each.
pub(crate) fn agree(steps: &[Step]) {
    let place = Place::new();
    let clock = Arc::new(ManualClock::default());
    clock.set(Timestamp::from_unix_micros(1_700_000_000_000_000));
    let cache = SharedCache::builder(&place.0)
        .bytes(BYTES)
        .clock(Arc::clone(&clock))
        .open()
        .unwrap();
    let mut pair = Pair {
        cache,
        clock,
        naive: HashMap::new(),
        writes: 0,
    };
    for step in steps {
        pair.run(step);
    }
    pair.keys();
    let stats = pair.cache.stats();
    assert_eq!((stats.damages, stats.recoveries, stats.timeouts), (0, 0, 0));
}
