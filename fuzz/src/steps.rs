//! Operations on a cache, and checks of their results.

use std::time::Duration;

use nearcache::Timestamp;
use nearcache::shared::{Incremented, NewEntry, SharedCache, SharedError, UpdateError};

use crate::input::Input;

/// The kind of integers.
pub const INTEGER: u8 = 7;
/// The number of keys.
pub const KEYS: u8 = 32;
/// Longer than the keys that a scrub keeps.
const LONG_KEY: usize = 2000;
const BURST: u8 = 64;

/// Returns a key. Two of the keys are long.
pub fn key(number: u8) -> Vec<u8> {
    let number = number % KEYS;
    let len = match number {
        30 => LONG_KEY,
        31 => LONG_KEY + 1,
        _ => usize::from(number) * 3 + 1,
    };
    (0..len).map(|at| at as u8 ^ number).collect()
}

/// Returns a value of which every byte follows from the key, the length and the first byte.
pub fn value(key: &[u8], version: u8, len: usize) -> Vec<u8> {
    let start = (key.len() as u64) << 8 | u64::from(version) | 1 << 40;
    let mut state = start.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let rest = (1..len.max(1)).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    std::iter::once(version).chain(rest).collect()
}

fn check(key: &[u8], found: &[u8]) {
    let integer = found.len() == 8 && i64::from_ne_bytes(found.try_into().unwrap()).unsigned_abs() < 1 << 40;
    let whole = || found == value(key, found[0], found.len());
    assert!(
        integer || !found.is_empty() && whole(),
        "a wrong value under {key:?}"
    );
}

/// What a read of one key may find.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Latest {
    /// Any value of the key: it was not written since the file was opened.
    Unknown,
    Absent,
    Is(Vec<u8>),
}

/// What reads may find, if only this process changes the file.
pub struct Known {
    keys: Option<Vec<Latest>>,
    /// Whether a check of the whole file must succeed.
    pub is_sound: bool,
}

impl Known {
    /// Nothing is known: words of the file are changed at random, and a read may find any value of the key.
    pub fn nothing() -> Self {
        Self {
            keys: None,
            is_sound: false,
        }
    }

    /// Everything that is written from now on is known.
    pub fn from_now_on() -> Self {
        Self {
            keys: Some(vec![Latest::Unknown; usize::from(KEYS)]),
            is_sound: true,
        }
    }

    fn is_exact(&self) -> bool {
        self.keys.is_some()
    }

    fn set(&mut self, number: u8, latest: Latest) {
        if let Some(all) = &mut self.keys {
            all[usize::from(number % KEYS)] = latest;
        }
    }

    fn set_all(&mut self, latest: &Latest) {
        if let Some(all) = &mut self.keys {
            all.fill(latest.clone());
        }
    }

    /// Checks what a read found. An entry that was evicted must not come back.
    fn found(&mut self, number: u8, found: Option<&[u8]>) {
        let key = key(number);
        if let Some(found) = found {
            check(&key, found);
        }
        let Some(all) = &mut self.keys else {
            return;
        };
        let latest = &mut all[usize::from(number % KEYS)];
        match (&*latest, found) {
            (Latest::Unknown, _) => {}
            (Latest::Is(written), Some(found)) => assert!(written == found, "an older value under {key:?}"),
            (Latest::Absent, Some(_)) => panic!("a value came back under {key:?}"),
            (_, None) => *latest = Latest::Absent,
        }
    }

    /// Checks whether an entry can have been present.
    fn was_there(&self, number: u8, there: bool) {
        if let Some(all) = &self.keys {
            assert!(
                !there || all[usize::from(number % KEYS)] != Latest::Absent,
                "an entry came back"
            );
        }
    }

    /// Records the result of a write.
    fn written(&mut self, number: u8, done: Result<bool, SharedError>, new: &[u8]) {
        match done {
            Ok(true) => self.set(number, Latest::Is(new.to_vec())),
            Ok(false) => {}
            Err(error) => self.failed(number, &error),
        }
    }

    fn failed(&mut self, number: u8, error: &SharedError) {
        match error {
            SharedError::Rejected(_) => self.set(number, Latest::Absent),
            error => assert!(!self.is_exact(), "{error}"),
        }
    }
}

