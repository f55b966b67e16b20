//! Random operations against a naive map, with a clock of our own; all invariants are checked after every step.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nearcache::local::Cache;
use nearcache::{Clock, Eviction, ManualClock, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

/// What the cache of these tests holds: a value that is its own weight, so that it can be told from the outside.
type Value = u32;

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Insert(u8, Value, Option<u64>),
    InsertIfAbsent(u8, Value, Option<u64>),
    InsertIfPresent(u8, Value, Option<u64>),
    RemoveIf(u8, Value),
    ExpireIf(u8, Value, Option<u64>),
    Add(u8, Value),
    Remove(u8),
    Touch(u8, Option<u64>),
    Contains(u8),
    ExpiresAt(u8),
    Keys,
    Clear,
    Sleep(u64),
    StepBack(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..40_u8;
    let ttl = || prop_oneof![2 => Just(None), 3 => (0..50_u64).prop_map(Some)];
    prop_oneof![
        6 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), 0..30_u32, ttl()).prop_map(|(key, value, ttl)| Op::Insert(key, value, ttl)),
        2 => (key.clone(), 0..30_u32, ttl()).prop_map(|(key, value, ttl)| Op::InsertIfAbsent(key, value, ttl)),
        2 => (key.clone(), 0..30_u32, ttl()).prop_map(|(key, value, ttl)| Op::InsertIfPresent(key, value, ttl)),
        2 => (key.clone(), 0..30_u32).prop_map(|(key, least)| Op::RemoveIf(key, least)),
        2 => (key.clone(), 0..30_u32, ttl()).prop_map(|(key, least, ttl)| Op::ExpireIf(key, least, ttl)),
        2 => (key.clone(), 0..5_u32).prop_map(|(key, delta)| Op::Add(key, delta)),
        2 => key.clone().prop_map(Op::Remove),
        2 => (key.clone(), ttl()).prop_map(|(key, ttl)| Op::Touch(key, ttl)),
        1 => key.clone().prop_map(Op::Contains),
        1 => key.prop_map(Op::ExpiresAt),
        1 => Just(Op::Keys),
        1 => (0..40_u8).prop_map(|n| if n == 0 { Op::Clear } else { Op::Sleep(0) }),
        2 => (0..20_u64).prop_map(Op::Sleep),
        1 => (0..20_u64).prop_map(Op::StepBack),
    ]
}

fn eviction() -> impl Strategy<Value = Eviction> {
    prop_oneof![
        Just(Eviction::S3Fifo),
        Just(Eviction::Adaptive),
        Just(Eviction::Lru)
    ]
}

/// The cache and the map that says what it may answer.
struct Pair {
    cache: Cache<Value, Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    /// Every value that was stored and not removed, with its expiry. The cache may have evicted it.
    model: HashMap<u8, (Value, Timestamp)>,
    max_entries: u64,
    max_weight: u64,
}

impl Pair {
    fn new(eviction: Eviction, shards: usize, max_entries: u64, max_weight: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        let cache = Cache::builder()
            .eviction(eviction)
            .shards(shards)
            .max_entries(max_entries)
            .max_weight(max_weight)
            .weigher(|_, value: &Value| u64::from(*value))
            .clock(Arc::clone(&clock))
            .build();
        Self {
            cache,
            clock,
            model: HashMap::new(),
            max_entries,
            max_weight,
        }
    }

    fn expiry(&self, ttl: Option<u64>) -> Timestamp {
        ttl.map_or(Timestamp::NEVER, |ms| {
            self.clock.now().after(Duration::from_millis(ms))
        })
    }

    /// What the model has under a key, if it is alive.
    fn live(&self, key: u8) -> Option<(Value, Timestamp)> {
        self.model
            .get(&key)
            .copied()
            .filter(|(_, expires_at)| !expires_at.is_over(self.clock.now()))
    }

