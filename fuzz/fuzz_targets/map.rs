//! Changes arbitrary words of a file in use, then runs operations. That may cause misses, but no crash, no endless loop and
//! no wrong value.
#![no_main]

use std::fs::{self, File, OpenOptions};
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nearcache::shared::{NewEntry, SharedCache};
use nearcache_fuzz::{INTEGER, Image, Input, KEYS, Known, key, run, value};

const BYTES: u64 = 1 << 20;
const MOST_STEPS: usize = 48;
const MOST_CHANGES: u8 = 48;

/// A file in use, and its undamaged contents.
struct Ground {
    file: File,
    cache: SharedCache,
    intact: Vec<u8>,
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let path = format!("/dev/shm/nearcache-fuzz-{}", std::process::id());
        let builder = SharedCache::builder(&path).lock_timeout(Duration::from_millis(1));
        let cache = builder.bytes(BYTES).open().unwrap();
        for round in 0..6 {
            for number in 0..KEYS {
                let key = key(number);
                let len = usize::from(number) * 40 + usize::from(number / 30) * 30_000;
                cache.insert(&key, &value(&key, round, len), None).unwrap();
                let _ = cache.get(&key);
            }
        }
        cache
            .insert_entry(&key(3), NewEntry::new(&5_i64.to_ne_bytes()).kind(INTEGER))
            .unwrap();
        let intact = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // The mapping stays usable, and nothing is left behind when the fuzzer ends.
        fs::remove_file(&path).unwrap();
        Ground { file, cache, intact }
    })
}

fuzz_target!(|input: &[u8]| {
    let ground = ground();
    let mut input = Input::new(input);
    let mode = input.byte();
    let mut image = Image::of(&ground.intact);
    for _ in 0..input.byte() % MOST_CHANGES {
        image.change(&mut input);
    }
    // A lock is rarely held, because waiting for it takes time.
    let is_held = mode > 250;
    if !is_held {
        image.unlock();
    }
    image.write(&ground.file);
    let most = if is_held { 3 } else { MOST_STEPS };
    run(&mut input, &ground.cache, most, Known::nothing());
});
