//! Flights and stale values where the file is damaged, torn, locked or adopted.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::support::{BYTES, Scratch};
use crate::Clock;
use crate::shared::extension::EXTENSION;
use crate::shared::layout::LOCK;
use crate::shared::lookup::Lookup;
use crate::shared::mapped_words::AtomicU64;
use crate::shared::record::{Record, next_sequence};
use crate::shared::ring::Ring;
use crate::shared::{Claim, ClaimRequest, FlightId, NewEntry, ProcessId, SharedCache, SharedError};

const KEY: &[u8] = b"the key";
const VALUE: &[u8] = b"the value";
const SECOND: Duration = Duration::from_secs(1);

/// Returns the record of the key and its ring.
fn record(cache: &SharedCache) -> (Ring<'_>, Record) {
    let key = cache.file().hashing.key(KEY);
    let shard = cache.file().shard_of(&key);
    let Lookup::Found(entry) = shard.find(&key) else {
        panic!("there is no record");
    };
    (*shard.ring_of(entry.state).unwrap(), entry.record)
}

/// Returns the words of the key's extension.
fn extension(cache: &SharedCache) -> Vec<&AtomicU64> {
    let (ring, record) = record(cache);
    let words = ring.extension_words(&record).words();
    words.collect()
}

fn leads(cache: &SharedCache, number: u64) -> bool {
    cache.claim(KEY, ClaimRequest::new(number)).unwrap() == Claim::Leader
}

fn stale(cache: &SharedCache) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let found = cache.get_stale_into(KEY, &mut value).unwrap();
    found.map(|_| value)
}

/// Returns an entry that has expired and is stale for a long time.
fn expired<'a>(cache: &SharedCache) -> NewEntry<'a> {
    let now = cache.clock().now();
    let entry = NewEntry::new(VALUE).cost(SECOND);
    entry.expires_at(now).stale_until(now.after(1000 * SECOND))
}

#[test]
fn every_changed_bit_of_an_extension_is_noticed() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let entry = NewEntry::new(VALUE)
        .cost(SECOND)
        .stale_until(cache.expiry(Some(SECOND)));
    cache
        .insert_entry(KEY, entry.expires_at(cache.expiry(Some(1000 * SECOND))))
        .unwrap();
    assert_eq!(extension(&cache).len(), EXTENSION);
    for word in extension(&cache) {
        for bit in 0..64 {
            word.fetch_xor(1 << bit, Ordering::Relaxed);
            assert_eq!(cache.get(KEY), None, "bit {bit}");
            let broken = cache.validate().unwrap_err().to_string();
            assert!(broken.contains("does not match its checksum"), "{broken}");
            word.fetch_xor(1 << bit, Ordering::Relaxed);
        }
    }
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
    // Two words that changed places.
    assert_eq!(
        cache.claim(KEY, ClaimRequest::new(7).refresh()).unwrap(),
        Claim::Leader
    );
    assert_eq!(cache.get(KEY).as_deref(), Some(VALUE));
    let words = extension(&cache);
    let process = words[1].swap(words[2].load(Ordering::Relaxed), Ordering::Relaxed);
    words[2].store(process, Ordering::Relaxed);
    assert_eq!(cache.get(KEY), None);
}

#[test]
fn a_claim_does_not_hide_damage() {
    for is_value in [false, true] {
        let scratch = Scratch::new();
        let cache = scratch.open();
        cache.insert_entry(KEY, expired(&cache)).unwrap();
        assert_eq!(stale(&cache).as_deref(), Some(VALUE));
        let (ring, record) = record(&cache);
        let value = ring.value(&record).words().next().unwrap();
        let damaged = if is_value { value } else { extension(&cache)[0] };
        damaged.fetch_xor(1 << 20, Ordering::Relaxed);
        assert_eq!(stale(&cache), None);
        assert!(leads(&cache, 1));
        assert_eq!(stale(&cache), None);
        assert!(cache.release(KEY, 1).unwrap());
        assert_eq!(stale(&cache), None);
        assert!(leads(&cache, 2));
        assert!(cache.complete(KEY, 2, NewEntry::new(b"new")).unwrap());
        assert_eq!(cache.get(KEY).as_deref(), Some(&b"new"[..]));
        cache.validate().unwrap();
    }
}

#[test]
fn a_damaged_flight_is_taken_over() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    for process in [
        u64::MAX,
        1,
        0xffff,
        1 << 63,
        cache.process_id().unwrap().to_u64() + (1 << 16),
    ] {
        assert!(leads(&cache, 1));
        extension(&cache)[1].store(process, Ordering::Relaxed);
        let process = ProcessId::from_u64(process);
        assert_eq!(cache.flight(KEY), Some(FlightId { process, number: 1 }));
        assert!(!cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
        assert!(leads(&cache, 2), "{process:?}");
        assert!(cache.complete(KEY, 2, NewEntry::new(VALUE)).unwrap());
        assert!(cache.remove(KEY).unwrap());
    }
    // A placeholder whose flight is gone stands for nothing.
    assert!(leads(&cache, 3));
    extension(&cache)[1].store(0, Ordering::Relaxed);
    assert_eq!((cache.flight(KEY), stale(&cache)), (None, None));
    assert!(leads(&cache, 4));
    cache.release(KEY, 4).unwrap();
    cache.validate().unwrap();
}

