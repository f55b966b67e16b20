//! Any words in the file, then every operation: misses at most. No crash, no endless loop, no wrong value.
#![no_main]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nearcache::Timestamp;
use nearcache::shared::{Builder, Item, SharedCache};

const BYTES: u64 = 1 << 20;
const WORD: usize = 8;
const INTEGER: u8 = 7;
const KEYS: u8 = 32;
const MOST_STEPS: usize = 48;
const MOST_CHANGES: u8 = 48;
/// The parts of a file of this size, in words: where each begins, and how much of it there is to change.
const BOOT: usize = 9;
const LOCK: usize = 512 + 64 * 32;
const INDEX: usize = LOCK + 64;
const SMALL: usize = INDEX + 6424;
const MAIN: usize = SMALL + 12_202;
const PARTS: [(usize, usize); 6] = [
    (0, 64),
    (512, 64 * 32),
    (LOCK, 64),
    (INDEX, 6424),
    (SMALL, 12_202),
    (MAIN, 60_000),
];

/// A file in use, and what it was when it was whole.
struct Ground {
    path: PathBuf,
    file: File,
    cache: SharedCache,
    whole: Vec<u8>,
}

fn builder(path: &PathBuf) -> Builder {
    SharedCache::builder(path).lock_timeout(Duration::from_millis(1))
}

fn key(number: u8) -> Vec<u8> {
    let number = number % KEYS;
    (0..=number * 3).map(|at| at ^ number).collect()
}

/// Every byte follows from the key and the value's own first.
fn value(key: &[u8], version: u8, len: usize) -> Vec<u8> {
    let start = key.len() as u8 ^ version;
    let rest = (1..len.max(1)).map(|at| start.wrapping_add((at % 251) as u8));
    std::iter::once(version).chain(rest).collect()
}

fn check(key: &[u8], found: &[u8]) {
    let integer = found.len() == 8 && i64::from_ne_bytes(found.try_into().unwrap()).unsigned_abs() < 1 << 40;
    let whole = || found == value(key, found[0], found.len());
    assert!(integer || !found.is_empty() && whole(), "a wrong value under {key:?}");
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let path = PathBuf::from(format!("/dev/shm/nearcache-fuzz-{}", std::process::id()));
        let cache = builder(&path).bytes(BYTES).open().unwrap();
        for round in 0..6 {
            for number in 0..KEYS {
                let key = key(number);
                let len = usize::from(number) * 40 + usize::from(number / 30) * 30_000;
                cache.set(&key, Item::new(&value(&key, round, len))).unwrap();
                let _ = cache.get(&key);
            }
        }
        cache.set(&key(3), Item::new(&5_i64.to_ne_bytes()).tagged(INTEGER)).unwrap();
        let whole = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // What is mapped stays; nothing is left behind when the fuzzer ends.
        fs::remove_file(&path).unwrap();
        Ground { path, file, cache, whole }
    })
}

/// Reads numbers off the input; zeros when it is at its end.
struct Input<'a>(std::slice::Iter<'a, u8>);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn word(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// Changes one word of the file.
    fn change(&mut self, image: &mut [u8]) {
        let what = self.byte();
        let (start, words) = PARTS[usize::from(what) % PARTS.len()];
        let at = (start + self.word(2) as usize % words) * WORD;
        let word: &mut [u8; WORD] = (&mut image[at..at + WORD]).try_into().unwrap();
        let now = u64::from_ne_bytes(*word);
        let changed = match what / 6 % 4 {
            0 => self.word(8),
            1 => now ^ 1 << (self.byte() % 64),
            2 => now.wrapping_add(self.word(2)),
            // Another word of the file, moved here.
            _ => {
                let (start, words) = PARTS[usize::from(self.byte()) % PARTS.len()];
                let from = (start + self.word(2) as usize % words) * WORD;
                u64::from_ne_bytes(image[from..from + WORD].try_into().unwrap())
            }
        };
        image[at..at + WORD].copy_from_slice(&changed.to_ne_bytes());
    }

    fn step(&mut self, cache: &SharedCache) {
        let what = self.byte();
        let key = key(self.byte());
        let len = match self.byte() {
            len @ 0..240 => usize::from(len) * 8,
            len => usize::from(len) * 400,
        };
        let new = value(&key, what, len);
        let item = Item::new(&new).until(cache.expiry((what & 64 > 0).then_some(Duration::from_mins(1))));
        // Whether it is done does not matter: what is found does.
        match what % 20 {
            0..4 => {
                if let Some(found) = cache.get(&key) {
                    check(&key, &found);
                }
            }
            4..8 => drop(cache.set(&key, item)),
            8 => drop(cache.add(&key, item)),
            9 => drop(cache.set_if_present(&key, item)),
            10 => {
                if let Some(found) = cache.peek(&key) {
                    let _ = cache.set_if_unchanged(&key, item, found.stamp);
                }
            }
            11 => {
                let _ = cache.update::<()>(&key, |tag, old| {
                    check(&key, old);
                    Ok((tag, new.clone()))
                });
            }
            12 => drop(cache.incr(&key, 1, INTEGER)),
            13 => drop(cache.delete(&key)),
            14 => drop(cache.remove_if(&key, |_, old| {
                check(&key, old);
                true
            })),
            15 => drop(cache.touch(&key, None)),
            16 => drop(cache.expire_at(&key, Timestamp::from_unix_micros(1 << 50))),
            17 => cache.clear(),
            18 => {
                let _ = (cache.stats(), cache.keys().count());
                cache.reset_stats();
            }
            _ => drop(cache.validate()),
        }
    }
}

/// The whole file with some words changed.
fn changed(input: &mut Input<'_>, ground: &Ground) -> Vec<u8> {
    let mut image = ground.whole.clone();
    for _ in 0..input.byte() % MOST_CHANGES {
        input.change(&mut image);
    }
    image
}

fn run(input: &mut Input<'_>, cache: &SharedCache, most: usize) {
    for _ in 0..most {
        if input.0.as_slice().is_empty() {
            break;
        }
        input.step(cache);
    }
    // Everything is as it should be after this, whatever was there.
    cache.clear();
    if cache.set(b"key", Item::new(b"value")).is_ok() {
        assert_eq!(cache.get(b"key").as_deref(), Some(&b"value"[..]));
    }
}

fuzz_target!(|input: &[u8]| {
    let ground = ground();
    let mut input = Input(input.iter());
    let mode = input.byte();
    let mut image = changed(&mut input, ground);
    if mode % 4 > 0 {
        // Changed while in use. Most often nobody is said to hold the lock: who waits for it wastes time.
        let is_held = mode > 250;
        if !is_held {
            image[LOCK * WORD..][..WORD].fill(0);
        }
        ground.file.write_all_at(&image, 0).unwrap();
        run(&mut input, &ground.cache, if is_held { 3 } else { MOST_STEPS });
    } else {
        // Found so after a reboot.
        if mode >= 128 {
            image[BOOT * WORD..][..WORD].fill(1);
        }
        let path = ground.path.with_extension("found");
        fs::remove_file(&path).ok();
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        new.unwrap().write_all_at(&image, 0).unwrap();
        let opened = builder(&path).open();
        fs::remove_file(&path).unwrap();
        if let Ok(cache) = opened {
            run(&mut input, &cache, MOST_STEPS);
        }
    }
});
