//! Stale values of the local cache, and flights that compute a new value while there is an old one.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use std::time::Duration;

use nearcache::local::{Capacity, Joined, NewEntry, RawCache, Refresh};
use nearcache::{Condition, Eviction, ManualClock, OutOfMemory, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);

/// The value is the number of seconds for which it is kept.
fn cache() -> RawCache<u64> {
    let made: Result<_, OutOfMemory> = RawCache::new(Eviction::default(), 1);
    made.unwrap()
        .with_stale_times(|seconds| Duration::from_secs(*seconds))
}

fn entry(value: u64, expires_at: Timestamp) -> NewEntry<u64> {
    NewEntry {
        value,
        weight: 1,
        expires_at,
    }
}

fn clock() -> ManualClock {
    let clock = ManualClock::default();
    clock.set(Timestamp::from_unix_micros(1_000_000));
    clock
}

/// Stores a value that expires after a minute, and returns when that is.
fn insert(cache: &RawCache<u64>, clock: &ManualClock, value: u64) -> Timestamp {
    let expires_at = nearcache::Clock::now(clock).after(MINUTE);
    cache
        .insert(b"k", entry(value, expires_at), &Capacity::UNBOUNDED, clock)
        .unwrap();
    expires_at
}

#[test]
fn a_stale_value_is_kept_for_its_time_and_absent_to_everything_else() {
    let (cache, clock) = (cache(), clock());
    let expires_at = insert(&cache, &clock, 30);
    assert_eq!(cache.get_stale(b"k", &clock), None, "it is live");
    clock.advance(MINUTE);
    assert_eq!(cache.get(b"k", &clock), None);
    assert!(!cache.contains(b"k", &clock));
    assert!(!cache.expire_at(b"k", Timestamp::NEVER, &clock));
    assert_eq!(cache.keys(nearcache::Clock::now(&clock)).count(), 0);
    for _ in 0..100 {
        let other = entry(0, Timestamp::NEVER);
        cache
            .insert(b"other", other, &Capacity::UNBOUNDED, &clock)
            .unwrap();
    }
    assert_eq!(cache.get_stale(b"k", &clock), Some((30, expires_at)));
    clock.advance(Duration::from_secs(30));
    assert_eq!(cache.get_stale(b"k", &clock), None);
    assert_eq!(cache.get(b"k", &clock), None);
    assert!(
        !cache
            .keys(Timestamp::from_unix_micros(0))
            .any(|key| &*key.unwrap() == b"k")
    );
}

