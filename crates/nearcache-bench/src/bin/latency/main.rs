//! How long single operations of the shared cache take while other processes write, beside the bare limits.
//!
//!     cargo run --release -p nearcache-bench --bin latency -- [--writers 4] [--bytes 2147483648] [--millis 1000]
//!         [--repeats 9] [--directory /dev/shm]
//!
//! Sets of 1,000 bytes by several processes, once with four times as many keys as fit into the file and once with a
//! quarter. Beside each, in turns: the same number of processes that copy as much into a mapped file under a textbook futex
//! mutex, one for each of 8 parts of the file; and without any lock. Each copy is accompanied by as many random accesses as
//! make it take as long as the cache's set when one process runs alone.
//!
//! Then gets of a value of a megabyte beside copies of as much, in turns by one process, while the others write.
//!
//! Figures are medians over the repeats, the maximum is that of all repeats. Needs three times the bytes in the directory.

#[cfg(target_os = "linux")]
mod histogram;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod worker;

use std::error::Error;
use std::path::PathBuf;

/// What the command line sets.
#[derive(Clone, Debug)]
struct Settings {
    writers: usize,
    bytes: u64,
    millis: u64,
    repeats: usize,
    directory: PathBuf,
    /// The run and number of a process under measurement; `None` in the one that starts them.
    worker: Option<(u32, u64)>,
}

impl Settings {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut settings = Self {
            writers: 4,
            bytes: 2 << 30,
            millis: 1000,
            repeats: 9,
            directory: PathBuf::from("/dev/shm"),
            worker: None,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match &name[..] {
                "--writers" => settings.writers = value.parse()?,
                "--bytes" => settings.bytes = value.parse()?,
                "--millis" => settings.millis = value.parse()?,
                "--repeats" => settings.repeats = value.parse()?,
                "--directory" => settings.directory = PathBuf::from(value),
                "--worker" => {
                    let (run, number) = value.split_once(':').ok_or("--worker needs RUN:NUMBER")?;
                    settings.worker = Some((run.parse()?, number.parse()?));
                }
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(settings)
    }
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse(std::env::args().skip(1))?;
    match settings.worker {
        Some((run, number)) => worker::Worker::open(&settings, run, number)?.serve(),
        None => run::run(&settings),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the shared cache needs Linux");
}
