//! Random operations on a shared cache and on a naive map. After each step, both agree and the file is valid.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod pair;

use nearcache::Condition;
use nearcache::shared::SharedCache;
use pair::{BYTES, Place, Step, TOO_LARGE, agree};
use proptest::prelude::*;

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..64_usize,
        3 => 64..5000_usize,
        1 => 5000..150_000_usize,
        1 => Just(TOO_LARGE),
    ]
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (1..60_000_u64).prop_map(Some)]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::IfAbsent),
        Just(Condition::IfPresent)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..24_u8;
    prop_oneof![
        8 => key().prop_map(Step::Get),
        8 => (key(), length(), condition(), ttl())
            .prop_map(|(key, len, condition, ttl)| Step::Insert(key, len, condition, ttl)),
        4 => (key(), length(), any::<u8>(), ttl())
            .prop_map(|(key, len, kind, ttl)| Step::InsertKind(key, len, kind, ttl)),
        4 => (key(), length(), 1..30_000_u64, 0..60_000_u64)
            .prop_map(|(key, len, ttl, stale)| Step::InsertStale(key, len, ttl, stale)),
        4 => key().prop_map(Step::GetStale),
        6 => (key(), any::<bool>()).prop_map(|(key, is_refresh)| Step::Claim(key, is_refresh)),
        4 => (key(), length(), 1..30_000_u64, 0..60_000_u64)
            .prop_map(|(key, len, ttl, stale)| Step::Complete(key, len, ttl, stale)),
        2 => key().prop_map(Step::Release),
        2 => (key(), any::<i64>()).prop_map(|(key, value)| Step::Integer(key, value)),
        4 => (key(), -100..100_i64).prop_map(|(key, delta)| Step::Incr(key, delta)),
        4 => (key(), -100..100_i64, ttl()).prop_map(|(key, delta, ttl)| Step::IncrOrInit(key, delta, ttl)),
        2 => (key(), length()).prop_map(|(key, len)| Step::Update(key, len)),
        2 => key().prop_map(Step::Remove),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Step::Touch(key, ttl)),
        1 => Just(Step::Clear),
        2 => (0..30_000_u64).prop_map(Step::Advance),
        1 => (0..30_000_u64).prop_map(Step::StepBack),
        1 => Just(Step::Keys),
    ]
}
proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_a_naive_map(steps in prop::collection::vec(step(), 1..200)) {
        agree(&steps);
    }
}

#[test]
fn a_full_cache_stays_valid_and_full() {
    let place = Place::new();
    let cache = SharedCache::open(&place.0, BYTES).unwrap();
    let mut seed = 1_u64;
    for round in 0..60_000_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = format!("key {}", (seed >> 40) % 4000);
        let len = usize::try_from((seed >> 20) % 700).unwrap();
        let value = vec![key.as_bytes()[4]; len];
        if let Some(found) = cache.get(key.as_bytes()) {
            assert!(found.iter().all(|byte| *byte == key.as_bytes()[4]));
        } else {
            cache.insert(key.as_bytes(), &value, None).unwrap();
        }
        if round % 1000 == 0 {
            cache.validate().unwrap();
        }
    }
    let report = cache.validate().unwrap();
    assert!(report.record_bytes > BYTES * 88 / 100, "{report:?}");
    assert!(cache.stats().counts.evictions > 1000);
}