    /// An answer must be the model's, or nothing; nothing is then no entry to the model either.
    fn agree<T: PartialEq + std::fmt::Debug>(&mut self, key: u8, answer: Option<&T>, expected: Option<&T>) {
        if answer.is_some() {
            assert_eq!(answer, expected, "key {key}");
        } else {
            self.model.remove(&key);
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Get(key) => {
                let (answer, expected) = (self.cache.get(&[key]), self.live(key).map(|(value, _)| value));
                self.agree(key, answer.as_ref(), expected.as_ref());
            }
            Op::Insert(key, value, ttl) => self.insert(key, value, ttl),
            Op::InsertIfAbsent(key, value, ttl) => self.insert_if_absent(key, value, ttl),
            Op::InsertIfPresent(key, value, ttl) => self.insert_if_present(key, value, ttl),
            Op::RemoveIf(key, least) => self.remove_if(key, least),
            Op::ExpireIf(key, least, ttl) => self.expire_if(key, least, ttl),
            Op::Add(key, delta) => self.add(key, delta),
            Op::Remove(key) => {
                let (answer, expected) = (self.cache.remove(&[key]), self.live(key).map(|(value, _)| value));
                self.agree(key, answer.as_ref(), expected.as_ref());
                self.model.remove(&key);
                assert!(!self.cache.contains(&[key]));
            }
            Op::Touch(key, ttl) => self.touch(key, ttl),
            Op::Contains(key) => {
                let answer = self.cache.contains(&[key]).then_some(());
                let expected = self.live(key).map(drop);
                self.agree(key, answer.as_ref(), expected.as_ref());
            }
            Op::ExpiresAt(key) => {
                let (answer, expected) = (
                    self.cache.expires_at(&[key]),
                    self.live(key).map(|(_, expires_at)| expires_at),
                );
                self.agree(key, answer.as_ref(), expected.as_ref());
            }
            Op::Keys => self.keys(),
            Op::Clear => {
                self.cache.clear();
                self.model.clear();
                assert_eq!((self.cache.len(), self.cache.weight()), (0, 0));
            }
            Op::Sleep(ms) => self.clock.advance(Duration::from_millis(ms)),
            Op::StepBack(ms) => {
                let back = self.clock.now().as_unix_micros() - i64::try_from(ms).unwrap() * 1000;
                // What was found dead may be gone for good, so the model forgets it as well.
                let now = self.clock.now();
                self.model.retain(|_, (_, expires_at)| !expires_at.is_over(now));
                self.drop_dead(now);
                self.clock.set(Timestamp::from_unix_micros(back));
            }
        }
    }

    /// Reads every key, so that the cache drops what is dead.
    fn drop_dead(&self, now: Timestamp) {
        for key in 0..40_u8 {
            self.cache.raw().get(&[key], &now);
        }
    }

    fn insert(&mut self, key: u8, value: Value, ttl: Option<u64>) {
        let expires_at = self.expiry(ttl);
        let stored = self.cache.insert(&[key], value, ttl.map(Duration::from_millis));
        assert_eq!(stored.is_err(), u64::from(value) > self.max_weight);
        self.model.remove(&key);
        if stored.is_ok() && !expires_at.is_over(self.clock.now()) {
            self.model.insert(key, (value, expires_at));
            assert_eq!(
                self.cache.get(&[key]),
                Some(value),
                "the newest entry is never the victim"
            );
        } else {
            assert!(!self.cache.contains(&[key]));
        }
    }

    fn insert_if_absent(&mut self, key: u8, value: Value, ttl: Option<u64>) {
        let expires_at = self.expiry(ttl);
        match self
            .cache
            .insert_if_absent(&[key], value, ttl.map(Duration::from_millis))
        {
            Ok(false) => assert!(self.live(key).is_some(), "key {key} was said to be there"),
            Ok(true) => {
                self.model.insert(key, (value, expires_at));
            }
            Err(_) => {
                assert!(u64::from(value) > self.max_weight);
                self.model.remove(&key);
            }
        }
    }

    fn insert_if_present(&mut self, key: u8, value: Value, ttl: Option<u64>) {
        let expires_at = self.expiry(ttl);
        match self
            .cache
            .insert_if_present(&[key], value, ttl.map(Duration::from_millis))
        {
            Ok(true) => {
                assert!(self.live(key).is_some(), "key {key} was not there to be replaced");
                self.model.insert(key, (value, expires_at));
            }
            Ok(false) => self.agree(key, None::<&()>, None),
            Err(_) => {
                assert!(u64::from(value) > self.max_weight);
                self.model.remove(&key);
            }
        }
    }

