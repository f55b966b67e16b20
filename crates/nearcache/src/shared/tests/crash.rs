//! Validity after a death: a process dies before each single store of each operation. Processes that go on, and processes
//! that open the file afterwards, find a valid file, in which every key has its old value, its new one, or none.
//!
//! How soon other writers go on is the subject of `takeover.rs`.

use std::time::Duration;

use super::failpoint::{die_before, live_on};
use super::support::{End, Scratch, spawn, value, version, wait};
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::shared::position::Position;
use crate::shared::{Claim, ClaimRequest, Incremented, NewEntry, SharedCache};

const OLD: u64 = 1;
const NEW: u64 = 2;
const KEY: &[u8] = b"the key";
const INTEGER: u8 = 7;
/// No operation has more stores than this.
const MOST_STORES: u64 = 200_000;

fn insert(cache: &SharedCache, key: &[u8], version: u64, len: usize) {
    cache.insert(key, &value(key, version, len), None).unwrap();
}

fn name(number: u64) -> Vec<u8> {
    format!("other {number}").into_bytes()
}

fn others(cache: &SharedCache, len: usize, count: u64) {
    for number in 0..count {
        insert(cache, &name(number), OLD, len);
    }
}

/// Reads all keys; returns how many of those that `others` stored are there.
fn read_all(cache: &SharedCache) -> u64 {
    for key in cache.keys().map(Result::unwrap) {
        if key == b"integer" {
            let found = cache.get(&key).unwrap_or_else(|| 5_i64.to_ne_bytes().to_vec());
            assert!([5, 15].contains(&i64::from_ne_bytes(found.try_into().unwrap())));
        } else if let Some(found) = cache.get(&key) {
            assert!(version(&key, &found) <= NEW, "neither old nor new: {key:?}");
        }
    }
    (0..3000)
        .map(|number| u64::from(cache.contains(&name(number))))
        .sum()
}

/// Lets a child die before every `stride`-th store of `act`, each time in a new file that `setup` has filled, and checks
/// the file. At least `intact` of the entries that `others` stored must be left.
fn crash(stride: u64, intact: u64, setup: impl Fn(&SharedCache), act: impl Fn(&SharedCache)) {
    let mut store = 1;
    loop {
        let scratch = Scratch::new();
        let survivor = scratch.open();
        setup(&survivor);
        let child = spawn(|| {
            let cache = scratch.open();
            die_before(store);
            act(&cache);
            assert!(live_on());
        });
        let end = wait(child, 0);
        // A write in the same shard, which takes the lock over.
        insert(&survivor, b"after", NEW, 40);
        for cache in [&survivor, &scratch.open()] {
            cache
                .validate()
                .unwrap_or_else(|error| panic!("store {store}: {error}"));
            let found = read_all(cache);
            read_stale(cache);
            assert!(found >= intact, "store {store}: only {found} others are left");
        }
        act(&survivor);
        survivor
            .validate()
            .unwrap_or_else(|error| panic!("store {store}, again: {error}"));
        if end == End::Exit(0) {
            break;
        }
        assert_eq!(end, End::Killed(libc::SIGKILL), "store {store}");
        store += stride;
        assert!(store < MOST_STORES);
    }
    assert!(store > 1, "nothing was stored");
}

#[test]
fn death_while_inserting_a_new_key() {
    crash(
        1,
        3,
        |cache| others(cache, 50, 3),
        |cache| insert(cache, KEY, NEW, 50),
    );
}

#[test]
fn death_while_inserting_if_absent_and_replacing() {
    crash(
        1,
        3,
        |cache| others(cache, 50, 3),
        |cache| {
            cache.insert_if_absent(KEY, &value(KEY, NEW, 50), None).unwrap();
            cache.insert_if_present(KEY, &value(KEY, NEW, 90), None).unwrap();
        },
    );
}

#[test]
fn death_while_overwriting_in_place() {
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            insert(cache, KEY, OLD, 100);
        },
        |cache| insert(cache, KEY, NEW, 77),
    );
}

#[test]
fn death_while_replacing_by_a_longer_value() {
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            insert(cache, KEY, OLD, 20);
        },
        |cache| insert(cache, KEY, NEW, 120),
    );
}

#[test]
fn death_while_incrementing() {
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            cache
                .insert_entry(b"integer", NewEntry::new(&5_i64.to_ne_bytes()).kind(INTEGER))
                .unwrap();
        },
        |cache| {
            let counted = cache.incr(b"integer", 10, INTEGER).unwrap();
            assert!(
                [
                    Incremented::Value(15),
                    Incremented::Value(25),
                    Incremented::Missing
                ]
                .contains(&counted)
            );
            cache.remove(b"integer").unwrap();
        },
    );
}

