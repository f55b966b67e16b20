//! Entries with a stale time or a cost: who sees them, and how long they stay.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nearcache::shared::{
    Claim, ClaimRequest, EntryInfo, Event, Incremented, NewEntry, SharedCache, SharedError,
};
use nearcache::{Clock, ManualClock, Timestamp};
use support::Scratch;

const BYTES: u64 = 1 << 20;
const KEY: &[u8] = b"the key";
const VALUE: &[u8] = b"the value";
const SECOND: Duration = Duration::from_secs(1);

struct Fixture {
    cache: SharedCache<Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    _scratch: Scratch,
}

impl Fixture {
    fn new() -> Self {
        let scratch = Scratch::new("stale");
        let clock = Arc::new(ManualClock::default());
        clock.set(Timestamp::from_unix_micros(1_700_000_000_000_000));
        let cache = SharedCache::builder(scratch.path()).bytes(BYTES);
        Self {
            cache: cache.clock(Arc::clone(&clock)).open().unwrap(),
            clock,
            _scratch: scratch,
        }
    }

    /// Returns a new entry that lives for 10 s, and is stale for 5 s after that.
    fn entry<'a>(&self, value: &'a [u8]) -> NewEntry<'a> {
        let now = self.clock.now();
        NewEntry::new(value)
            .expires_at(now.after(10 * SECOND))
            .stale_until(now.after(15 * SECOND))
    }

    /// Inserts the key and lets it expire.
    fn expired() -> Self {
        let fixture = Self::new();
        fixture
            .cache
            .insert_entry(KEY, fixture.entry(VALUE).kind(3))
            .unwrap();
        fixture.clock.advance(10 * SECOND);
        fixture
    }

    fn stale(&self, key: &[u8]) -> Option<(Vec<u8>, EntryInfo)> {
        let mut value = Vec::new();
        let found = self.cache.get_stale_into(key, &mut value).unwrap()?;
        Some((value, found))
    }

    /// Inserts so many other entries that the sweep passes all slots.
    fn sweep(&self) {
        for number in 0..20_000_u32 {
            self.cache
                .insert(&(number % 50).to_ne_bytes(), b"", None)
                .unwrap();
        }
    }
}

#[test]
fn a_stale_value_is_returned_until_its_stale_time_ends() {
    let fixture = Fixture::new();
    let now = fixture.clock.now();
    fixture
        .cache
        .insert_entry(KEY, fixture.entry(VALUE).kind(3))
        .unwrap();
    let live = fixture.stale(KEY).unwrap();
    fixture.clock.advance(10 * SECOND);
    let (value, found) = fixture.stale(KEY).unwrap();
    assert_eq!((value.as_slice(), found), (VALUE, live.1));
    assert_eq!((found.kind, found.len), (3, VALUE.len()));
    assert_eq!(found.expires_at, now.after(10 * SECOND));
    assert_eq!(found.stale_until, Some(now.after(15 * SECOND)));
    let mut value = Vec::new();
    assert_eq!(
        fixture.cache.try_get_stale_into(KEY, &mut value).unwrap(),
        Some(found)
    );
    fixture.clock.advance(Duration::from_millis(4999));
    assert_eq!(fixture.stale(KEY).unwrap().0, VALUE);
    fixture.clock.advance(Duration::from_millis(1));
    assert!(fixture.stale(KEY).is_none());
}

