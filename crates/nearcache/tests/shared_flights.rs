//! Claims of a computation: who leads, what ends a flight, and what is stored.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use nearcache::shared::{Claim, ClaimRequest, FlightId, Incremented, NewEntry, SharedCache, SharedError};
use nearcache::{Clock, ManualClock, Timestamp};
use support::{Scratch, shared_words, signal, spawn, wait};

const BYTES: u64 = 1 << 20;
const KEY: &[u8] = b"the key";
const VALUE: &[u8] = b"the value";
const SECOND: Duration = Duration::from_secs(1);

type Cache = SharedCache<Arc<ManualClock>>;

struct Fixture {
    cache: Cache,
    clock: Arc<ManualClock>,
    scratch: Scratch,
}

impl Fixture {
    fn new() -> Self {
        let scratch = Scratch::new("flights");
        let clock = Arc::new(ManualClock::default());
        clock.set(Timestamp::from_unix_micros(1_700_000_000_000_000));
        let cache = SharedCache::builder(scratch.path()).bytes(BYTES);
        Self {
            cache: cache.clock(Arc::clone(&clock)).open().unwrap(),
            clock,
            scratch,
        }
    }

    /// Opens the file once more, which makes this process another one for the cache.
    fn other(&self) -> Cache {
        let cache = SharedCache::builder(self.scratch.path()).bytes(BYTES);
        cache.clock(Arc::clone(&self.clock)).open().unwrap()
    }

    fn mortal<'a>(&self, value: &'a [u8]) -> NewEntry<'a> {
        NewEntry::new(value).expires_at(self.clock.now().after(10 * SECOND))
    }

    fn stale(&self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let found = self.cache.get_stale_into(KEY, &mut value).unwrap();
        found.map(|_| value)
    }
}

fn leads(cache: &Cache, number: u64) -> bool {
    cache.claim(KEY, ClaimRequest::new(number)).unwrap() == Claim::Leader
}

fn own(cache: &Cache, number: u64) -> FlightId {
    FlightId {
        process: cache.process_id().unwrap(),
        number,
    }
}

#[test]
fn one_caller_leads_and_the_others_see_its_flight() {
    let fixture = Fixture::new();
    let (cache, other) = (&fixture.cache, fixture.other());
    assert_eq!(cache.flight(KEY), None);
    assert!(leads(cache, 1));
    for caller in [cache, &other] {
        assert_eq!(caller.flight(KEY), Some(own(cache, 1)));
        assert!(caller.is_alive(caller.flight(KEY).unwrap().process));
        let claim = caller.claim(KEY, ClaimRequest::new(2)).unwrap();
        assert_eq!(claim, Claim::Held(own(cache, 1)));
    }
    assert!(
        other
            .complete(KEY, 1, NewEntry::new(b"no"))
            .is_ok_and(|stored| !stored)
    );
    assert!(!other.release(KEY, 1).unwrap());
    assert!(!cache.complete(KEY, 2, NewEntry::new(b"no")).unwrap());
    assert!(cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(other.get(KEY).as_deref(), Some(VALUE));
    assert_eq!((cache.flight(KEY), leads(&other, 3)), (None, false));
    assert!(!cache.complete(KEY, 1, NewEntry::new(b"again")).unwrap());
    let counts = cache.stats().counts;
    assert_eq!((counts.flights, counts.insertions, counts.entries), (1, 1, 1));
    cache.validate().unwrap();
}

#[test]
fn a_placeholder_is_absent_for_everything_else() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    assert!(leads(cache, 1));
    assert_eq!((cache.get(KEY), cache.peek(KEY)), (None, None));
    assert!(!cache.contains(KEY) && fixture.stale().is_none());
    assert_eq!(cache.keys().count(), 0);
    assert!(!cache.insert_if_present(KEY, b"", None).unwrap());
    assert!(!cache.touch(KEY, None).unwrap());
    assert_eq!(
        cache.flight(KEY),
        Some(own(cache, 1)),
        "none of this ends the flight"
    );
    assert!(cache.release(KEY, 1).unwrap());
    let counts = cache.stats().counts;
    assert_eq!((counts.entries, counts.expirations, counts.removals), (0, 0, 0));
    cache.validate().unwrap();
}