#[test]
fn death_while_removing_and_touching() {
    crash(
        1,
        2,
        |cache| {
            others(cache, 50, 3);
            insert(cache, KEY, OLD, 100);
        },
        |cache| {
            cache.touch(KEY, Some(Duration::from_mins(1))).unwrap();
            cache.remove(KEY).unwrap();
            cache.remove(&name(0)).unwrap();
        },
    );
}

#[test]
fn death_while_clearing_and_inserting() {
    crash(
        1,
        0,
        |cache| others(cache, 50, 20),
        |cache| {
            cache.clear();
            insert(cache, KEY, NEW, 50);
        },
    );
}

#[test]
fn death_while_rejecting_a_large_value() {
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            insert(cache, KEY, OLD, 100);
        },
        |cache| assert!(cache.insert(KEY, &vec![0; 900_000], None).is_err()),
    );
}

#[test]
fn death_while_sweeping_expired_entries() {
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            let past = Timestamp::from_unix_micros(1);
            for number in 100..400 {
                cache
                    .insert_entry(
                        &name(number),
                        NewEntry::new(&value(&name(number), OLD, 20)).expires_at(past),
                    )
                    .unwrap();
            }
        },
        |cache| {
            for _ in 0..3 {
                insert(cache, KEY, NEW, 20);
            }
        },
    );
}

/// Returns an entry of this version that has expired and is stale for a long time.
fn stale(cache: &SharedCache, bytes: &'static [u8]) -> NewEntry<'static> {
    let now = cache.clock().now();
    let entry = NewEntry::new(bytes).cost(Duration::from_secs(1));
    entry
        .expires_at(now)
        .stale_until(now.after(Duration::from_hours(1)))
}

/// Claims the key, also if it has a flight. A dead leader's flight is taken over, and one that is alive overtaken.
fn claim(cache: &SharedCache, number: u64, is_refresh: bool) {
    let mut request = ClaimRequest::new(number);
    if is_refresh {
        request = request.refresh();
    }
    match cache.claim(KEY, request).unwrap() {
        Claim::Leader | Claim::Hit => {}
        Claim::Held(flight) => {
            let claim = cache.claim(KEY, request.overtake(flight)).unwrap();
            assert_eq!(claim, Claim::Leader);
        }
    }
}

/// Checks that the stale value of the key is whole, if there is one.
fn read_stale(cache: &SharedCache) {
    let mut found = Vec::new();
    if cache.get_stale_into(KEY, &mut found).unwrap().is_some() {
        assert!(version(KEY, &found) <= NEW);
    }
}

fn leaked(version: u64, len: usize) -> &'static [u8] {
    value(KEY, version, len).leak()
}

#[test]
fn death_while_claiming_and_completing() {
    let new = leaked(NEW, 90);
    crash(
        1,
        3,
        |cache| others(cache, 50, 3),
        |cache| {
            claim(cache, 1, false);
            cache.complete(KEY, 1, stale(cache, new)).unwrap();
            read_stale(cache);
            claim(cache, 2, false);
            read_stale(cache);
            cache
                .complete(KEY, 2, NewEntry::new(new).cost(Duration::from_secs(1)))
                .unwrap();
        },
    );
}

#[test]
fn death_while_claiming_and_releasing() {
    let old = leaked(OLD, 50);
    crash(
        1,
        3,
        |cache| others(cache, 50, 3),
        |cache| {
            cache.remove(KEY).unwrap();
            claim(cache, 1, false);
            assert!(cache.release(KEY, 1).unwrap());
            cache.insert_entry(KEY, stale(cache, old)).unwrap();
            claim(cache, 2, false);
            assert!(cache.release(KEY, 2).unwrap());
            read_stale(cache);
            assert!(!cache.remove(KEY).unwrap());
        },
    );
}

#[test]
fn death_while_refreshing_a_plain_entry() {
    let new = leaked(NEW, 70);
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            insert(cache, KEY, OLD, 50);
        },
        |cache| {
            claim(cache, 1, true);
            cache.complete(KEY, 1, NewEntry::new(new)).unwrap();
        },
    );
}

#[test]
fn death_while_overtaking() {
    crash(
        1,
        3,
        |cache| {
            others(cache, 50, 3);
            claim(cache, 1, false);
        },
        |cache| {
            claim(cache, 2, false);
            cache.release(KEY, 2).unwrap();
        },
    );
}