#[test]
fn a_damaged_value_is_computed_again() {
    for cost in [Duration::ZERO, SECOND] {
        let scratch = Scratch::new();
        let cache = scratch.open();
        cache
            .insert_entry(KEY, NewEntry::new(b"old value").cost(cost))
            .unwrap();
        let (ring, record) = record(&cache);
        let word = ring.value(&record).words().next().unwrap();
        word.fetch_xor(1, Ordering::Relaxed);
        assert_eq!(cache.get(KEY), None);
        let value = cache.get_or_insert_with(KEY, None, || VALUE.to_vec()).unwrap();
        assert_eq!(
            (value.as_slice(), cache.get(KEY).as_deref()),
            (VALUE, Some(VALUE))
        );
        cache.validate().unwrap();
    }
}

#[test]
fn a_caller_that_waits_for_the_replacement_of_a_damaged_value_does_not_compute_it_again() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    cache
        .insert_entry(KEY, NewEntry::new(b"old value").cost(SECOND))
        .unwrap();
    let (ring, record) = record(&cache);
    let word = ring.value(&record).words().next().unwrap();
    word.fetch_xor(1, Ordering::Relaxed);
    let refresh = cache.claim(KEY, ClaimRequest::new(1).refresh()).unwrap();
    assert_eq!(refresh, Claim::Leader);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| cache.get_or_insert_with(KEY, None, || b"again".to_vec()).unwrap());
        let begin = Instant::now();
        while cache.stats().counts.waits == 0 {
            assert!(begin.elapsed() < 60 * SECOND, "it does not wait");
            thread::yield_now();
        }
        assert!(cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
        assert_eq!(waiter.join().unwrap(), VALUE);
    });
    assert_eq!(cache.stats().counts.flights, 1);
}

#[test]
fn a_record_torn_by_a_claim_is_no_flight() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    cache.insert_entry(KEY, expired(&cache)).unwrap();
    assert!(leads(&cache, 1));
    let (ring, record) = record(&cache);
    ring.first_word_of(&record)
        .store(next_sequence(record.first), Ordering::Relaxed);
    assert_eq!(cache.flight(KEY), None);
    assert!(!cache.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
    assert!(leads(&cache, 2));
    cache.validate().unwrap();
}

#[test]
fn a_flight_from_before_a_reboot_is_taken_over_and_its_stale_value_stays() {
    let scratch = Scratch::new();
    let opened_in = |boot| {
        let builder = SharedCache::builder(scratch.path()).bytes(BYTES);
        builder.open_in([boot, 1]).unwrap()
    };
    let cache = opened_in(1);
    cache.insert_entry(KEY, expired(&cache)).unwrap();
    assert!(leads(&cache, 1));
    let before = cache.flight(KEY).unwrap();
    drop(cache);
    let cache = opened_in(2);
    assert_eq!(cache.flight(KEY), Some(before));
    // Completes the scrub.
    cache.validate().unwrap();
    assert_eq!(stale(&cache).as_deref(), Some(VALUE));
    assert!(!cache.is_alive(before.process));
    assert!(leads(&cache, 1));
    assert!(cache.flight(KEY).unwrap() != before);
    assert_eq!(stale(&cache).as_deref(), Some(VALUE));
    assert!(cache.complete(KEY, 1, NewEntry::new(b"new")).unwrap());
}

#[test]
fn without_waiting_a_held_lock_is_busy_and_nothing_changes() {
    let scratch = Scratch::new();
    let cache = scratch.open();
    let trying = cache.with_lock_timeout(Duration::ZERO);
    cache.insert(b"plain", b"plain", None).unwrap();
    assert!(leads(&cache, 1));
    let flight = cache.flight(KEY);
    let lock = &cache.file().shard(0).control[LOCK];
    lock.store(cache.process_id().unwrap().to_u64(), Ordering::Relaxed);
    let claim = |key: &[u8], request: ClaimRequest| trying.claim(key, request).map(|_| true);
    for refused in [
        trying.complete(KEY, 1, NewEntry::new(VALUE)),
        trying.release(KEY, 1),
        claim(b"other", ClaimRequest::new(2)),
        claim(b"plain", ClaimRequest::new(2).refresh()),
        claim(KEY, ClaimRequest::new(2).overtake(flight.unwrap())),
    ] {
        assert!(matches!(refused, Err(SharedError::Busy { .. })), "{refused:?}");
    }
    // These take no lock.
    assert_eq!(
        trying.claim(KEY, ClaimRequest::new(2)).unwrap(),
        Claim::Held(flight.unwrap())
    );
    assert_eq!(trying.claim(b"plain", ClaimRequest::new(2)).unwrap(), Claim::Hit);
    lock.store(0, Ordering::Relaxed);
    assert_eq!((trying.stats().timeouts, trying.stats().counts.flights), (0, 1));
    assert_eq!((trying.flight(b"other"), trying.flight(b"plain")), (None, None));
    assert_eq!(trying.flight(KEY), flight);
    assert!(trying.complete(KEY, 1, NewEntry::new(VALUE)).unwrap());
}
