//! A shard in the hands of a model checker, which tries the orders in which two threads' loads and stores may happen, and
//! all that weak ordering lets a load see.
//!
//! Run by `make test-orders`, with a build of its own, in which the words are the checker's. Taking away a fence, or the
//! order of publishing a slot or of giving up the lock, fails one of these at least.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loom::thread;

use crate::Timestamp;
use crate::shared::SharedError;
use crate::shared::hashing::Hashing;
use crate::shared::index::Kind;
use crate::shared::layout::{LOCK, MAIN, SHARD, SMALL, WORD};
use crate::shared::lock::{self, Owner};
use crate::shared::record::NEVER;
use crate::shared::ring::Ring;
use crate::shared::shard::{Look, Shard};
use crate::shared::store::COUNTERS;
use crate::shared::words::{AtomicU64, add};
use crate::shared::writer::{Expected, Incremented, Value, Writer};

/// Two words, so that half of one can be seen beside half of another.
const LEN: usize = 16;
/// The words of a record with such a value: four, the key's and the value's.
const RECORD: usize = 7;
const INTEGER: u8 = 7;
const NOW: Timestamp = Timestamp::from_unix_micros(1_700_000_000_000_000);

/// A shard's words, on the heap.
struct Heap {
    control: Vec<AtomicU64>,
    index: Vec<AtomicU64>,
    small: Vec<AtomicU64>,
    main: Vec<AtomicU64>,
    counters: Vec<AtomicU64>,
    epoch: AtomicU64,
    hashing: Hashing,
}

