//! A model of a shard for loom, which tries all orders in which the loads and stores of two threads can happen, and all
//! values that weak ordering lets a load see.
//!
//! `make test-orders` runs it, in a build of its own with loom's atomics. If a fence is removed, or the ordering of the
//! store that publishes a slot or releases the lock is weakened, at least one of these tests fails.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loom::thread;

use crate::Timestamp;
use crate::shared::counters::COUNTERS;
use crate::shared::extension::{EXTENSION, Extension};
use crate::shared::hashing::Hashing;
use crate::shared::layout::{LOCK, MAIN, SHARD, SMALL, WORD};
use crate::shared::lock::{self, Owner};
use crate::shared::lookup::Lookup;
use crate::shared::mapped_words::{AtomicU64, add};
use crate::shared::payload::Payload;
use crate::shared::record::NEVER;
use crate::shared::ring::Ring;
use crate::shared::shard::Shard;
use crate::shared::slot::Queue;
use crate::shared::writer::{Requirement, Writer};
use crate::shared::{Incremented, SharedError};

/// Two words, so that a reader can see one word of one value and one of another.
const LEN: usize = 16;
/// The words of a record with such a value: the header, the key and the value.
const RECORD: usize = 7;
const INTEGER: u8 = 7;
const NOW: Timestamp = Timestamp::from_unix_micros(1_700_000_000_000_000);

/// The words of a shard, on the heap.
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
            // Two buckets, so that the two buckets of a key may differ.
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
            small: Ring::new(Queue::Small, small, &self.small, &self.hashing),
            main: Ring::new(Queue::Main, main, &self.main, &self.hashing),
            hashing: &self.hashing,
            epoch: &self.epoch,
        }
    }

    /// Runs `f` under the lock, if the lock is free.
    fn write<T>(
        &self,
        slot: usize,
        f: impl FnOnce(&mut Writer<'_, Timestamp>) -> T,
    ) -> Result<T, SharedError> {
        let owner = Owner::new(slot, 1);
        let guard = lock::acquire(&self.control[LOCK], owner, |_| true, Duration::ZERO)?;
        let largest = self.main.len();
        Ok(f(&mut Writer::new(
            self.shard(),
            guard,
            &self.counters,
            &NOW,
            NOW,
            largest,
        )))
    }

    fn store(&self, key: &[u8], bytes: &[u8], kind: u8) {
        self.store_payload(key, bytes, kind, None);
    }

    fn store_extended(&self, key: &[u8], extension: Extension) {
        self.store_payload(key, &[], 0, Some(extension));
    }

    fn store_payload(&self, key: &[u8], bytes: &[u8], kind: u8, extension: Option<Extension>) {
        let key = self.hashing.key(key);
        let payload = Payload {
            bytes,
            kind,
            expires_at: NEVER,
            extension,
            checksum: self.hashing.checksum(key.hash, bytes, kind)
                ^ self.hashing.extension_checksum(key.hash, extension),
        };
        let inserted = self.write(0, |writer| writer.insert(&key, &payload, Requirement::NONE));
        assert!(matches!(inserted, Ok(Ok(true))));
    }

    fn insert(&self, key: &[u8], version: u8) {
        self.store(key, &[version; LEN], 0);
    }

    fn remove(&self, key: &[u8]) {
        let key = self.hashing.key(key);
        assert!(
            self.write(0, |writer| writer.remove(&key, Requirement::NONE))
                .unwrap()
        );
    }

    /// Reads a value, in one attempt.
    fn get(&self, key: &[u8]) -> Seen {
        let (key, shard) = (self.hashing.key(key), self.shard());
        let entry = match shard.find(&key) {
            Lookup::Found(entry) => entry,
            Lookup::Missing => return Seen::Missing,
            Lookup::Interrupted => return Seen::Interrupted,
            Lookup::Damaged => panic!("a lookup does not verify checksums"),
        };
        let mut buffer = vec![MaybeUninit::new(0); entry.record.value];
        match shard.read_value(&key, &entry, &mut buffer, shard.extension(&entry)) {
            Lookup::Found(_) => {
                // SAFETY: all bytes were initialised with 0.
                #[allow(unsafe_code)]
                let bytes: Vec<u8> = buffer.iter().map(|byte| unsafe { byte.assume_init() }).collect();
                assert!(bytes.len() >= LEN && bytes.iter().all(|byte| *byte == bytes[0]));
                shard.count_hit(&entry);
                Seen::Version(bytes[0])
            }
            Lookup::Interrupted => Seen::Interrupted,
            Lookup::Missing => Seen::Missing,
            Lookup::Damaged => panic!("a validated value does not match its checksum"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Version(u8),
    Missing,
    Interrupted,
}

/// Tries all orders of a writer and a reader of the key A in which a thread is interrupted at most `interruptions` times.
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
                assert!(seen == Seen::Interrupted || may_see.contains(&seen), "{seen:?}");
            })
        };
        write(&heap);
        reader.join().unwrap();
    });
}

const ROOMY: (usize, usize) = (RECORD * 8, RECORD * 8);

#[test]
fn a_new_value_is_read_whole_or_missed() {
    let may_see = &[Seen::Missing, Seen::Version(1)];
    model(4, ROOMY, |_| (), |heap| heap.insert(b"A", 1), may_see);
}

#[test]
fn a_value_overwritten_in_place_is_read_as_old_or_new() {
    let may_see = &[Seen::Version(1), Seen::Version(2)];
    model(
        3,
        ROOMY,
        |heap| heap.insert(b"A", 1),
        |heap| heap.insert(b"A", 2),
        may_see,
    );
}

