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

use nearcache::shared::{Claim, ClaimRequest, FlightId, Incremented, NewEntry, SharedCache, SharedError};
use nearcache::{Clock, Condition, ManualClock, Timestamp};

pub(crate) const BYTES: u64 = 1 << 20;
const INTEGER: u8 = 7;
/// Larger than the largest value in a file of this size.
pub(crate) const TOO_LARGE: usize = 600_000;

/// A step on both.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Get(u8),
    Insert(u8, usize, Condition, Option<u64>),
    InsertKind(u8, usize, u8, Option<u64>),
    /// Inserts a value with a time to live and a stale time.
    InsertStale(u8, usize, u64, u64),
    GetStale(u8),
    /// Claims a flight, as a refresh or not.
    Claim(u8, bool),
    Complete(u8, usize, u64, u64),
    Release(u8),
    Integer(u8, i64),
    Incr(u8, i64),
    IncrOrInit(u8, i64, Option<u64>),
    Update(u8, usize),
    Remove(u8),
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
    stale: Duration,
}

impl Kept {
    fn is_from_the_future(&self, now: Timestamp) -> bool {
        self.written > now.after(Duration::from_millis(1000))
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.expires == Timestamp::NEVER || !self.expires.is_over(now) && !self.is_from_the_future(now)
    }

    /// Returns whether the value may be used, perhaps in its stale time.
    fn is_usable(&self, now: Timestamp) -> bool {
        let is_stale = !self.is_from_the_future(now) && !self.expires.after(self.stale).is_over(now);
        self.is_live(now) || is_stale && !self.stale.is_zero()
    }
}

struct Pair {
    cache: SharedCache<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    naive: HashMap<Vec<u8>, Kept>,
    /// The number of each flight in progress.
    flights: HashMap<Vec<u8>, u64>,
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

    fn usable(&self, key: &[u8]) -> Option<&Kept> {
        self.naive.get(key).filter(|kept| kept.is_usable(self.now()))
    }

    /// Returns whether an entry stays in the file: it can be used, or a flight for its key is in progress.
    fn stays(&self, key: &[u8]) -> bool {
        self.usable(key).is_some() || self.flights.contains_key(key)
    }

    fn forget(&mut self, key: &[u8]) {
        self.naive.remove(key);
        self.flights.remove(key);
    }

    fn has_evicted(&self) -> bool {
        self.cache.stats().counts.evictions > 0
    }

    /// Compares whether a key is present. The cache may have evicted an entry that the map still has.
    fn agree_on_presence(&mut self, key: &[u8], present: bool) {
        if self.live(key).is_some() != present {
            assert!(!present && self.has_evicted(), "found {present} under {key:?}");
            self.forget(key);
        }
    }

    fn keep(&mut self, key: Vec<u8>, kind: u8, value: Vec<u8>, expires: Timestamp) {
        self.keep_stale(key, kind, value, expires, Duration::ZERO);
    }

    fn keep_stale(&mut self, key: Vec<u8>, kind: u8, value: Vec<u8>, expires: Timestamp, stale: Duration) {
        let written = self.now();
        // A write ends the flight for its key.
        self.flights.remove(&key);
        self.naive.insert(
            key,
            Kept {
                kind,
                value,
                expires,
                written,
                stale,
            },
        );
    }

    fn insert(&mut self, number: u8, len: usize, condition: Condition, ttl: Option<u64>) {
        let (key, value) = (key(number), self.value(len));
        let ttl = ttl.map(Duration::from_millis);
        let inserted = match condition {
            Condition::Always => self.cache.insert(&key, &value, ttl).map(|()| true),
            Condition::IfAbsent => self.cache.insert_if_absent(&key, &value, ttl),
            Condition::IfPresent => self.cache.insert_if_present(&key, &value, ttl),
        };
        match inserted {
            Ok(inserted) if condition != Condition::Always => {
                self.agree_on_presence(&key, inserted == (condition == Condition::IfPresent));
            }
            _ => {}
        }
        self.agree_on_insertion(key, 0, value, self.cache.expiry(ttl), inserted);
    }

    fn insert_kind(&mut self, number: u8, len: usize, kind: u8, ttl: Option<u64>) {
        let (key, value) = (key(number), self.value(len));
        let expires = self.cache.expiry(ttl.map(Duration::from_millis));
        let entry = NewEntry::new(&value).kind(kind).expires_at(expires);
        let inserted = self.cache.insert_entry(&key, entry).map(|()| true);
        self.agree_on_insertion(key, kind, value, expires, inserted);
    }