/// Ends a flight.
type End = fn(&Cache);

#[test]
fn every_write_and_removal_of_the_key_ends_its_flight() {
    let ends: [(&str, End); 7] = [
        ("insert", |cache| cache.insert(KEY, b"new", None).unwrap()),
        ("insert_if_absent", |cache| {
            assert!(cache.insert_if_absent(KEY, b"new", None).unwrap());
        }),
        ("insert a longer value", |cache| {
            cache.insert(KEY, &[1; 5000], None).unwrap();
        }),
        ("insert and remove", |cache| {
            cache.insert(KEY, b"new", None).unwrap();
            assert!(cache.remove(KEY).unwrap());
        }),
        ("remove", |cache| assert!(!cache.remove(KEY).unwrap())),
        ("clear", SharedCache::clear),
        ("incr_or_init", |cache| {
            assert_eq!(
                cache.incr_or_init(KEY, 1, 0, None).unwrap(),
                Incremented::Value(1)
            );
        }),
    ];
    for (name, end) in ends {
        for is_stale in [false, true] {
            let fixture = Fixture::new();
            let cache = &fixture.cache;
            if is_stale {
                let entry = fixture.mortal(b"old").stale_until(Timestamp::NEVER);
                cache.insert_entry(KEY, entry).unwrap();
                fixture.clock.advance(10 * SECOND);
            }
            assert!(leads(cache, 1));
            end(&fixture.other());
            assert_eq!(cache.flight(KEY), None, "{name}");
            let before = cache.get(KEY);
            assert!(!cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap(), "{name}");
            assert!(!cache.release(KEY, 1).unwrap());
            assert_eq!(cache.get(KEY), before, "{name}");
            cache.validate().unwrap();
        }
    }
}

#[test]
fn an_increment_ends_the_flight_of_a_refresh_and_a_touch_does_not() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    cache
        .insert_entry(KEY, fixture.mortal(&[0; 8]).cost(SECOND))
        .unwrap();
    let refresh = cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap();
    assert_eq!(refresh, Claim::Leader);
    assert!(cache.touch(KEY, Some(20 * SECOND)).unwrap());
    assert_eq!(cache.flight(KEY), Some(own(cache, 1)));
    assert_eq!(cache.incr(KEY, 1, 0).unwrap(), Incremented::Value(1));
    assert_eq!(cache.flight(KEY), None);
    assert!(!cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(cache.get(KEY), Some(1_i64.to_ne_bytes().to_vec()));
}