#[test]
fn a_stale_entry_is_absent_for_everything_else_and_stays() {
    let fixture = Fixture::expired();
    let cache = &fixture.cache;
    assert_eq!(cache.get(KEY), None);
    assert_eq!(cache.peek(KEY), None);
    assert_eq!(cache.expires_at(KEY), None);
    assert!(!cache.contains(KEY));
    assert_eq!(cache.peek_into(KEY, &mut Vec::new()).unwrap(), None);
    assert_eq!(cache.keys().count(), 0);
    assert!(!cache.insert_if_present(KEY, b"new", None).unwrap());
    assert!(!cache.touch(KEY, None).unwrap());
    assert_eq!(cache.incr(KEY, 1, 3).unwrap(), Incremented::Missing);
    assert!(!cache.update::<Infallible>(KEY, |_, _| unreachable!()).unwrap());
    assert!(!cache.remove_if(KEY, |_, _| unreachable!()).unwrap());
    let (value, found) = fixture.stale(KEY).unwrap();
    assert!(!cache.remove_if_unchanged(KEY, found.stamp).unwrap());
    assert!(
        !cache
            .insert_entry_if_unchanged(KEY, NewEntry::new(b"new"), found.stamp)
            .unwrap()
    );
    assert_eq!(value, VALUE);
    fixture.sweep();
    assert_eq!(fixture.stale(KEY).unwrap().0, VALUE);
    let counts = cache.stats().counts;
    assert_eq!((counts.hits, counts.misses, counts.expirations), (0, 2, 0));
    cache.validate().unwrap();
}

#[test]
fn a_write_replaces_a_stale_entry_and_remove_removes_it() {
    let writes: [fn(&Fixture); 4] = [
        |fixture| fixture.cache.insert(KEY, b"new", None).unwrap(),
        |fixture| assert!(fixture.cache.insert_if_absent(KEY, b"new", None).unwrap()),
        |fixture| {
            let counted = fixture.cache.incr_or_init(KEY, 7, 3, None).unwrap();
            assert_eq!(counted, Incremented::Value(7));
        },
        |fixture| fixture.cache.insert(KEY, &[1; 5000], None).unwrap(),
    ];
    for write in writes {
        let fixture = Fixture::expired();
        write(&fixture);
        let value = fixture.cache.get(KEY).unwrap();
        assert_eq!(fixture.stale(KEY).unwrap().0, value);
        assert_eq!(fixture.stale(KEY).unwrap().1.stale_until, None);
        let counts = fixture.cache.stats().counts;
        assert_eq!((counts.entries, counts.expirations, counts.insertions), (1, 1, 2));
        fixture.cache.validate().unwrap();
    }
    let removals: [fn(&Fixture); 3] = [
        |fixture| assert!(!fixture.cache.remove(KEY).unwrap()),
        |fixture| fixture.cache.clear(),
        |fixture| {
            let large = vec![0; 600_000];
            let rejected = fixture.cache.insert(KEY, &large, None);
            assert!(matches!(rejected, Err(SharedError::Rejected(_))));
        },
    ];
    for remove in removals {
        let fixture = Fixture::expired();
        remove(&fixture);
        assert!(fixture.stale(KEY).is_none());
        fixture.sweep();
        assert_eq!(fixture.cache.stats().counts.entries, 50);
        fixture.cache.validate().unwrap();
    }
}

#[test]
fn the_sweep_removes_an_entry_after_its_stale_time() {
    let fixture = Fixture::expired();
    fixture.clock.advance(5 * SECOND);
    fixture.sweep();
    let counts = fixture.cache.stats().counts;
    assert_eq!((counts.entries, counts.expirations), (50, 1));
}

#[test]
fn a_stale_entry_is_evicted_like_a_live_one() {
    let fixture = Fixture::new();
    for number in 0..1000_u32 {
        let entry = fixture.entry(&[1; 500]);
        fixture.cache.insert_entry(&number.to_ne_bytes(), entry).unwrap();
    }
    fixture.clock.advance(10 * SECOND);
    for number in 1000..6000_u32 {
        let entry = NewEntry::new(&[1; 500]);
        fixture.cache.insert_entry(&number.to_ne_bytes(), entry).unwrap();
    }
    let left = (0..1000_u32).filter(|number| fixture.stale(&number.to_ne_bytes()).is_some());
    assert!(left.count() < 100);
    let counts = fixture.cache.stats().counts;
    assert!(counts.evictions > 4000 && counts.expirations == 0, "{counts:?}");
    fixture.cache.validate().unwrap();
}

