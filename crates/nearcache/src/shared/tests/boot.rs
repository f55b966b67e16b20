//! Adoption of a file happens only while no process uses it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::support::{BYTES, Scratch, value, version};
use crate::clock::SystemClock;
use crate::shared::SharedCache;
use crate::shared::adoption::UNKNOWN;
use crate::shared::error::OpenError;
use crate::shared::layout::{BOOT, LOCK};
use crate::shared::position::Position;

fn open_in(scratch: &Scratch, boot: [u64; 2]) -> Result<SharedCache, OpenError> {
    SharedCache::builder(scratch.path()).bytes(BYTES).open_in(boot)
}

fn recorded(cache: &SharedCache) -> [u64; 2] {
    let words = cache.file().mapping.words();
    [0, 1].map(|half| words[BOOT + half].load(Ordering::Relaxed))
}

#[test]
fn a_file_in_use_is_not_adopted_whatever_its_boot() {
    let scratch = Scratch::new();
    let user = open_in(&scratch, [1, 1]).unwrap();
    user.insert(b"key", b"value", None).unwrap();
    user.reset_stats();
    let file = user.file();
    for boot in [UNKNOWN, [2, 2]] {
        let before = recorded(&user);
        let writer = file
            .lock_for(file.shard(0), &SystemClock, Duration::from_secs(1))
            .unwrap();
        let word = || file.shard(0).control[LOCK].load(Ordering::Relaxed);
        let owner = word();
        let other = open_in(&scratch, boot).unwrap();
        assert_eq!(word(), owner, "the lock was reset");
        drop(writer);
        let expected = if boot == UNKNOWN { before } else { boot };
        assert_eq!(recorded(&other), expected);
        other.insert(b"key", b"value", None).unwrap();
        assert_eq!(user.stats().recoveries, 0);
    }
}

#[test]
fn an_unused_file_is_adopted_although_the_boot_is_unknown() {
    for boot in [UNKNOWN, [2, 2]] {
        let scratch = Scratch::new();
        let user = open_in(&scratch, [1, 1]).unwrap();
        user.insert(b"key", b"value", None).unwrap();
        let shard = user.file().shard(0);
        let in_small = shard.small.live() > 0;
        let empty = if in_small { shard.main } else { shard.small };
        empty.move_head(Position::from_u64(u64::MAX / 2));
        drop(user);
        let other = open_in(&scratch, boot).unwrap();
        assert_eq!(recorded(&other), boot);
        let shard = other.file().shard(0);
        let empty = if in_small { shard.main } else { shard.small };
        assert_eq!(empty.used(), 0);
        assert_eq!(other.get(b"key").as_deref(), Some(&b"value"[..]));
        other.validate().unwrap();
    }
}

#[test]
fn processes_with_and_without_a_known_boot_can_share_a_file() {
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
                        cache.insert(&key, &value(&key, round, 60), None).unwrap();
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