/// Runs up to `most` operations that the input chooses, then clears the cache, after which it must work.
pub fn run(input: &mut Input<'_>, cache: &SharedCache, most: usize, mut known: Known) {
    for _ in 0..most {
        if input.is_at_end() {
            break;
        }
        step(input, cache, &mut known);
    }
    if known.is_exact() {
        validate(cache, &known);
        for number in 0..KEYS {
            known.found(number, cache.get(&key(number)).as_deref());
        }
    }
    cache.clear();
    let done = cache.insert(b"key", b"value", None);
    if done.is_ok() {
        assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    }
    if known.is_exact() {
        done.unwrap();
        known.is_sound = true;
        validate(cache, &known);
        assert_eq!((cache.keys().count(), cache.stats().counts.entries), (1, 1));
    }
}

fn validate(cache: &SharedCache, known: &Known) {
    match cache.validate() {
        Err(broken) if known.is_sound => panic!("{broken}"),
        _ => {}
    }
}

fn step(input: &mut Input<'_>, cache: &SharedCache, known: &mut Known) {
    let what = input.byte();
    let number = input.byte();
    let key = key(number);
    let len = match input.byte() {
        len @ 0..240 => usize::from(len) * 8,
        len => usize::from(len) * 400,
    };
    let new = value(&key, what, len);
    let ttl = (what & 64 > 0).then_some(Duration::from_mins(1));
    let entry = NewEntry::new(&new).expires_at(cache.expiry(ttl));
    match what % 23 {
        0..4 => known.found(number, cache.get(&key).as_deref()),
        4..8 => known.written(number, cache.insert_entry(&key, entry).map(|()| true), &new),
        8 => {
            let done = cache.insert_if_absent(&key, &new, ttl);
            known.was_there(number, matches!(done, Ok(false)));
            known.written(number, done, &new);
        }
        9 => {
            let done = cache.insert_if_present(&key, &new, ttl);
            known.was_there(number, matches!(done, Ok(true)));
            known.written(number, done, &new);
        }
        10 => {
            if let Some(found) = cache.peek(&key) {
                known.was_there(number, true);
                known.written(
                    number,
                    cache.insert_entry_if_unchanged(&key, entry, found.stamp),
                    &new,
                );
            }
        }
        11 => {
            let done = cache.update::<()>(&key, |kind, old| {
                known.found(number, Some(old));
                Ok((kind, new.clone()))
            });
            match done {
                Ok(done) => known.written(number, Ok(done), &new),
                Err(UpdateError::Cache(error)) => known.failed(number, &error),
                Err(error) => assert!(!known.is_exact(), "{error:?}"),
            }
        }
        12 => match cache.incr(&key, 1, INTEGER) {
            Ok(Incremented::Value(sum)) => {
                known.was_there(number, true);
                known.set(number, Latest::Is(sum.to_ne_bytes().to_vec()));
            }
            Ok(Incremented::Missing) => known.found(number, None),
            Ok(_) => known.was_there(number, true),
            Err(error) => known.failed(number, &error),
        },
        13 => match cache.remove(&key) {
            Ok(was_there) => {
                known.was_there(number, was_there);
                known.set(number, Latest::Absent);
            }
            Err(error) => known.failed(number, &error),
        },
        14 => {
            let done = cache.remove_if(&key, |_, old| {
                known.found(number, Some(old));
                true
            });
            match done {
                Ok(_) => known.set(number, Latest::Absent),
                Err(error) => known.failed(number, &error),
            }
        }
        15 => known.was_there(number, matches!(cache.touch(&key, None), Ok(true))),
        16 => {
            if let Ok(true) = cache.expire_at(&key, Timestamp::from_unix_micros(1 << 50)) {
                known.was_there(number, true);
                known.set(number, Latest::Absent);
            }
        }
        17 => {
            cache.clear();
            known.set_all(&Latest::Absent);
        }
        18 => {
            let _ = (cache.stats(), cache.keys().count());
            cache.reset_stats();
        }
        19 => validate(cache, known),
        20 => {
            let done = cache.insert_entry(&key, NewEntry::new(&5_i64.to_ne_bytes()).kind(INTEGER));
            known.written(number, done.map(|()| true), &5_i64.to_ne_bytes());
        }
        // Enough writes for rings and recounts to proceed.
        21 => {
            for more in 0..BURST {
                let key = self::key(number.wrapping_add(more));
                let new = value(&key, more, len);
                let done = cache.insert(&key, &new, None).map(|()| true);
                known.written(number.wrapping_add(more), done, &new);
            }
        }
        // Entries of other keys: some take slots, and some are evicted.
        _ => {
            for more in 0..BURST {
                let done = cache.insert(&[number, what, more], &new[..new.len().min(2000)], None);
                if let Err(error) = done {
                    known.failed(number, &error);
                }
            }
        }
    }
}