#[test]
fn a_touch_moves_the_stale_time() {
    let fixture = Fixture::new();
    fixture.cache.insert_entry(KEY, fixture.entry(VALUE)).unwrap();
    assert!(fixture.cache.touch(KEY, Some(100 * SECOND)).unwrap());
    let found = fixture.cache.peek(KEY).unwrap();
    assert_eq!(found.stale_until, Some(fixture.clock.now().after(105 * SECOND)));
    assert!(fixture.cache.touch(KEY, None).unwrap());
    assert_eq!(fixture.cache.peek(KEY).unwrap().stale_until, None);
}

#[test]
fn a_stale_time_without_end_and_one_that_is_over() {
    let fixture = Fixture::new();
    let entry = fixture.entry(VALUE);
    let cache = &fixture.cache;
    cache
        .insert_entry(b"ever", entry.stale_until(Timestamp::NEVER))
        .unwrap();
    cache
        .insert_entry(b"past", entry.stale_until(fixture.clock.now()))
        .unwrap();
    cache
        .insert_entry(b"mortal", NewEntry::new(VALUE).stale_until(fixture.clock.now()))
        .unwrap();
    fixture.clock.advance(1_000_000 * SECOND);
    let (value, found) = fixture.stale(b"ever").unwrap();
    assert_eq!(
        (value.as_slice(), found.stale_until),
        (VALUE, Some(Timestamp::NEVER))
    );
    assert!(fixture.stale(b"past").is_none());
    assert_eq!(cache.get(b"mortal").as_deref(), Some(VALUE));
}

#[test]
fn an_entry_from_the_future_is_not_stale() {
    let fixture = Fixture::new();
    fixture.cache.insert_entry(KEY, fixture.entry(VALUE)).unwrap();
    let start = fixture.clock.now();
    fixture
        .clock
        .set(Timestamp::from_unix_micros(start.as_unix_micros() - 2_000_000));
    assert_eq!(fixture.cache.get(KEY), None);
    assert!(fixture.stale(KEY).is_none());
    // A write removes what it finds.
    assert!(!fixture.cache.touch(KEY, None).unwrap());
    fixture.clock.set(start);
    assert_eq!(fixture.cache.get(KEY), None);
}

#[test]
fn costs_are_returned_and_hits_save_them() {
    let fixture = Fixture::new();
    let cost = Duration::from_micros(1234);
    fixture
        .cache
        .insert_entry(KEY, NewEntry::new(VALUE).cost(cost))
        .unwrap();
    fixture.cache.insert(b"plain", VALUE, None).unwrap();
    let found = fixture.cache.get_into(KEY, &mut Vec::new()).unwrap().unwrap();
    assert_eq!((found.cost, found.stale_until), (cost, None));
    assert_eq!(fixture.cache.peek(b"plain").unwrap().cost, Duration::ZERO);
    assert!(fixture.cache.get(b"plain").is_some());
    assert!(
        fixture
            .cache
            .try_get_into(KEY, &mut Vec::new())
            .unwrap()
            .is_some()
    );
    let _ = (
        fixture.cache.peek(KEY),
        fixture.stale(KEY),
        fixture.cache.get(b"none"),
    );
    assert_eq!(fixture.cache.stats().saved, 2 * cost);
    fixture.cache.reset_stats();
    assert_eq!(fixture.cache.stats().saved, Duration::ZERO);
}