#[test]
fn a_removed_and_reinserted_entry_is_never_another_keys() {
    model(
        3,
        ROOMY,
        |heap| heap.insert(b"A", 1),
        |heap| {
            heap.remove(b"A");
            heap.insert(b"B", 9);
            heap.insert(b"A", 2);
        },
        &[Seen::Version(1), Seen::Version(2), Seen::Missing],
    );
}

/// Main holds two records, which go there directly: they are too large for small.
const NARROW: (usize, usize) = (RECORD * 2, RECORD * 2);

#[test]
fn a_record_that_replaces_another_is_not_read_as_that() {
    model(
        3,
        NARROW,
        |heap| heap.insert(b"A", 1),
        |heap| {
            heap.insert(b"B", 8);
            // Takes the place of A.
            heap.insert(b"C", 9);
        },
        &[Seen::Version(1), Seen::Missing],
    );
}

#[test]
fn a_record_in_free_space_is_not_read_as_the_previous_one() {
    model(
        3,
        (RECORD * 3, RECORD * 3),
        |heap| {
            heap.insert(b"Z", 7);
            heap.insert(b"A", 1);
            // Raise the frequency to its maximum: loom lets the compare-and-swap of a hit succeed on a slot that has been
            // replaced, which no machine does.
            assert!([(); 3].iter().all(|()| heap.get(b"A") == Seen::Version(1)));
        },
        |heap| {
            heap.remove(b"A");
            let head = heap.shard().main.head();
            // Takes the place of A.
            heap.insert(b"B", 9);
            assert_eq!(heap.shard().main.head(), head);
        },
        &[Seen::Version(1), Seen::Missing],
    );
}

#[test]
fn an_entry_that_moves_is_found_although_its_space_is_used_again() {
    model(
        3,
        (RECORD * 3, RECORD * 8),
        |heap| {
            heap.insert(b"Z", 7);
            heap.insert(b"A", 1);
            assert!([(); 3].iter().all(|()| heap.get(b"A") == Seen::Version(1)));
        },
        |heap| {
            // Too large for the record of A.
            heap.store(b"A", &[2; LEN * 3], 0);
            let head = heap.shard().main.head();
            heap.insert(b"B", 9);
            assert_eq!(heap.shard().main.head(), head);
        },
        &[Seen::Version(1), Seen::Version(2)],
    );
}

#[test]
fn a_record_that_moves_from_small_to_main_is_always_found() {
    model(
        3,
        (RECORD * 4, RECORD * 4),
        |heap| {
            heap.insert(b"A", 1);
            heap.insert(b"B", 2);
            heap.insert(b"C", 3);
            heap.insert(b"D", 4);
        },
        |heap| heap.insert(b"E", 5),
        &[Seen::Version(1)],
    );
}

#[test]
fn a_record_that_is_copied_over_itself_is_found_or_interrupted() {
    model(
        3,
        // Three words are free when A is moved from main's tail to its head.
        (RECORD * 2, RECORD * 2 + 3),
        |heap| {
            heap.insert(b"A", 1);
            heap.insert(b"B", 2);
            assert_eq!([heap.get(b"A"), heap.get(b"A")], [Seen::Version(1); 2]);
        },
        |heap| heap.insert(b"C", 3),
        &[Seen::Version(1)],
    );
}

#[test]
fn a_cleared_entry_is_not_read_as_another_keys() {
    model(
        3,
        NARROW,
        |heap| heap.insert(b"A", 1),
        |heap| {
            add(&heap.epoch, 1, Ordering::SeqCst);
            heap.insert(b"B", 9);
            heap.insert(b"A", 2);
        },
        &[Seen::Version(1), Seen::Version(2), Seen::Missing],
    );
}

#[test]
fn the_words_of_an_extension_are_read_together() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 100_000;
    builder.check(|| {
        let heap = Heap::new(RECORD * 8, RECORD * 8);
        heap.store_extended(b"A", Extension([1; EXTENSION]));
        let reader = {
            let heap = Arc::clone(&heap);
            thread::spawn(move || {
                let (found, extension) = heap.shard().find_extended(&heap.hashing.key(b"A"));
                match found {
                    Lookup::Found(_) => {
                        let Extension(words) = extension.unwrap();
                        assert!(words == [1; EXTENSION] || words == [2; EXTENSION], "{words:?}");
                    }
                    other => assert!(matches!(other, Lookup::Interrupted)),
                }
            })
        };
        // As a claim does.
        heap.write(0, |writer| {
            let found = writer.find_present(&heap.hashing.key(b"A"));
            let entry = found.live().unwrap();
            let ring = writer.shard.ring_of(entry.state).unwrap();
            ring.overwrite_extension(&entry.record, Extension([2; EXTENSION]));
        })
        .unwrap();
        reader.join().unwrap();
    });
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
            let counted = heap.write(slot, |writer| writer.incr(&key, 1, INTEGER));
            i64::from(matches!(counted, Ok(Incremented::Value(_))))
        };
        let other = {
            let heap = Arc::clone(&heap);
            thread::spawn(move || count_up(&heap, 1))
        };
        let successes = count_up(&heap, 2) + other.join().unwrap();
        let key = heap.hashing.key(b"A");
        let counted = heap.write(3, |writer| writer.incr(&key, 0, INTEGER)).unwrap();
        assert!(successes > 0);
        assert_eq!(counted, Incremented::Value(successes));
        assert_eq!(heap.control[LOCK].load(Ordering::Relaxed), 0);
    });
}