/// Fills the cache with small records, half of which are read often enough to be kept.
fn full(cache: &SharedCache) {
    others(cache, 600, 2500);
    for _ in 0..3 {
        for number in (0..2500).step_by(2) {
            let _ = cache.get(&name(number));
        }
    }
}

#[test]
fn death_while_evicting_and_moving() {
    // Enough writes to evict several entries from both rings and keep others.
    crash(7, 500, full, |cache| {
        for number in 0..6 {
            insert(cache, &[KEY, &[b'0' + number]].concat(), NEW, 600);
        }
    });
}

#[test]
fn death_while_moving_from_small_to_main() {
    let setup = |cache: &SharedCache| {
        full(cache);
        for number in 2400..2500 {
            let _ = (cache.get(&name(number)), cache.get(&name(number)));
        }
    };
    crash(5, 500, setup, |cache| insert(cache, KEY, NEW, 1500));
}

#[test]
fn death_while_copying_a_record_over_itself() {
    let setup = |cache: &SharedCache| {
        for number in 0..28 {
            insert(cache, &name(number), OLD, 30_000);
        }
        for number in (0..28).chain(0..28) {
            let _ = cache.get(&name(number));
        }
    };
    let scratch = Scratch::new();
    let cache = scratch.open();
    setup(&cache);
    let before = cache.stats().moved_bytes;
    insert(&cache, KEY, NEW, 30_000);
    assert!(cache.stats().moved_bytes > before, "no large record was copied");
    crash(1999, 20, setup, |cache| insert(cache, KEY, NEW, 30_000));
}

/// Returns the heads of both rings.
fn heads(cache: &SharedCache) -> [Position; 2] {
    let shard = cache.file().shard(0);
    [shard.small.head(), shard.main.head()]
}

#[test]
fn death_while_using_free_space_in_main() {
    for (stride, len, count) in [(1, 600, 2500), (151, 30_000, 20)] {
        let setup = |cache: &SharedCache| {
            others(cache, len, count);
            // Some are in small, whose free space is not used again.
            for number in (0..count).filter(|number| number % 100 == 7) {
                cache.remove(&name(number)).unwrap();
            }
        };
        let act = |cache: &SharedCache| insert(cache, KEY, NEW, len - 10);
        let scratch = Scratch::new();
        let cache = scratch.open();
        setup(&cache);
        let before = heads(&cache);
        act(&cache);
        assert_eq!(heads(&cache), before, "the record was written at a head");
        crash(stride, count / 4, setup, act);
    }
}

#[test]
fn death_while_taking_over_from_a_dead_owner() {
    let setup = |cache: &SharedCache| {
        others(cache, 50, 3);
        // Dies while it writes the record, holding the lock.
        let child = spawn(|| {
            die_before(12);
            insert(cache, b"dying", OLD, 50);
        });
        assert_eq!(wait(child, 0), End::Killed(libc::SIGKILL));
    };
    crash(1, 3, setup, |cache| insert(cache, KEY, NEW, 50));
}

/// Lets a writer die while it overwrites the key.
fn tear(cache: &SharedCache, len: usize) {
    insert(cache, KEY, OLD, len);
    let child = spawn(|| {
        // After the stores of the lock and of the odd sequence.
        die_before(5);
        insert(cache, KEY, NEW, len);
    });
    assert_eq!(wait(child, 0), End::Killed(libc::SIGKILL));
    assert_eq!(cache.validate().unwrap().torn, 1);
}

#[test]
fn a_torn_record_that_the_tail_passes_is_no_longer_counted() {
    // The length of the torn record determines its ring; the length of the others determines which ring they fill.
    for (len, other_len) in [(100, 600), (30_000, 30_000), (30_000, 600)] {
        let scratch = Scratch::new();
        let cache = scratch.open();
        tear(&cache, len);
        for number in 0..1600 {
            insert(&cache, &name(number), OLD, other_len);
            if number % 40 > 0 {
                continue;
            }
            let report = cache
                .validate()
                .unwrap_or_else(|error| panic!("{len}, {other_len}, write {number}: {error}"));
            let counts = cache.stats().counts;
            assert_eq!(counts.entries, report.entries + report.torn);
            assert!(counts.expirations == 0);
            if report.torn == 0 {
                break;
            }
        }
        assert_eq!(cache.validate().unwrap().torn, 0);
        assert_eq!(cache.get(KEY), None);
    }
}