    fn remove_if(&mut self, key: u8, least: Value) {
        let expected = self.live(key).map(|(value, _)| value);
        if let Some(value) = self.cache.remove_if(&[key], |&value| value >= least) {
            assert_eq!(Some(value), expected);
            assert!(value >= least);
            self.model.remove(&key);
            assert!(!self.cache.contains(&[key]));
        } else {
            let kept = self.cache.contains(&[key]);
            assert!(!kept || expected.is_some_and(|value| value < least));
        }
    }

    fn expire_if(&mut self, key: u8, least: Value, ttl: Option<u64>) {
        let (expected, expires_at) = (self.live(key), self.expiry(ttl));
        let clock = Arc::clone(&self.clock);
        let set = self.cache.raw().expire_if(&[key], &clock, |&value, old| {
            assert_eq!(Some((value, old)), expected);
            (value >= least).then_some(expires_at)
        });
        if set {
            let (value, _) = expected.expect("what was changed is in the model");
            assert!(value >= least);
            self.model.insert(key, (value, expires_at));
            let alive = !expires_at.is_over(self.clock.now());
            assert_eq!(self.cache.expires_at(&[key]), alive.then_some(expires_at));
        }
    }

    fn add(&mut self, key: u8, delta: Value) {
        let expected = self.live(key);
        match self.cache.update(&[key], |old| Ok::<_, Infallible>(old + delta)) {
            Ok(true) => {
                let (old, expires_at) = expected.expect("an updated entry is in the model");
                self.model.insert(key, (old + delta, expires_at));
                assert_eq!(self.cache.get(&[key]), Some(old + delta));
            }
            Ok(false) => self.agree(key, None::<&()>, None),
            Err(_) => {
                assert!(u64::from(expected.expect("it was there").0 + delta) > self.max_weight);
                self.model.remove(&key);
                assert!(!self.cache.contains(&[key]));
            }
        }
    }

    fn touch(&mut self, key: u8, ttl: Option<u64>) {
        let expires_at = self.expiry(ttl);
        if self.cache.touch(&[key], ttl.map(Duration::from_millis)) {
            let (value, _) = self.live(key).expect("a touched entry is in the model");
            self.model.insert(key, (value, expires_at));
        } else {
            self.model.remove(&key);
        }
    }

    fn keys(&mut self) {
        let mut keys: Vec<u8> = self.cache.keys().map(|key| key.unwrap()[0]).collect();
        keys.sort_unstable();
        assert!(
            keys.windows(2).all(|pair| pair[0] != pair[1]),
            "a key was met twice: {keys:?}"
        );
        assert!(
            keys.iter().all(|&key| self.live(key).is_some()),
            "a dead key was met: {keys:?}"
        );
        self.model.retain(|key, _| keys.contains(key));
    }

    fn validate(&self) {
        self.cache.raw().validate().unwrap();
        assert!(
            self.cache.len() <= self.max_entries,
            "{} entries",
            self.cache.len()
        );
        assert!(
            self.cache.weight() <= self.max_weight,
            "weight {}",
            self.cache.weight()
        );
        let stats = self.cache.stats();
        assert_eq!(
            (stats.entries, stats.weight),
            (self.cache.len(), self.cache.weight())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn bounded_cache_agrees_with_a_map(
        eviction in eviction(), shards in 1..5_usize, max_entries in 1..30_u64, max_weight in 1..300_u64,
        ops in vec(op(), 1..300),
    ) {
        let mut pair = Pair::new(eviction, shards, max_entries, max_weight);
        for op in &ops {
            pair.apply(op);
            pair.validate();
        }
    }

    #[test]
    fn unbounded_cache_forgets_nothing(eviction in eviction(), shards in 1..5_usize, ops in vec(op(), 1..300)) {
        let mut pair = Pair::new(eviction, shards, u64::MAX, u64::MAX);
        for op in &ops {
            pair.apply(op);
            let now = pair.clock.now();
            for (&key, &(value, expires_at)) in &pair.model {
                let answer = pair.cache.raw().get(&[key], &now);
                prop_assert_eq!(answer, Some(value).filter(|_| !expires_at.is_over(now)));
            }
        }
        pair.validate();
        prop_assert_eq!(pair.cache.stats().evictions, 0);
    }
}
