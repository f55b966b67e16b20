//! The local cache when memory is short: every allocation of every operation fails in turn.
#![allow(clippy::unwrap_used)] // in helper code, as in tests

#[path = "support/failing.rs"]
mod failing;

use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use failing::{Failing, Fails, for_every_allocation, with_failures, without_failures};
use nearcache::local::{Batch, Builder, Cache, Capacity, Joined, NewEntry, RawCache, Waited};
use nearcache::{Condition, Eviction, ManualClock, OutOfMemory, Timestamp, WriteError};

#[global_allocator]
static ALLOCATOR: Failing = Failing;

type Cached = Cache<u64, &'static ManualClock>;

thread_local! {
    static CLOCK: &'static ManualClock = Box::leak(Box::default());
}

const SECOND: Duration = Duration::from_secs(1);

/// Makes a key without an allocation.
fn key(number: u64) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

fn builder() -> Builder<u64, &'static ManualClock> {
    Cache::builder().clock(CLOCK.with(|clock| *clock))
}

/// The result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    OutOfMemory,
}

impl From<Result<bool, WriteError>> for Outcome {
    fn from(written: Result<bool, WriteError>) -> Self {
        match written {
            Ok(_) => Self::Done,
            Err(WriteError::OutOfMemory(OutOfMemory)) => Self::OutOfMemory,
            Err(rejected) => panic!("{rejected}"),
        }
    }
}

/// Fails every allocation of an operation in turn, on a newly filled cache each time, and then checks the cache.
///
/// `after` checks the effect of the operation, given its outcome.
fn check(
    fill: impl Fn() -> (Cached, HashMap<u64, u64>),
    may_evict: bool,
    operation: impl Fn(&Cached) -> Outcome,
    after: impl Fn(&Cached, Outcome),
) {
    for_every_allocation(|plan| {
        let (cache, others) = fill();
        let (outcome, failed) = with_failures(plan, || operation(&cache));
        cache.raw().validate().unwrap();
        for (number, value) in others {
            let found = cache.get(&key(number));
            assert!(
                found == Some(value) || may_evict && found.is_none(),
                "{plan:?}: {number} is {found:?}"
            );
        }
        after(&cache, outcome);
        assert!(failed || outcome == Outcome::Done, "{plan:?} failed nothing");
        cache.insert(b"usable", 1, None).unwrap();
        assert_eq!(cache.get(b"usable"), Some(1));
        cache.raw().validate().unwrap();
        failed
    });
}

/// Fills a cache with entries 1 to `entries`.
fn filled(cache: Cached, entries: u64) -> (Cached, HashMap<u64, u64>) {
    for number in 1..=entries {
        cache.insert(&key(number), number, None).unwrap();
    }
    (cache, (1..=entries).map(|number| (number, number)).collect())
}

#[test]
fn a_new_entry_is_stored_or_not() {
    // These sizes include those at which slab and index grow, alone and together.
    for entries in 0..70 {
        for eviction in [Eviction::Adaptive, Eviction::Lru] {
            check(
                || filled(builder().eviction(eviction).build(), entries),
                false,
                |cache| cache.insert(b"new", 7, None).map(|()| true).into(),
                |cache, outcome| {
                    let expected = (outcome == Outcome::Done).then_some(7);
                    assert_eq!(cache.get(b"new"), expected);
                    assert_eq!(cache.len(), entries + u64::from(expected.is_some()));
                },
            );
        }
    }
}

#[test]
fn a_new_entry_needs_an_allocation() {
    let (cache, _) = filled(builder().build(), 0);
    let (stored, _) = with_failures(Fails::From(1), || cache.insert(b"new", 7, None));
    assert_eq!(stored, Err(WriteError::OutOfMemory(OutOfMemory)));
}

#[test]
fn a_value_is_replaced_without_memory() {
    for weight in [1, 50] {
        let fill = || {
            let cache = builder().max_weight(60).weigher(move |_, value| *value);
            let (cache, mut others) = filled(cache.shards(1).build(), 8);
            others.remove(&1);
            (cache, others)
        };
        check(
            fill,
            true,
            |cache| cache.insert(&key(1), weight, None).map(|()| true).into(),
            |cache, outcome| {
                assert_eq!(outcome, Outcome::Done);
                assert_eq!(cache.get(&key(1)), Some(weight));
                assert!(cache.weight() <= 60);
            },
        );
    }
}

