//! Availability after a death: how soon other writers go on when a process dies while it holds a lock.
//!
//! Whether the file is valid then is the subject of `crash.rs`.

use std::time::{Duration, Instant};

use super::failpoint::{die_before, live_on};
use super::support::{End, Scratch, spawn, value, wait};
use crate::shared::SharedCache;

/// A waiter asks whether the owner is alive after a sleep of 2 ms, then every 10 ms.
const SOON: Duration = Duration::from_millis(100);
/// A busy machine may delay a write. It does not do so this many times in a row.
const ATTEMPTS: u32 = 5;

fn insert(cache: &SharedCache, key: &[u8], len: usize) {
    cache.insert(key, &value(key, 1, len), None).unwrap();
}

/// Lets a child die before a store of `act`; returns how the child ended, and how long the next write took.
fn delay_after_death(store: u64, act: impl Fn(&SharedCache)) -> (End, Duration) {
    let scratch = Scratch::new();
    let survivor = scratch.open();
    insert(&survivor, b"key", 100);
    let child = spawn(|| {
        let cache = scratch.open();
        die_before(store);
        act(&cache);
        assert!(live_on());
    });
    let end = wait(child, 0);
    let start = Instant::now();
    insert(&survivor, b"after", 40);
    (end, start.elapsed())
}

/// Checks the delay after a death before each store of `act`.
fn writers_go_on_soon(act: impl Fn(&SharedCache)) {
    for store in 1.. {
        let mut attempts = (0..ATTEMPTS).map(|_| delay_after_death(store, &act));
        let Some((end, _)) = attempts.find(|(_, delay)| *delay < SOON) else {
            panic!("store {store}: the next write took more than {SOON:?}, {ATTEMPTS} times in a row");
        };
        if end == End::Exit(0) {
            assert!(store > 1, "nothing was stored");
            break;
        }
    }
}

#[test]
fn writers_go_on_soon_after_a_death_while_inserting() {
    writers_go_on_soon(|cache| insert(cache, b"new", 50));
}

#[test]
fn writers_go_on_soon_after_a_death_while_overwriting() {
    writers_go_on_soon(|cache| insert(cache, b"key", 90));
}

#[test]
fn writers_go_on_soon_after_a_death_while_removing() {
    writers_go_on_soon(|cache| assert!(cache.remove(b"key").unwrap()));
}