fn zeros(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl Heap {
    fn new(small: usize, main: usize) -> Arc<Self> {
        Arc::new(Self {
            control: zeros(SHARD),
            // Two buckets, so that a key is looked for once in each.
            index: zeros(16),
            small: zeros(small),
            main: zeros(main),
            counters: zeros(COUNTERS),
            epoch: AtomicU64::new(0),
            hashing: Hashing::new(1),
        })
    }

    fn shard(&self) -> Shard<'_> {
        let (small, main) = (&self.control[SMALL..MAIN], &self.control[MAIN..MAIN + WORD]);
        Shard {
            control: &self.control,
            index: &self.index,
            small: Ring::new(Kind::Small, small, &self.small, &self.hashing),
            main: Ring::new(Kind::Main, main, &self.main, &self.hashing),
            hashing: &self.hashing,
            epoch: &self.epoch,
        }
    }

    /// What `f` does under the lock, if that is free.
    fn write<T>(
        &self,
        slot: usize,
        f: impl FnOnce(&mut Writer<'_, Timestamp>) -> T,
    ) -> Result<T, SharedError> {
        let owner = Owner::new(slot, 1);
        let held = lock::acquire(&self.control[LOCK], owner, |_| true, Duration::ZERO)?;
        let largest = self.main.len();
        Ok(f(&mut Writer::new(
            self.shard(),
            held,
            &self.counters,
            &NOW,
            NOW,
            largest,
        )))
    }

    fn store(&self, key: &[u8], bytes: &[u8], kind: u8) {
        let key = self.hashing.key(key);
        let value = Value {
            bytes,
            kind,
            expires_at: NEVER,
            checksum: self.hashing.checksum(key.hash, bytes, kind),
        };
        let stored = self.write(0, |writer| writer.set(&key, &value, Expected::ANYTHING));
        assert!(matches!(stored, Ok(Ok(true))));
    }

    fn set(&self, key: &[u8], version: u8) {
        self.store(key, &[version; LEN], 0);
    }

    fn delete(&self, key: &[u8]) {
        let key = self.hashing.key(key);
        assert!(
            self.write(0, |writer| writer.remove(&key, Expected::ANYTHING))
                .unwrap()
        );
    }

    /// What a reader finds who starts once: a version, nothing, or that he should start again.
    fn get(&self, key: &[u8]) -> Seen {
        let (key, shard) = (self.hashing.key(key), self.shard());
        let entry = match shard.look(&key) {
            Look::Found(entry) => entry,
            Look::Nothing => return Seen::Nothing,
            Look::Unclear => return Seen::Unclear,
            Look::Damaged => panic!("a look damages nothing"),
        };
        let mut room = vec![MaybeUninit::new(0); entry.record.value];
        match shard.copy(&key, &entry, &mut room) {
            Look::Found(_) => {
                // SAFETY: filled from the beginning.
                #[allow(unsafe_code)]
                let bytes: Vec<u8> = room.iter().map(|byte| unsafe { byte.assume_init() }).collect();
                assert!(bytes.len() >= LEN && bytes.iter().all(|byte| *byte == bytes[0]));
                shard.raise(&entry);
                Seen::Version(bytes[0])
            }
            Look::Unclear => Seen::Unclear,
            Look::Nothing => Seen::Nothing,
            Look::Damaged => panic!("what was validated does not fit its checksum"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Version(u8),
    Nothing,
    Unclear,
}

/// Tries all orders of a writer and a reader of the key A, in which at most so many times one thread is interrupted.
fn model(
    interruptions: usize,
    rings: (usize, usize),
    before: fn(&Heap),
    write: fn(&Heap),
    may_see: &'static [Seen],
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        let heap = Heap::new(rings.0, rings.1);
        before(&heap);
        let reader = {
            let heap = Arc::clone(&heap);
            thread::spawn(move || {
                let seen = heap.get(b"A");
                assert!(seen == Seen::Unclear || may_see.contains(&seen), "{seen:?}");
            })
        };
        write(&heap);
        reader.join().unwrap();
    });
}

const ROOMY: (usize, usize) = (RECORD * 8, RECORD * 8);

#[test]
fn a_new_value_is_seen_whole_or_not_at_all() {
    let may_see = &[Seen::Nothing, Seen::Version(1)];
    model(4, ROOMY, |_| (), |heap| heap.set(b"A", 1), may_see);
}

#[test]
fn a_value_overwritten_in_place_is_seen_as_it_was_or_as_it_is() {
    let may_see = &[Seen::Version(1), Seen::Version(2)];
    model(
        3,
        ROOMY,
        |heap| heap.set(b"A", 1),
        |heap| heap.set(b"A", 2),
        may_see,
    );
}

#[test]
fn what_is_removed_and_stored_anew_is_never_another_keys() {
    model(
        3,
        ROOMY,
        |heap| heap.set(b"A", 1),
        |heap| {
            heap.delete(b"A");
            heap.set(b"B", 9);
            heap.set(b"A", 2);
        },
        &[Seen::Version(1), Seen::Version(2), Seen::Nothing],
    );
}

/// Main holds two records, which go there at once: small is too small for them.
const NARROW: (usize, usize) = (RECORD * 2, RECORD * 2);

#[test]
fn room_that_is_used_anew_is_not_taken_for_what_was_there() {
    model(
        3,
        NARROW,
        |heap| heap.set(b"A", 1),
        |heap| {
            heap.set(b"B", 8);
            // Where A was.
            heap.set(b"C", 9);
        },
        &[Seen::Version(1), Seen::Nothing],
    );
}

#[test]
fn room_of_the_dead_amid_the_ring_is_not_taken_for_what_was_there() {
    model(
        3,
        (RECORD * 3, RECORD * 3),
        |heap| {
            heap.set(b"Z", 7);
            heap.set(b"A", 1);
            // Hits that are counted no longer: the checker would have a count outlive the slot that it was made in, as if
            // a compare-and-swap could read what is not the latest.
            assert!([(); 3].iter().all(|()| heap.get(b"A") == Seen::Version(1)));
        },
        |heap| {
            heap.delete(b"A");
            let head = heap.shard().main.head();
            // Where A was.
            heap.set(b"B", 9);
            assert_eq!(heap.shard().main.head(), head);
        },
        &[Seen::Version(1), Seen::Nothing],
    );
}

#[test]
fn what_is_stored_elsewhere_is_found_though_its_room_is_used_anew() {
    model(
        3,
        (RECORD * 3, RECORD * 8),
        |heap| {
            heap.set(b"Z", 7);
            heap.set(b"A", 1);
            assert!([(); 3].iter().all(|()| heap.get(b"A") == Seen::Version(1)));
        },
        |heap| {
            // Too large for the room that A has.
            heap.store(b"A", &[2; LEN * 3], 0);
            let head = heap.shard().main.head();
            heap.set(b"B", 9);
            assert_eq!(heap.shard().main.head(), head);
        },
        &[Seen::Version(1), Seen::Version(2)],
    );
}

#[test]
fn a_record_that_moves_from_small_to_main_is_found_all_the_while() {
    model(
        3,
        (RECORD * 4, RECORD * 4),
        |heap| {
            heap.set(b"A", 1);
            heap.set(b"B", 2);
            heap.set(b"C", 3);
            heap.set(b"D", 4);
        },
        |heap| heap.set(b"E", 5),
        &[Seen::Version(1)],
    );
}

#[test]
fn a_record_that_is_copied_over_itself_is_found_or_asked_for_again() {
    model(
        3,
        // Three words are free when A is to go from main's tail to its head.
        (RECORD * 2, RECORD * 2 + 3),
        |heap| {
            heap.set(b"A", 1);
            heap.set(b"B", 2);
            assert_eq!([heap.get(b"A"), heap.get(b"A")], [Seen::Version(1); 2]);
        },
        |heap| heap.set(b"C", 3),
        &[Seen::Version(1)],
    );
}

#[test]
fn what_was_cleared_does_not_come_back_as_another_keys() {
    model(
        3,
        NARROW,
        |heap| heap.set(b"A", 1),
        |heap| {
            add(&heap.epoch, 1, Ordering::SeqCst);
            heap.set(b"B", 9);
            heap.set(b"A", 2);
        },
        &[Seen::Version(1), Seen::Version(2), Seen::Nothing],
    );
}

#[test]
fn two_writers_count_each_success_once() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.max_branches = 100_000;
    builder.check(|| {
        let heap = Heap::new(RECORD * 8, RECORD * 8);
        heap.store(b"A", &0_i64.to_ne_bytes(), INTEGER);
        let count_up = |heap: &Heap, slot| {
            let key = heap.hashing.key(b"A");
            let counted = heap.write(slot, |writer| writer.add(&key, 1, INTEGER));
            i64::from(matches!(counted, Ok(Incremented::Value(_))))
        };
        let other = {
            let heap = Arc::clone(&heap);
            thread::spawn(move || count_up(&heap, 1))
        };
        let successes = count_up(&heap, 2) + other.join().unwrap();
        let key = heap.hashing.key(b"A");
        let counted = heap.write(3, |writer| writer.add(&key, 0, INTEGER)).unwrap();
        assert!(successes > 0);
        assert_eq!(counted, Incremented::Value(successes));
        assert_eq!(heap.control[LOCK].load(Ordering::Relaxed), 0);
    });
}