#[test]
fn a_value_that_is_updated_or_incremented_has_neither_cost_nor_stale_time() {
    let increment = |cache: &SharedCache<Arc<ManualClock>>| {
        assert_eq!(cache.incr(KEY, 5, 0).unwrap(), Incremented::Value(5));
    };
    let update = |cache: &SharedCache<Arc<ManualClock>>| {
        let new = 5_i64.to_ne_bytes().to_vec();
        let updated = cache.update::<Infallible>(KEY, |kind, _| Ok((kind, new.clone())));
        assert!(updated.unwrap());
    };
    for write in [increment, update] {
        let fixture = Fixture::new();
        let entry = fixture.entry(&[0; 8]).cost(7 * SECOND);
        fixture.cache.insert_entry(KEY, entry).unwrap();
        let before = fixture.cache.peek(KEY).unwrap();
        assert!(before.cost.abs_diff(7 * SECOND) < 7 * SECOND / 4096);
        write(&fixture.cache);
        let after = fixture.cache.peek(KEY).unwrap();
        assert_eq!(
            (after.cost, after.stale_until, after.expires_at),
            (Duration::ZERO, None, before.expires_at)
        );
        assert_eq!(fixture.cache.get(KEY), Some(5_i64.to_ne_bytes().to_vec()));
        fixture.cache.validate().unwrap();
        fixture.clock.advance(10 * SECOND);
        assert!(fixture.stale(KEY).is_none());
    }
}

#[test]
fn an_expiry_in_the_past_removes_the_stale_value_too() {
    let fixture = Fixture::new();
    fixture.cache.insert_entry(KEY, fixture.entry(VALUE)).unwrap();
    assert_eq!(
        fixture.cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap(),
        Claim::Leader
    );
    assert!(fixture.cache.expire_at(KEY, fixture.clock.now()).unwrap());
    assert!(fixture.stale(KEY).is_none());
    assert_eq!(fixture.cache.flight(KEY), None);
    assert_eq!(fixture.cache.all_keys().count(), 0);
}

#[test]
fn all_keys_are_those_of_live_and_stale_entries_and_of_flights() {
    let fixture = Fixture::expired();
    let cache = &fixture.cache;
    cache.insert(b"live", VALUE, None).unwrap();
    cache.claim(b"flight", ClaimRequest::new(1)).unwrap();
    let mut keys: Vec<_> = cache.all_keys().map(Result::unwrap).collect();
    keys.sort();
    assert_eq!(keys, [b"flight".to_vec(), b"live".to_vec(), KEY.to_vec()]);
    let removed: Vec<_> = keys.iter().map(|key| cache.remove(key).unwrap()).collect();
    assert_eq!(removed, [false, true, false]);
    assert!(fixture.stale(KEY).is_none());
    assert!(!cache.complete(b"flight", 1, NewEntry::new(VALUE)).unwrap());
    assert_eq!(cache.all_keys().count(), 0);
}

#[test]
fn values_of_all_lengths_share_their_records_with_plain_ones() {
    let fixture = Fixture::new();
    for len in (0..80).chain([1000, 40_000, 300_000]) {
        for key in 0..20 {
            let (key, value) = (vec![b'k'; key], vec![1; len]);
            for extended in [false, true, true, false] {
                let plain = NewEntry::new(&value);
                let entry = if extended { plain.cost(SECOND) } else { plain };
                fixture.cache.insert_entry(&key, entry).unwrap();
                let mut read = Vec::new();
                let found = fixture.cache.get_into(&key, &mut read).unwrap().unwrap();
                assert_eq!((&read, found.cost.is_zero()), (&value, !extended), "{len}");
            }
        }
    }
    fixture.cache.validate().unwrap();
}

#[test]
fn events_are_counted_for_all_processes() {
    let fixture = Fixture::new();
    let events = [Event::Wait, Event::StaleHit, Event::Refresh, Event::FailedRefresh];
    for (event, times) in events.into_iter().zip(1..) {
        (0..times).for_each(|_| fixture.cache.count(event));
    }
    let stats = fixture.cache.stats();
    let counted = [
        stats.counts.waits,
        stats.stale_hits,
        stats.refreshes,
        stats.failed_refreshes,
    ];
    assert_eq!(counted, [1, 2, 3, 4]);
}