#[test]
fn many_evictions_for_one_entry_keep_the_capacity() {
    for shards in [1, 4] {
        let weight = 40;
        check(
            || {
                let cache = builder()
                    .max_weight(50)
                    .shards(shards)
                    .weigher(|key, _| if key == b"heavy" { 40 } else { 1 });
                filled(cache.build(), 50)
            },
            true,
            |cache| cache.insert(b"heavy", 7, None).map(|()| true).into(),
            |cache, outcome| {
                assert_eq!(cache.get(b"heavy").is_some(), outcome == Outcome::Done);
                assert!(cache.weight() <= 50);
                assert!(outcome == Outcome::OutOfMemory || cache.len() <= 50 - weight + 1);
            },
        );
    }
}

#[test]
fn a_batch_is_evicted_as_far_as_memory_allows() {
    for batch in [Batch::OneIn(NonZeroU32::new(3).unwrap()), Batch::All] {
        check(
            || filled(builder().max_entries(30).batch(batch).shards(1).build(), 30),
            true,
            |cache| cache.insert(b"new", 7, None).map(|()| true).into(),
            |cache, _| assert!(cache.len() <= 30),
        );
    }
}

#[test]
fn an_expired_entry_is_replaced_or_removed() {
    check(
        || {
            let (cache, others) = filled(builder().build(), 20);
            for number in 0..40_u64 {
                cache.insert(&number.to_le_bytes(), number, Some(SECOND)).unwrap();
            }
            cache.insert(b"key", 1, Some(SECOND)).unwrap();
            CLOCK.with(|clock| clock.advance(2 * SECOND));
            (cache, others)
        },
        false,
        |cache| cache.insert(b"key", 2, Some(SECOND)).map(|()| true).into(),
        |cache, outcome| assert_eq!(cache.get(b"key").is_some(), outcome == Outcome::Done),
    );
}

#[test]
fn conditional_writes_return_their_result_or_fail() {
    let absent = |cache: &Cached| cache.insert_if_absent(b"new", 7, None).into();
    let after = |cache: &Cached, outcome| assert_eq!(cache.get(b"new").is_some(), outcome == Outcome::Done);
    check(|| filled(builder().build(), 5), false, absent, after);
    let present = |cache: &Cached| cache.insert_if_present(&key(3), 3, None).into();
    check(
        || filled(builder().build(), 5),
        false,
        present,
        |_, outcome| {
            assert_eq!(outcome, Outcome::Done);
        },
    );
}

#[test]
fn removals_and_reads_need_no_memory() {
    let operations: [fn(&Cached); 9] = [
        |cache| assert_eq!(cache.get(&key(9)), Some(9)),
        |cache| assert!(cache.contains(&key(9))),
        |cache| assert_eq!(cache.remove(b"live"), Some(1)),
        |cache| assert_eq!(cache.remove(b"expired"), None),
        |cache| assert_eq!(cache.remove_if(b"live", |_| true), Some(1)),
        |cache| assert!(cache.touch(b"live", Some(SECOND))),
        |cache| assert!(cache.expire_at(b"live", Timestamp::from_unix_micros(0))),
        |cache| {
            assert_eq!(
                cache.update(b"live", |old| Ok::<_, Infallible>(old + 1)),
                Ok(true)
            );
        },
        |cache| {
            let _ = cache.stats();
            drop(cache.raw().freeze());
        },
    ];
    for operation in operations {
        check(
            || {
                let (cache, others) = filled(builder().build(), 10);
                cache.insert(b"live", 1, None).unwrap();
                cache.insert(b"expired", 1, Some(SECOND)).unwrap();
                CLOCK.with(|clock| clock.advance(2 * SECOND));
                (cache, others)
            },
            false,
            |cache| {
                operation(cache);
                Outcome::Done
            },
            |_, _| {},
        );
    }
    let (cache, _) = filled(builder().build(), 100);
    with_failures(Fails::From(1), || cache.clear());
    assert!(cache.is_empty());
    cache.raw().validate().unwrap();
}

#[test]
fn an_iteration_continues_after_a_failure() {
    for_every_allocation(|plan| {
        let (cache, others) = filled(builder().build(), 700);
        let mut keys = cache.keys();
        let mut found = Vec::with_capacity(others.len());
        let (errors, failed) = with_failures(plan, || {
            let mut errors = 0;
            // A plan that fails all further allocations would never end.
            while let Some(next) = keys.next().filter(|_| errors < 3) {
                match next {
                    Ok(key) => found.push(key),
                    Err(OutOfMemory) => errors += 1,
                }
            }
            errors
        });
        assert_eq!(errors > 0, failed);
        found.extend(keys.map(Result::unwrap));
        found.sort();
        found.dedup();
        assert!(found.len() + errors >= others.len());
        failed
    });
}