    fn agree_on_insertion(
        &mut self,
        key: Vec<u8>,
        kind: u8,
        value: Vec<u8>,
        expires: Timestamp,
        inserted: Result<bool, SharedError>,
    ) {
        match inserted {
            Ok(true) => self.keep(key, kind, value, expires),
            Ok(false) => {}
            Err(SharedError::Rejected(_)) => {
                assert!(
                    value.len() > self.cache.max_value_bytes(key.len()),
                    "{} bytes rejected",
                    value.len()
                );
                self.forget(&key);
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

    fn get_stale(&mut self, key: &[u8]) {
        let mut value = Vec::new();
        let found = self.cache.get_stale_into(key, &mut value).unwrap();
        if found.is_none() && self.usable(key).is_some() {
            assert!(self.has_evicted(), "no stale value under {key:?}");
            self.forget(key);
        }
        let found = found.map(|found| (found.kind, value, found.expires_at));
        let kept = self.usable(key);
        assert_eq!(
            found,
            kept.map(|kept| (kept.kind, kept.value.clone(), kept.expires))
        );
    }

    fn claim(&mut self, key: &[u8], is_refresh: bool) {
        self.writes += 1;
        let number = self.writes;
        let request = ClaimRequest::new(number);
        let request = if is_refresh { request.refresh() } else { request };
        let claim = self.cache.claim(key, request).unwrap();
        let process = self.cache.process_id().unwrap();
        let expected = match (self.live(key), self.flights.get(key).copied()) {
            (Some(_), _) if !is_refresh => Claim::Hit,
            (_, Some(number)) => Claim::Held(FlightId { process, number }),
            (_, None) => Claim::Leader,
        };
        if claim != expected {
            assert!(
                claim == Claim::Leader && self.has_evicted(),
                "{claim:?}, not {expected:?}"
            );
            self.forget(key);
        }
        if claim == Claim::Leader {
            let now = self.now();
            if let Some(kept) = self.naive.get_mut(key) {
                kept.written = now;
            }
            self.flights.insert(key.to_vec(), number);
        }
    }

    /// Inserts a value with a stale time, if `number` is that of the key's flight or `None`.
    fn insert_stale(&mut self, key: Vec<u8>, len: usize, number: Option<u64>, ttl: u64, stale: u64) {
        let value = self.value(len);
        let expires = self.cache.expiry(Some(Duration::from_millis(ttl)));
        let stale = Duration::from_millis(stale);
        let entry = NewEntry::new(&value)
            .expires_at(expires)
            .stale_until(expires.after(stale))
            .cost(stale);
        let stored = match number {
            Some(number) => self.cache.complete(&key, number, entry),
            None => self.cache.insert_entry(&key, entry).map(|()| true),
        };
        match stored {
            Ok(true) => self.keep_stale(key, 0, value, expires, stale),
            Ok(false) => {
                assert!(!self.flights.contains_key(&key) || self.has_evicted());
                if self.flights.contains_key(&key) {
                    self.forget(&key);
                }
            }
            Err(SharedError::Rejected(_)) => self.forget(&key),
            Err(error) => panic!("{error}"),
        }
    }

    fn release(&mut self, key: &[u8]) {
        let number = self.flights.remove(key);
        let released = self.cache.release(key, number.unwrap_or_default()).unwrap();
        assert!(released == number.is_some() || self.has_evicted() && !released);
        if number.is_some() && (!released || self.usable(key).is_none()) {
            self.naive.remove(key);
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
            self.flights.remove(key);
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
            Some(kept) => {
                kept.value = sum.to_ne_bytes().to_vec();
                self.flights.remove(key);
            }
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
                self.flights.remove(key);
            }
        } else {
            assert!(len > self.cache.max_value_bytes(key.len()));
            self.forget(key);
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
            Step::Insert(number, len, condition, ttl) => self.insert(number, len, condition, ttl),
            Step::InsertKind(number, len, kind, ttl) => self.insert_kind(number, len, kind, ttl),
            Step::InsertStale(number, len, ttl, stale) => {
                self.insert_stale(key(number), len, None, ttl, stale);
            }
            Step::GetStale(number) => self.get_stale(&key(number)),
            Step::Claim(number, is_refresh) => self.claim(&key(number), is_refresh),
            Step::Complete(number, len, ttl, stale) => {
                let flight = self.flights.get(&key(number)).copied();
                self.insert_stale(key(number), len, Some(flight.unwrap_or_default()), ttl, stale);
            }
            Step::Release(number) => self.release(&key(number)),
            Step::Integer(number, value) => {
                let bytes = value.to_ne_bytes();
                self.cache
                    .insert_entry(&key(number), NewEntry::new(&bytes).kind(INTEGER))
                    .unwrap();
                self.keep(key(number), INTEGER, bytes.to_vec(), Timestamp::NEVER);
            }
            Step::Incr(number, delta) => self.incr(&key(number), delta),
            Step::IncrOrInit(number, delta, ttl) => self.incr_or_init(&key(number), delta, ttl),
            Step::Update(number, len) => self.update(&key(number), len),
            Step::Remove(number) => {
                let removed = self.cache.remove(&key(number)).unwrap();
                self.agree_on_presence(&key(number), removed);
                self.forget(&key(number));
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
                self.flights.clear();
            }
            Step::Advance(millis) => self.clock.advance(Duration::from_millis(millis)),
            Step::StepBack(millis) => {
                let micros = i64::try_from(millis * 1000).unwrap();
                self.clock
                    .set(Timestamp::from_unix_micros(self.now().as_unix_micros() - micros));
                // Entries that the cache found expired meanwhile stay expired.
                for key in (0..24)
                    .map(key)
                    .filter(|key| !self.stays(key))
                    .collect::<Vec<_>>()
                {
                    self.naive.remove(&key);
                    self.cache.remove(&key).unwrap();
                }
            }
            Step::Keys => self.keys(),
        }
        if !matches!(step, Step::StepBack(_)) {
            // An entry that has expired stays expired, even if the clock is set back later.
            let dead: Vec<_> = self
                .naive
                .keys()
                .filter(|key| !self.stays(key))
                .cloned()
                .collect();
            for key in dead {
                self.naive.remove(&key);
                assert!(!self.cache.remove(&key).unwrap(), "{key:?} is dead");
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
        flights: HashMap::new(),
        writes: 0,
    };
    for step in steps {
        pair.run(step);
    }
    pair.keys();
    let stats = pair.cache.stats();
    assert_eq!((stats.damages, stats.recoveries, stats.timeouts), (0, 0, 0));
}
