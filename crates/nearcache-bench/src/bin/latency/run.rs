//! Starts the processes, has them take turns, and prints the tables.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Settings;
use crate::histogram::Histogram;
use crate::worker::{Files, Worker};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Of a million operations so many take longer.
const QUANTILES: [u64; 4] = [500_000, 10_000, 1_000, 100];
/// No search for a longer bare operation than this.
const MOST_TOUCHES: u32 = 100;

/// A process under measurement.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn start(settings: &Settings, run: u32, number: usize) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--worker", &format!("{run}:{number}")])
            .args(["--bytes", &settings.bytes.to_string()])
            .arg("--directory")
            .arg(&settings.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, to, from })
    }

    fn ask(&mut self, command: &str) -> Outcome<()> {
        writeln!(self.to, "{command}")?;
        Ok(self.to.flush()?)
    }

    fn answer(&mut self) -> Outcome<Vec<Histogram>> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let found = line.trim().split(';').filter(|text| !text.is_empty());
        found.map(str::parse).collect()
    }
}

struct Processes {
    all: Vec<Process>,
    millis: u64,
}

impl Processes {
    /// Has so many processes carry out a command at the same time.
    fn write(&mut self, what: &str, touches: u32, count: usize) -> Outcome<Histogram> {
        let mut sum = Histogram::default();
        for process in &mut self.all[..count] {
            process.ask(&format!("{what} {touches} {}", self.millis))?;
        }
        for process in &mut self.all[..count] {
            process.answer()?.iter().for_each(|found| sum.merge(found));
        }
        Ok(sum)
    }

    /// Has the first process read and copy while the others write; returns both histograms of the reader, then those of
    /// the writers.
    fn read(&mut self) -> Outcome<Vec<Histogram>> {
        let (reader, writers) = self.all.split_first_mut().ok_or("no processes")?;
        for process in &mut *writers {
            process.ask(&format!("load 0 {}", self.millis))?;
        }
        reader.ask(&format!("read 0 {}", self.millis))?;
        let mut found = reader.answer()?;
        found.resize_with(4, Histogram::default);
        for process in writers {
            let written = process.answer()?;
            found[2..]
                .iter_mut()
                .zip(&written)
                .for_each(|(sum, one)| sum.merge(one));
        }
        Ok(found)
    }

    /// How many random accesses make a bare write take as long as a set, if one process runs alone.
    fn touches_for(&mut self, set: &str) -> Outcome<u32> {
        let wanted = self.write(set, 0, 1)?.quantile(QUANTILES[0]);
        let mut found = 0;
        let mut touches = 0;
        while found < wanted && touches < MOST_TOUCHES {
            touches += 1;
            found = self.write("none", touches, 1)?.quantile(QUANTILES[0]);
        }
        println!(
            "{set}: alone, p50 of a set {}; of a bare write with {touches} random accesses {}",
            show(wanted),
            show(found)
        );
        Ok(touches)
    }
}

/// A line of a table: what was measured, and its histogram of each repeat.
struct Line {
    name: String,
    repeats: Vec<Histogram>,
}

impl Line {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            repeats: Vec::new(),
        }
    }

    fn quantile(&self, above: u64) -> u64 {
        let mut found: Vec<_> = self.repeats.iter().map(|one| one.quantile(above)).collect();
        found.sort_unstable();
        found[found.len() / 2]
    }

    fn print(&self) {
        let mut cells: Vec<_> = QUANTILES
            .iter()
            .map(|&above| show(self.quantile(above)))
            .collect();
        let max = self.repeats.iter().map(Histogram::max).max();
        cells.push(show(max.unwrap_or_default()));
        let len: u64 = self.repeats.iter().map(Histogram::len).sum();
        cells.push(len.to_string());
        println!("| {} | {} |", self.name, cells.join(" | "));
    }
}

#[allow(clippy::cast_precision_loss)] // shown to three digits
fn show(nanos: u64) -> String {
    let nanos = nanos as f64;
    let (number, unit) = match nanos {
        ..1e3 => (nanos, "ns"),
        1e3..1e6 => (nanos / 1e3, "µs"),
        _ => (nanos / 1e6, "ms"),
    };
    let digits = usize::from(number < 99.95) + usize::from(number < 9.995);
    format!("{number:.digits$} {unit}")
}

fn print(title: &str, lines: &[Line]) {
    println!("\n| {title} | p50 | p99 | p99.9 | p99.99 | max | operations |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    lines.iter().for_each(Line::print);
}

fn measure(settings: &Settings, run: u32) -> Outcome<()> {
    drop(Worker::open(settings, run, 0)?);
    let started = (0..settings.writers).map(|number| Process::start(settings, run, number));
    let mut processes = Processes {
        all: started.collect::<Outcome<_>>()?,
        millis: settings.millis,
    };
    let writers = settings.writers;
    processes.write("fill", 0, writers)?;
    let mut tables = Vec::new();
    for set in ["evicting", "fitting"] {
        let touches = processes.touches_for(set)?;
        let names = ["shared cache", "futex mutex", "no lock"];
        tables.push((set, touches, names.map(Line::new)));
    }
    let names = [
        "get of 1 MB",
        "bare copy of 1 MB",
        "meanwhile, set of 1,000 B",
        "set of 1 MB",
    ];
    let mut reads = names.map(Line::new);
    for _ in 0..settings.repeats {
        for (set, touches, lines) in &mut tables {
            for (line, what) in lines.iter_mut().zip([*set, "futex", "none"]) {
                line.repeats.push(processes.write(what, *touches, writers)?);
            }
        }
        let found = processes.read()?;
        reads
            .iter_mut()
            .zip(found)
            .for_each(|(line, found)| line.repeats.push(found));
    }
    for (set, _, lines) in &tables {
        print(&format!("set of 1,000 B, {writers} writers, {set}"), lines);
    }
    print(&format!("1 reader, {} writers", writers - 1), &reads);
    for mut process in processes.all {
        drop(process.to);
        process.child.wait()?;
    }
    Ok(())
}

/// Measures, and removes the files whatever comes of it.
pub(crate) fn run(settings: &Settings) -> Outcome<()> {
    let run = std::process::id();
    let outcome = measure(settings, run);
    Files::of(settings, run).remove();
    outcome
}
