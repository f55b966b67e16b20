//! Who may repair a file, and who must not: nobody is at work in it meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::support::{BYTES, Scratch, value, version};
use crate::clock::SystemClock;
use crate::shared::error::OpenError;
use crate::shared::layout::{BOOT, LOCK};
use crate::shared::position::Position;
use crate::shared::repair::UNKNOWN;
use crate::shared::{NewEntry, SharedCache};

fn open_in(scratch: &Scratch, boot: [u64; 2]) -> Result<SharedCache, OpenError> {
    SharedCache::builder(scratch.path()).bytes(BYTES).open_in(boot)
}

fn recorded(cache: &SharedCache) -> [u64; 2] {
    let words = cache.store().map.words();
    [0, 1].map(|half| words[BOOT + half].load(Ordering::Relaxed))
}

#[test]
fn a_map_in_use_is_not_repaired_whatever_its_boot() {
    let scratch = Scratch::new();
    let user = open_in(&scratch, [1, 1]).unwrap();
    user.set(b"key", NewEntry::new(b"value")).unwrap();
    user.reset_stats();
    let store = user.store();
    for boot in [UNKNOWN, [2, 2]] {
        let before = recorded(&user);
        let held = store
            .lock_for(store.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        let word = || store.shard(0).control[LOCK].load(Ordering::Relaxed);
        let owner = word();
        let other = open_in(&scratch, boot).unwrap();
        assert_eq!(word(), owner, "the lock was taken away");
        drop(held);
        let expected = if boot == UNKNOWN { before } else { boot };
        assert_eq!(recorded(&other), expected);
        other.set(b"key", NewEntry::new(b"value")).unwrap();
        assert_eq!(user.stats().recoveries, 0);
    }
}

#[test]
fn a_map_that_nobody_uses_is_repaired_though_the_boot_is_unknown() {
    for boot in [UNKNOWN, [2, 2]] {
        let scratch = Scratch::new();
        let user = open_in(&scratch, [1, 1]).unwrap();
        user.set(b"key", NewEntry::new(b"value")).unwrap();
        let shard = user.store().shard(0);
        let in_small = shard.small.live() > 0;
        let without_it = if in_small { shard.main } else { shard.small };
        without_it.move_head(Position::from_u64(u64::MAX / 2));
        drop(user);
        let other = open_in(&scratch, boot).unwrap();
        assert_eq!(recorded(&other), boot);
        let shard = other.store().shard(0);
        let without_it = if in_small { shard.main } else { shard.small };
        assert_eq!(without_it.used(), 0);
        assert_eq!(other.get(b"key").as_deref(), Some(&b"value"[..]));
        other.validate().unwrap();
    }
}

#[test]
fn those_who_know_the_boot_and_those_who_do_not_come_and_go() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let visitors: Vec<_> = [UNKNOWN, UNKNOWN, [1, 1], [1, 1]]
            .into_iter()
            .enumerate()
            .map(|(number, boot)| {
                let (scratch, done) = (&scratch, &done);
                scope.spawn(move || {
                    let key = [b'0' + u8::try_from(number).unwrap()];
                    let mut round = 0;
                    while !done.load(Ordering::Relaxed) {
                        round += 1;
                        let cache = open_in(scratch, boot).unwrap();
                        cache.set(&key, NewEntry::new(&value(&key, round, 60))).unwrap();
                        assert_eq!(version(&key, &cache.get(&key).unwrap()), round);
                        assert_eq!((cache.stats().damages, cache.stats().timeouts), (0, 0));
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(800));
        done.store(true, Ordering::Relaxed);
        for visitor in visitors {
            visitor.join().unwrap();
        }
    });
    scratch.open().validate().unwrap();
}