#[test]
fn a_value_without_a_stale_time_is_removed_when_it_is_found_expired() {
    let (cache, clock) = (cache(), clock());
    insert(&cache, &clock, 0);
    clock.advance(MINUTE);
    assert_eq!(cache.get(b"k", &clock), None);
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_removal_and_a_write_remove_the_stale_value() {
    let (cache, clock) = (cache(), clock());
    insert(&cache, &clock, 30);
    clock.advance(MINUTE);
    assert_eq!(cache.remove(b"k", &clock), None);
    assert_eq!(cache.get_stale(b"k", &clock), None);
    insert(&cache, &clock, 30);
    clock.advance(MINUTE);
    let new = entry(7, Timestamp::NEVER);
    let added = cache.insert_if(b"k", new, Condition::IfAbsent, &Capacity::UNBOUNDED, &clock);
    assert_eq!(added, Ok(true));
    assert_eq!(cache.get_stale(b"k", &clock), None);
    assert_eq!(cache.get(b"k", &clock), Some(7));
}

#[test]
fn a_clear_keeps_the_function_of_stale_times() {
    let (cache, clock) = (cache(), clock());
    cache.clear();
    let expires_at = insert(&cache, &clock, 30);
    clock.advance(MINUTE);
    assert_eq!(cache.get_stale(b"k", &clock), Some((30, expires_at)));
}

#[test]
fn one_caller_of_many_refreshes_a_stale_value() {
    let (cache, clock) = (cache(), clock());
    let expires_at = insert(&cache, &clock, 30);
    clock.advance(MINUTE);
    let leader = match cache.refresh(b"k", expires_at) {
        Refresh::Leader(leader) => leader,
        other => panic!("{other:?}"),
    };
    assert!(matches!(cache.refresh(b"k", expires_at), Refresh::InProgress));
    assert_eq!(cache.get_stale(b"k", &clock), Some((30, expires_at)));
    let new = entry(31, nearcache::Clock::now(&clock).after(MINUTE));
    assert_eq!(leader.complete(new, &Capacity::UNBOUNDED, &clock), Ok(true));
    assert_eq!(cache.get(b"k", &clock), Some(31));
    assert!(matches!(cache.refresh(b"k", expires_at), Refresh::Changed));
}

#[test]
fn a_refresh_that_is_given_up_leaves_the_stale_value_to_the_next_caller() {
    let (cache, clock) = (cache(), clock());
    let expires_at = insert(&cache, &clock, 30);
    clock.advance(MINUTE);
    drop(cache.refresh(b"k", expires_at));
    assert_eq!(cache.get_stale(b"k", &clock), Some((30, expires_at)));
    assert!(matches!(cache.refresh(b"k", expires_at), Refresh::Leader(_)));
}

#[test]
fn a_removal_ends_a_refresh_of_a_live_value() {
    let (cache, clock) = (cache(), clock());
    let expires_at = insert(&cache, &clock, 30);
    let Refresh::Leader(leader) = cache.refresh(b"k", expires_at) else {
        panic!("nobody else refreshes");
    };
    assert_eq!(cache.remove(b"k", &clock), Some(30));
    let stored = leader.complete(entry(1, Timestamp::NEVER), &Capacity::UNBOUNDED, &clock);
    assert_eq!(stored, Ok(false));
    assert!(!cache.contains(b"k", &clock));
}

#[test]
fn an_update_ends_a_refresh_so_that_nothing_added_is_lost() {
    let (cache, clock) = (cache(), clock());
    let expires_at = insert(&cache, &clock, 30);
    let Refresh::Leader(leader) = cache.refresh(b"k", expires_at) else {
        panic!("nobody else refreshes");
    };
    let added = cache.update(b"k", &Capacity::UNBOUNDED, &clock, |value| {
        Ok::<_, ()>((value + 1, 1))
    });
    assert_eq!(added, Ok(true));
    let stored = leader.complete(entry(1, Timestamp::NEVER), &Capacity::UNBOUNDED, &clock);
    assert_eq!(stored, Ok(false));
    assert_eq!(cache.get(b"k", &clock), Some(31));
}

#[test]
fn a_value_that_is_finished_reaches_the_waiters_and_not_the_cache() {
    let (cache, clock) = (cache(), clock());
    let Joined::Leader(leader) = cache.join(b"k", &clock) else {
        panic!("nobody else computes");
    };
    let Joined::Waiter(waiter) = cache.join(b"k", &clock) else {
        panic!("another caller computes");
    };
    let leader = leader.end_unless_awaited().unwrap_err();
    leader.finish(5);
    assert!(matches!(waiter.wait(None), nearcache::local::Waited::Value(5)));
    assert!(!cache.contains(b"k", &clock));
}

#[test]
fn a_flight_that_nobody_waits_for_ends_at_once() {
    let (cache, clock) = (cache(), clock());
    let lead = || match cache.join(b"k", &clock) {
        Joined::Leader(leader) => leader,
        other => panic!("{other:?}"),
    };
    let (first, other) = (lead(), cache.overtake(b"other"));
    assert!(first.end_unless_awaited().is_ok());
    // Nobody can join it any more.
    drop(lead());
    assert!(other.is_current());
}

#[test]
fn a_caller_that_overtakes_leads_a_flight_of_its_own() {
    let (cache, clock) = (cache(), clock());
    let Joined::Leader(first) = cache.join(b"k", &clock) else {
        panic!("nobody else computes");
    };
    let second = cache.overtake(b"k");
    let store = |leader: nearcache::local::Leader<'_, u64>, value| {
        leader.complete(entry(value, Timestamp::NEVER), &Capacity::UNBOUNDED, &clock)
    };
    assert_eq!(store(first, 1), Ok(false));
    assert_eq!(store(second, 2), Ok(true));
    assert_eq!(cache.get(b"k", &clock), Some(2));
}
