//! A process under measurement: carries out one command after the other, each for a given time.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nearcache::shared::SharedCache;

use crate::Settings;
use crate::histogram::Histogram;
use crate::memory::{MEGABYTE, Memory, Protection};

const VALUE: usize = 1000;
/// A record of such a value with its key and header.
const RECORD: u64 = 1000 + 24 + 32;
/// How often each writer overwrites the value of a megabyte.
const OVERWRITE_EVERY: Duration = Duration::from_millis(10);
const HOT: &[u8] = b"hot";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The files of one run.
pub(crate) struct Files {
    pub(crate) evicting: PathBuf,
    pub(crate) fitting: PathBuf,
    pub(crate) bare: PathBuf,
}

impl Files {
    pub(crate) fn of(settings: &Settings, run: u32) -> Self {
        let named = |what| settings.directory.join(format!("nearcache-latency-{run}-{what}"));
        Self {
            evicting: named("evicting"),
            fitting: named("fitting"),
            bare: named("bare"),
        }
    }

    /// Removes the files when the run is over.
    pub(crate) fn remove(&self) {
        for path in [&self.evicting, &self.fitting, &self.bare] {
            std::fs::remove_file(path).ok();
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

fn key(number: u64) -> [u8; 20] {
    let mut key = *b":1:page.000000000000";
    let mut left = number;
    for digit in key[8..].iter_mut().rev() {
        *digit = b'0' + (left % 10).to_le_bytes()[0];
        left /= 10;
    }
    key
}

/// What a process has open.
pub(crate) struct Worker {
    evicting: SharedCache,
    fitting: SharedCache,
    bare: Memory,
    /// How many keys there are that fit into the file.
    capacity: u64,
    value: Vec<u8>,
    random: Random,
}

impl Worker {
    pub(crate) fn open(settings: &Settings, run: u32, number: u64) -> Outcome<Self> {
        let files = Files::of(settings, run);
        let bare = open_bare(&files, settings.bytes)?;
        Ok(Self {
            evicting: SharedCache::open(&files.evicting, settings.bytes)?,
            fitting: SharedCache::open(&files.fitting, settings.bytes)?,
            bare: Memory::map(&bare, usize::try_from(settings.bytes)?)?,
            capacity: settings.bytes / RECORD,
            value: vec![7; VALUE],
            random: Random(number + 1),
        })
    }

    /// Writes to all pages of all files, since the first access of a process to a page takes a page fault.
    pub(crate) fn fill(&self) -> Outcome<()> {
        for number in 0..self.capacity * 2 {
            self.evicting.insert(&key(number), &self.value, None)?;
        }
        for number in 0..self.capacity / 4 {
            self.fitting.insert(&key(number), &self.value, None)?;
        }
        self.fitting.insert(HOT, &vec![7; MEGABYTE], None)?;
        self.bare.touch();
        Ok(())
    }

    /// Reads commands until there are no more, and answers each with histograms, one a line.
    pub(crate) fn serve(&mut self) -> Outcome<()> {
        for line in io::stdin().lock().lines() {
            let line = line?;
            let words: Vec<_> = line.split(' ').collect();
            let [what, touches, millis] = words[..] else {
                return Err(format!("not a command: {line}").into());
            };
            let time = Duration::from_millis(millis.parse()?);
            let answer = match what {
                "fill" => {
                    self.fill()?;
                    Vec::new()
                }
                "read" => self.read(time)?,
                "load" => self.load(time)?,
                _ => vec![self.write(what, touches.parse()?, time)?],
            };
            let mut to = io::stdout().lock();
            let lines: Vec<_> = answer.iter().map(Histogram::to_string).collect();
            writeln!(to, "{}", lines.join(";"))?;
            to.flush()?;
        }
        Ok(())
    }

    /// Writes a kilobyte under random keys.
    fn write(&mut self, what: &str, touches: u32, time: Duration) -> Outcome<Histogram> {
        let (evicting, fitting, value) = (&self.evicting, &self.fitting, &self.value);
        let (many, few, bare) = (self.capacity * 4, self.capacity / 4, &self.bare);
        let random = &mut self.random;
        match what {
            "evicting" => measure(time, random, |random| {
                Ok(evicting.insert(&key(random % many), value, None)?)
            }),
            "fitting" => measure(time, random, |random| {
                Ok(fitting.insert(&key(random % few), value, None)?)
            }),
            _ => {
                let protection = if what == "futex" {
                    Protection::Futex
                } else {
                    Protection::None
                };
                measure(time, random, |random| {
                    bare.write(random, value, touches, protection);
                    Ok(())
                })
            }
        }
    }

    /// Reads a value of a megabyte from the cache, and copies as much from the bare file, in turns.
    fn read(&mut self, time: Duration) -> Outcome<Vec<Histogram>> {
        let (fitting, bare) = (&self.fitting, &self.bare);
        let (mut read, mut copied) = (Histogram::default(), Histogram::default());
        let mut room = Vec::with_capacity(MEGABYTE);
        let start = Instant::now();
        while start.elapsed() < time {
            let before = Instant::now();
            if fitting.get_into(HOT, &mut room)?.is_none() {
                return Err("the hot value is gone, or a read of it timed out".into());
            }
            let between = Instant::now();
            bare.copy_megabyte(&mut room);
            read.record(nanos(between - before));
            copied.record(nanos(between.elapsed()));
        }
        Ok(vec![read, copied])
    }

    /// Writes a kilobyte under random keys, and now and then the value of a megabyte.
    fn load(&mut self, time: Duration) -> Outcome<Vec<Histogram>> {
        let hot = vec![7; MEGABYTE];
        let (mut small, mut large) = (Histogram::default(), Histogram::default());
        let start = Instant::now();
        let mut overwritten = start;
        let few = self.capacity / 4;
        while start.elapsed() < time {
            let key = key(self.random.next() % few);
            let before = Instant::now();
            if before - overwritten < OVERWRITE_EVERY {
                self.fitting.insert(&key, &self.value, None)?;
                small.record(nanos(before.elapsed()));
            } else {
                overwritten = before;
                self.fitting.insert(HOT, &hot, None)?;
                large.record(nanos(before.elapsed()));
            }
        }
        Ok(vec![small, large])
    }
}

fn open_bare(files: &Files, bytes: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&files.bare)?;
    file.set_len(bytes)?;
    Ok(file)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs an operation for a time, with a random number each, and measures each run.
fn measure(
    time: Duration,
    random: &mut Random,
    mut run: impl FnMut(u64) -> Outcome<()>,
) -> Outcome<Histogram> {
    let mut histogram = Histogram::default();
    let start = Instant::now();
    loop {
        let random = random.next();
        let before = Instant::now();
        if before - start >= time {
            return Ok(histogram);
        }
        run(random)?;
        histogram.record(nanos(before.elapsed()));
    }
}