#[test]
fn a_touch_with_a_time_that_has_passed_removes_the_entry_and_ends_its_flight() {
    let touches: [End; 2] = [
        |cache| assert!(cache.touch(KEY, Some(Duration::ZERO)).unwrap()),
        |cache| {
            let past = Timestamp::from_unix_micros(1_600_000_000_000_000);
            assert!(cache.expire_at(KEY, past).unwrap());
        },
    ];
    for touch in touches {
        let fixture = Fixture::new();
        let cache = &fixture.cache;
        let entry = fixture.mortal(b"old").stale_until(Timestamp::NEVER);
        cache.insert_entry(KEY, entry).unwrap();
        let refresh = cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap();
        assert_eq!(refresh, Claim::Leader);
        touch(cache);
        assert_eq!((cache.flight(KEY), fixture.stale()), (None, None));
        assert!(!cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
        assert_eq!(cache.get(KEY), None);
        let counts = cache.stats().counts;
        assert_eq!((counts.entries, counts.expirations, counts.removals), (0, 1, 0));
        cache.validate().unwrap();
    }
}

/// A flight's beginning replaces the time of writing, which may be all that says that the entry has expired.
#[test]
fn a_claim_revives_no_entry_after_the_clock_was_set_back() {
    for overtakes in [false, true] {
        let fixture = Fixture::new();
        let (cache, start) = (&fixture.cache, fixture.clock.now());
        let entry = fixture.mortal(b"old").stale_until(start.after(100 * SECOND));
        cache.insert_entry(KEY, entry).unwrap();
        fixture.clock.advance(50 * SECOND);
        let before = if overtakes { cache.clone() } else { fixture.other() };
        assert!(leads(&before, 1));
        let flight = own(&before, 1);
        drop(before);
        // For all that is known, the entry was written in the future, because that is when the flight began.
        fixture.clock.set(start.after(5 * SECOND));
        assert_eq!((cache.get(KEY), fixture.stale()), (None, None));
        let request = ClaimRequest::new(2);
        let request = if overtakes {
            request.overtake(flight)
        } else {
            request
        };
        assert_eq!(cache.claim(KEY, request).unwrap(), Claim::Leader);
        assert_eq!((cache.get(KEY), fixture.stale()), (None, None));
        assert!(cache.complete(KEY, 2, NewEntry::new(VALUE)).unwrap());
        assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
        let counts = cache.stats().counts;
        assert_eq!((counts.entries, counts.expirations), (1, 1));
        cache.validate().unwrap();
    }
}

#[test]
fn placeholders_count_neither_as_entries_nor_as_evictions() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    for number in 0..20_000_u64 {
        let claim = cache
            .claim(&number.to_ne_bytes(), ClaimRequest::new(number))
            .unwrap();
        assert_eq!(claim, Claim::Leader);
    }
    let counts = cache.stats().counts;
    assert_eq!((counts.entries, counts.evictions, counts.expirations), (0, 0, 0));
    let last = 19_999_u64;
    assert!(
        cache
            .complete(&last.to_ne_bytes(), last, NewEntry::new(VALUE))
            .unwrap()
    );
    let counts = cache.stats().counts;
    assert_eq!((counts.entries, counts.evictions, counts.insertions), (1, 0, 1));
    let report = cache.validate().unwrap();
    assert!(report.entries == 1 && report.placeholders > 0, "{report:?}");
}

#[test]
fn a_stale_value_stays_during_a_flight_and_after_its_failure() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    let entry = fixture.mortal(b"old").cost(SECOND / 2);
    let entry = entry.stale_until(fixture.clock.now().after(30 * SECOND));
    cache.insert_entry(KEY, entry).unwrap();
    assert!(!leads(cache, 1), "it is live");
    fixture.clock.advance(10 * SECOND);
    let before = cache.get_stale_into(KEY, &mut Vec::new()).unwrap().unwrap();
    assert!(leads(cache, 2));
    assert_eq!(fixture.stale().as_deref(), Some(&b"old"[..]));
    assert!(cache.release(KEY, 2).unwrap());
    let after = cache.get_stale_into(KEY, &mut Vec::new()).unwrap().unwrap();
    assert_eq!(
        (after.cost, after.stale_until, after.expires_at),
        (before.cost, before.stale_until, before.expires_at)
    );
    assert!(leads(cache, 3));
    // The stale time ends during the flight.
    fixture.clock.advance(20 * SECOND);
    assert!(fixture.stale().is_none());
    assert_eq!(cache.flight(KEY), Some(own(cache, 3)));
    assert!(!leads(cache, 4));
    assert!(cache.complete(KEY, 3, fixture.mortal(VALUE)).unwrap());
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
    cache.validate().unwrap();
}

#[test]
fn a_live_entry_is_refreshed_before_it_expires() {
    for (entry, name) in [
        (NewEntry::new(b"old").kind(3), "plain"),
        (NewEntry::new(b"old").kind(3).cost(SECOND), "extended"),
    ] {
        let fixture = Fixture::new();
        let cache = &fixture.cache;
        let expires_at = fixture.clock.now().after(10 * SECOND);
        cache.insert_entry(KEY, entry.expires_at(expires_at)).unwrap();
        let refresh = |number| cache.claim(KEY, ClaimRequest::new(number).refresh()).unwrap();
        assert_eq!(refresh(1), Claim::Leader, "{name}");
        assert_eq!(refresh(2), Claim::Held(own(cache, 1)), "{name}");
        assert!(!leads(cache, 3), "there is a live entry");
        let mut value = Vec::new();
        let found = cache.get_into(KEY, &mut value).unwrap().unwrap();
        assert_eq!(
            (value.as_slice(), found.kind, found.expires_at),
            (&b"old"[..], 3, expires_at)
        );
        assert!(cache.release(KEY, 1).unwrap());
        assert_eq!(cache.get(KEY).as_deref(), Some(&b"old"[..]));
        assert_eq!(refresh(4), Claim::Leader, "{name}");
        // It expires during the flight, and has no stale time.
        fixture.clock.advance(11 * SECOND);
        assert_eq!((cache.get(KEY), fixture.stale()), (None, None));
        assert_eq!(
            cache.claim(KEY, ClaimRequest::new(5)).unwrap(),
            Claim::Held(own(cache, 4))
        );
        assert!(cache.complete(KEY, 4, NewEntry::new(VALUE)).unwrap());
        assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
        let counts = cache.stats().counts;
        assert_eq!(
            (counts.flights, counts.insertions, counts.entries),
            (2, 2, 1),
            "{name}"
        );
        cache.validate().unwrap();
    }
}