#[test]
fn ghosts_that_cannot_grow_forget() {
    let cache = builder().max_entries(2000).shards(1).build();
    for number in 0..6000_u64 {
        // The key reuses a victim's memory, so the allocation that fails is the ghosts'.
        let name = key(100_000 + number);
        let (stored, _) = with_failures(Fails::Only(if number < 2000 { usize::MAX } else { 1 }), || {
            cache.insert(&name, number, None)
        });
        stored.unwrap();
    }
    assert_eq!(cache.len(), 2000);
    cache.raw().validate().unwrap();
}

#[test]
fn a_value_is_computed_without_memory() {
    for entries in [0, 4, 12] {
        check(
            || filled(builder().build(), entries),
            false,
            |cache| {
                assert_eq!(cache.get_or_insert_with(b"new", None, || 7), 7);
                if cache.contains(b"new") {
                    Outcome::Done
                } else {
                    Outcome::OutOfMemory
                }
            },
            |cache, _| assert_eq!(cache.get_or_insert_with(b"new", None, || 7), 7),
        );
    }
}

#[test]
fn a_caller_that_cannot_wait_for_lack_of_memory_leads() {
    for_every_allocation(|plan| {
        let cache = RawCache::<u64>::new(Eviction::Adaptive, 1).unwrap();
        let now = Timestamp::from_unix_micros(0);
        let Joined::Leader(leader) = cache.join(b"key", &now) else {
            unreachable!("there is no entry");
        };
        let Joined::Waiter(waiter) = cache.join(b"key", &now) else {
            unreachable!("there is a leader");
        };
        let (result, failed) = with_failures(plan, || waiter.wait(Some(Duration::ZERO)));
        let Waited::Leader(second) = result else {
            unreachable!("the leader has not finished");
        };
        drop((second, leader));
        cache.validate().unwrap();
        assert!(matches!(cache.join(b"key", &now), Joined::Leader(_)));
        failed
    });
}

#[test]
fn a_raw_cache_is_made_or_not() {
    // The first allocation is that of the shards. The second one, of an `Arc`, aborts the process if it fails.
    let (made, failed) = with_failures(Fails::Only(1), || RawCache::<u64>::new(Eviction::Lru, 4));
    assert!(failed);
    assert_eq!(made.err(), Some(OutOfMemory));
}

/// Random operations on a cache and its model, a third of them with failing allocations.
#[test]
fn a_cache_agrees_with_its_model_when_allocations_fail() {
    let cache = RawCache::<u64>::new(Eviction::Adaptive, 2).unwrap();
    let mut model: HashMap<u64, u64> = HashMap::new();
    let (mut random, mut failures) = (1_u64, 0);
    let now = Timestamp::from_unix_micros(0);
    for round in 0..60_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
        let (number, what) = ((random >> 33) % 600, (random >> 50) % 12);
        let name = key(number);
        let new = NewEntry {
            value: round,
            weight: 1,
            expires_at: Timestamp::NEVER,
        };
        let plan = Fails::From(if random >> 60 < 5 { 1 } else { usize::MAX });
        let (stored, _) = with_failures(plan, || match what {
            0..4 => cache
                .insert(&name, new, &Capacity::UNBOUNDED, &now)
                .map(|()| true),
            4 => cache.insert_if(&name, new, Condition::IfAbsent, &Capacity::UNBOUNDED, &now),
            5 => cache.insert_if(&name, new, Condition::IfPresent, &Capacity::UNBOUNDED, &now),
            6 => {
                let updated = cache.update(&name, &Capacity::UNBOUNDED, &now, |_| {
                    Ok::<_, Infallible>((round, 1))
                });
                Ok(updated.unwrap_or_else(|error| without_failures(|| panic!("{error}"))))
            }
            _ => Ok(cache.remove(&name, &now).is_some() && what > 6),
        });
        match stored {
            Ok(true) if what <= 6 => drop(model.insert(number, round)),
            Ok(_) if what > 6 => drop(model.remove(&number)),
            Ok(_) => {}
            Err(_) => {
                failures += 1;
                assert_eq!(model.get(&number), None, "only a new entry needs memory");
            }
        }
        assert_eq!(cache.get(&name, &now), model.get(&number).copied());
        if round % 1000 == 0 {
            cache.validate().unwrap();
        }
    }
    assert!(failures > 100, "{failures}");
    cache.validate().unwrap();
}
