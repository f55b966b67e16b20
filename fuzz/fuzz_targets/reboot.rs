//! Opens an arbitrary file as one of an earlier boot, then runs operations. There must be no crash, no endless loop and no
//! wrong value; values that were written since are found or evicted, and no older ones come back; all checks of the file
//! succeed.
#![no_main]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use nearcache::shared::SharedCache;
use nearcache_fuzz::{Image, Input, Known, run};

const MOST_STEPS: usize = 48;
const MOST_ENTRIES: u8 = 48;
const MOST_CHANGES: u8 = 8;
/// No input takes nearly as long, unless there is an endless loop.
const AT_MOST: Duration = Duration::from_secs(10);

fn path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| format!("/dev/shm/nearcache-fuzz-reboot-{}", std::process::id()))
}

/// Returns the contents of a file of this boot.
fn of_this_boot() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        drop(SharedCache::open(path(), 1 << 20).unwrap());
        let file = fs::read(path()).unwrap();
        fs::remove_file(path()).unwrap();
        file
    })
}

fuzz_target!(|input: &[u8]| {
    let this_boot = of_this_boot();
    let start = Instant::now();
    let mut input = Input::new(input);
    let mode = input.byte();
    let mut image = Image::new(&mut input);
    image.set_controls(&mut input);
    for _ in 0..input.byte() % MOST_ENTRIES {
        image.add_entry(&mut input);
    }
    for _ in 0..input.byte() % MOST_CHANGES {
        image.change(&mut input);
    }
    if mode.is_multiple_of(32) {
        image.describe_falsely(&mut input);
    }
    // As a malicious program could make the file, in this boot.
    let is_of_this_boot = mode % 8 == 1;
    if is_of_this_boot {
        image.set_boot(this_boot);
        image.unlock();
    }
    fs::remove_file(path()).ok();
    let new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path());
    image.write_changed(&new.unwrap());
    let builder = SharedCache::builder(path()).lock_timeout(Duration::from_millis(100));
    let opened = if mode.is_multiple_of(2) {
        builder.bytes(image.bytes()).open()
    } else {
        builder.open()
    };
    fs::remove_file(path()).ok();
    if let Ok(cache) = opened {
        let mut known = if is_of_this_boot {
            Known::nothing()
        } else {
            Known::from_now_on()
        };
        known.is_sound &= !image.has_overlaps();
        run(&mut input, &cache, MOST_STEPS, known);
    }
    assert!(start.elapsed() < AT_MOST, "{:?}", start.elapsed());
});