#[test]
fn the_refresh_of_an_old_entry_outlives_it() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    let entry = NewEntry::new(b"old").cost(SECOND);
    let expires_at = fixture.clock.now().after(10_000 * SECOND);
    cache.insert_entry(KEY, entry.expires_at(expires_at)).unwrap();
    fixture.clock.advance(9999 * SECOND);
    let refresh = cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap();
    assert_eq!(refresh, Claim::Leader);
    fixture.clock.advance(3000 * SECOND);
    assert_eq!((cache.get(KEY), cache.flight(KEY)), (None, Some(own(cache, 1))));
    assert!(cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
}

#[test]
fn a_refresh_without_an_entry_is_a_claim() {
    let fixture = Fixture::new();
    let refresh = fixture.cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap();
    assert_eq!(refresh, Claim::Leader);
    assert!(fixture.cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
}

#[test]
fn an_entry_of_the_largest_size_survives_a_refresh_that_it_has_no_room_for() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    let value = vec![1; cache.max_value_bytes(KEY.len())];
    cache.insert(KEY, &value, None).unwrap();
    let refresh = cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap();
    assert_eq!(refresh, Claim::Hit);
    assert_eq!(cache.get(KEY), Some(value));
}

#[test]
fn a_waiter_overtakes_exactly_one_flight() {
    let fixture = Fixture::new();
    let (cache, other) = (&fixture.cache, fixture.other());
    assert!(leads(cache, 1));
    let overtake = |cache: &Cache, number, flight| {
        let request = ClaimRequest::new(number).overtake(flight);
        cache.claim(KEY, request).unwrap()
    };
    assert_eq!(overtake(&other, 2, own(cache, 1)), Claim::Leader);
    // Another waiter of the same flight is too late.
    assert_eq!(overtake(cache, 3, own(cache, 1)), Claim::Held(own(&other, 2)));
    assert!(!cache.complete(KEY, 1, NewEntry::new(b"old")).unwrap());
    assert!(!cache.release(KEY, 1).unwrap());
    assert!(other.complete(KEY, 2, NewEntry::new(VALUE)).unwrap());
    assert_eq!(overtake(cache, 4, own(&other, 2)), Claim::Hit);
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
}

#[test]
fn a_value_that_is_too_large_ends_the_flight() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    for large in [600_000, cache.max_value_bytes(KEY.len()) + 1] {
        assert!(leads(cache, 1));
        let completed = cache.complete(KEY, 1, NewEntry::new(&vec![0; large]));
        assert!(matches!(completed, Err(SharedError::Rejected(_))));
        assert_eq!(cache.flight(KEY), None);
    }
    // The largest value is completed, whatever has to be evicted for it.
    (0..3000_u32).for_each(|number| {
        cache.insert(&number.to_ne_bytes(), &[1; 300], None).unwrap();
    });
    assert!(leads(cache, 2));
    let value = vec![1; cache.max_value_bytes(KEY.len()) - 24];
    assert!(
        cache
            .complete(KEY, 2, NewEntry::new(&value).cost(SECOND))
            .unwrap()
    );
    assert_eq!(cache.get(KEY), Some(value));
    cache.validate().unwrap();
}

#[test]
fn the_flight_of_an_evicted_placeholder_has_ended() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    assert!(leads(cache, 1));
    for number in 0..20_000_u32 {
        cache.insert(&number.to_ne_bytes(), &[1; 300], None).unwrap();
    }
    assert_eq!(cache.flight(KEY), None);
    assert!(!cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(cache.get(KEY), None);
    assert!(leads(cache, 2));
}

