//! Operations of a `SharedCache` without memory: each allocation of each operation is made to fail in turn.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

#[path = "support/failing.rs"]
mod failing;
mod support;

use std::convert::Infallible;
use std::time::Duration;

use failing::{Failing, Fails, for_every_allocation, with_failures, without_failures};
use nearcache::OutOfMemory;
use nearcache::shared::{
    Claim, ClaimRequest, Incremented, NewEntry, SharedCache, SharedError, UpdateError, ValidateError,
};
use support::Scratch;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

const LARGE: usize = 3000;
const OTHERS: u64 = 300;

/// The outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    OutOfMemory,
}

impl<T> From<Result<T, SharedError>> for Outcome {
    fn from(result: Result<T, SharedError>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(SharedError::OutOfMemory(OutOfMemory)) => Self::OutOfMemory,
            Err(other) => without_failures(|| panic!("{other}")),
        }
    }
}

impl<T> From<Result<T, UpdateError<Infallible>>> for Outcome {
    fn from(result: Result<T, UpdateError<Infallible>>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(UpdateError::Cache(error)) => Err::<(), _>(error).into(),
            Err(other) => without_failures(|| panic!("{other}")),
        }
    }
}

fn opened(scratch: &Scratch) -> SharedCache {
    let cache = SharedCache::open(scratch.path(), 1 << 20).unwrap();
    cache.insert(b"key", &[1; LARGE], None).unwrap();
    cache.insert(b"count", &5_i64.to_ne_bytes(), None).unwrap();
    for number in 0..OTHERS {
        cache
            .insert(&number.to_ne_bytes(), &[number.to_ne_bytes()[0]; 16], None)
            .unwrap();
    }
    cache
}

type Operation = fn(&SharedCache) -> Outcome;

/// All operations.
const OPERATIONS: [(&str, Operation); 18] = [
    ("insert", |cache| cache.insert(b"new", &[2; LARGE], None).into()),
    ("replace", |cache| cache.insert(b"key", &[1; LARGE], None).into()),
    ("insert_if_absent", |cache| {
        cache.insert_if_absent(b"new", b"value", None).into()
    }),
    ("set_if_present", |cache| {
        cache.insert_if_present(b"key", &[1; LARGE], None).into()
    }),
    ("get_into", |cache| {
        let mut value = Vec::new();
        cache
            .get_into(b"key", &mut value)
            .map_err(SharedError::from)
            .into()
    }),
    ("peek_into", |cache| {
        let mut value = Vec::new();
        cache
            .peek_into(b"key", &mut value)
            .map_err(SharedError::from)
            .into()
    }),
    ("get", |cache| match cache.get(b"key") {
        Some(value) => {
            assert_eq!(value, [1; LARGE]);
            Outcome::Done
        }
        None => Outcome::OutOfMemory,
    }),
    ("update", |cache| {
        let updated = cache.update(b"key", |kind, old| {
            without_failures(|| Ok::<_, Infallible>((kind, old.to_vec())))
        });
        if let Ok(updated) = updated {
            assert!(updated, "a failure must not look like a missing entry");
        }
        updated.into()
    }),
    ("remove_if", |cache| {
        cache.remove_if(b"key", |_, value| value.is_empty()).into()
    }),
    ("incr", |cache| {
        let counted = cache.incr(b"count", 0, 0);
        assert!(matches!(counted, Ok(Incremented::Value(5))));
        counted.into()
    }),
    ("claim and complete", |cache| {
        let claim = cache.claim(b"new", ClaimRequest::new(1));
        assert!(matches!(claim, Ok(Claim::Leader)));
        let stored = cache.complete(b"new", 1, NewEntry::new(&[2; LARGE]));
        assert!(matches!(stored, Ok(true)));
        without_failures(|| cache.remove(b"new")).into()
    }),
    ("refresh", |cache| {
        let claim = cache.claim(b"key", ClaimRequest::new(2).refresh());
        if let Ok(claim) = claim {
            assert_eq!(claim, Claim::Leader);
            without_failures(|| cache.insert(b"key", &[1; LARGE], None).unwrap());
        }
        claim.into()
    }),
    ("get_or_insert_with", |cache| {
        let value = without_failures(|| vec![2; LARGE]);
        let computed = cache.get_or_insert_with(b"computed", None, || value);
        without_failures(|| cache.remove(b"computed").unwrap());
        computed.into()
    }),
    ("touch", |cache| {
        cache.touch(b"key", Some(Duration::from_secs(60))).into()
    }),
    ("remove", |cache| cache.remove(b"not there").into()),
    ("stats", |cache| {
        let _ = (cache.stats(), cache.peek(b"key"), cache.expires_at(b"key"));
        Outcome::Done
    }),
    ("keys", |cache| {
        for key in cache.keys() {
            if key.is_err() {
                return Outcome::OutOfMemory;
            }
        }
        Outcome::Done
    }),
    ("validate", |cache| match cache.validate() {
        Ok(_) => Outcome::Done,
        Err(ValidateError::Cache(error)) => Err::<(), _>(error).into(),
        Err(broken) => without_failures(|| panic!("{broken}")),
    }),
];

#[test]
fn every_operation_succeeds_or_fails_cleanly() {
    for (name, operation) in OPERATIONS {
        let scratch = Scratch::new("out-of-memory");
        let cache = opened(&scratch);
        for_every_allocation(|plan| {
            let (outcome, failed) = with_failures(plan, || operation(&cache));
            assert_eq!(outcome == Outcome::OutOfMemory, failed, "{name}, {plan:?}");
            assert_eq!(
                cache.get(b"key").as_deref(),
                Some(&[1; LARGE][..]),
                "{name}, {plan:?}"
            );
            for number in 0..OTHERS {
                assert!(cache.contains(&number.to_ne_bytes()), "{name}, {plan:?}");
            }
            cache.insert(b"usable", b"yes", None).unwrap();
            cache.validate().unwrap();
            failed
        });
    }
}

#[test]
fn an_iteration_over_keys_continues_after_a_failure() {
    let scratch = Scratch::new("out-of-memory-keys");
    let cache = opened(&scratch);
    let mut keys = cache.keys();
    let (first, _) = with_failures(Fails::Only(1), || keys.next());
    assert_eq!(first, Some(Err(OutOfMemory)));
    assert_eq!(keys.map(Result::unwrap).count() as u64, OTHERS + 2);
}