#[test]
fn a_record_that_is_moved_within_the_file_keeps_its_flight() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    cache
        .insert_entry(KEY, NewEntry::new(&[1; 500]).cost(SECOND))
        .unwrap();
    assert_eq!(
        cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap(),
        Claim::Leader
    );
    let stamp = cache.peek(KEY).unwrap().stamp;
    let mut number = 0_u32;
    while cache.peek(KEY).unwrap().stamp == stamp {
        assert!(cache.get(KEY).is_some());
        cache.insert(&number.to_ne_bytes(), &[1; 500], None).unwrap();
        number += 1;
    }
    assert!(cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
}

#[test]
fn a_flight_survives_clock_steps_of_less_than_an_hour() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    let start = fixture.clock.now().as_unix_micros();
    let minutes = |count: i64| Timestamp::from_unix_micros(start + count * 60_000_000);
    for (step, survives) in [(-59, true), (59, true), (-61, false), (61, false)] {
        fixture.clock.set(minutes(0));
        cache.clear();
        assert!(leads(cache, 1));
        fixture.clock.set(minutes(step));
        assert_eq!(cache.flight(KEY).is_some(), survives, "{step} minutes");
        assert_eq!(leads(cache, 2), !survives);
        let number = if survives { 1 } else { 2 };
        assert!(cache.complete(KEY, number, NewEntry::new(VALUE)).unwrap());
        assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
    }
}

#[test]
fn the_sweep_removes_a_placeholder_after_an_hour() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    let sweep = || {
        for number in 0..20_000_u32 {
            cache.insert(&(number % 50).to_ne_bytes(), b"", None).unwrap();
        }
        cache.validate().unwrap().placeholders
    };
    assert!(leads(cache, 1));
    assert_eq!(sweep(), 1);
    fixture.clock.advance(3600 * SECOND);
    assert_eq!(sweep(), 0);
}

#[test]
fn the_flight_of_a_killed_process_is_taken_over_at_once() {
    let fixture = Fixture::new();
    let words = shared_words(1);
    let child = spawn(|| {
        assert!(leads(&fixture.cache, 1));
        words[0].store(1, Ordering::SeqCst);
        thread::sleep(100 * SECOND);
        0
    });
    let begin = Instant::now();
    while words[0].load(Ordering::SeqCst) == 0 {
        assert!(begin.elapsed() < 60 * SECOND, "the child does not lead");
        thread::yield_now();
    }
    let flight = fixture.cache.flight(KEY).unwrap();
    assert!(!leads(&fixture.cache, 1), "the leader is alive");
    signal(child, libc::SIGSTOP);
    assert!(!leads(&fixture.cache, 1), "it is stopped");
    signal(child, libc::SIGKILL);
    assert_eq!(wait(child), support::End::Killed(libc::SIGKILL));
    assert!(!fixture.cache.is_alive(flight.process));
    assert!(leads(&fixture.cache, 1));
    assert!(fixture.cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(fixture.cache.get(KEY).as_deref(), Some(VALUE));
}

#[test]
fn a_child_of_the_leader_does_not_lead() {
    let fixture = Fixture::new();
    let cache = &fixture.cache;
    assert!(leads(cache, 1));
    let child = spawn(|| {
        let stored = cache.complete(KEY, 1, NewEntry::new(b"the child's")).unwrap();
        let released = cache.release(KEY, 1).unwrap();
        i32::from(stored || released || leads(cache, 1))
    });
    assert_eq!(wait(child), support::End::Exit(0));
    assert!(cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
}

#[test]
fn a_key_that_is_too_long_is_an_error() {
    let fixture = Fixture::new();
    let key = vec![0; 70_000];
    let refused = [
        fixture.cache.claim(&key, ClaimRequest::new(1)).map(|_| true),
        fixture.cache.complete(&key, 1, NewEntry::new(VALUE)),
        fixture.cache.release(&key, 1),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(SharedError::KeyTooLong { bytes: 70_000 })));
    }
    assert_eq!(fixture.cache.flight(&key), None);
}
