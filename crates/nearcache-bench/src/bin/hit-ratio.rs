//! Replays request traces through caches and prints hit ratios: one policy at one size, or the whole table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use nearcache_bench::plot::{Line, Panel, STYLES, svg};
#[cfg(target_os = "linux")]
use nearcache_bench::shared::replay;
use nearcache_bench::table::{Row, footprint, hit_ratio, markdown, policies, sizes};
use nearcache_bench::trace::Trace;

const USAGE: &str = "usage: hit-ratio [--policy NAME] --capacity N TRACE.u64.zst...\n       hit-ratio --all DIRECTORY\n       hit-ratio --shared DIRECTORY\n       hit-ratio --plot DIRECTORY > hit-ratios.svg";
const DEFAULT: &str = "adaptive";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Task {
    Help,
    /// One policy at one size.
    One {
        policy: String,
        capacity: u64,
        traces: Vec<PathBuf>,
    },
    /// Every policy at several sizes, over all traces of a directory.
    All(PathBuf),
    /// The shared cache beside static S3-FIFO, over all traces of a directory.
    Shared(PathBuf),
    /// Hit ratio over size for all traces of a directory, as SVG.
    Plot(PathBuf),
}

/// How many sizes a line of the plot has, and how large the largest is: so many a part of all keys.
const PLOTTED_SIZES: u32 = 8;
const LARGEST: u64 = 5;
const SMALLEST: u64 = 50;

fn main() -> ExitCode {
    let task = match parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(wrong) => {
            eprintln!("hit-ratio: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match task {
        Task::Help => {
            println!("{USAGE}\npolicies: {}", policies().join(", "));
            Ok(())
        }
        Task::One {
            policy,
            capacity,
            traces,
        } => one(&policy, capacity, &traces),
        Task::All(directory) => all(&directory),
        Task::Shared(directory) => shared(&directory),
        Task::Plot(directory) => plot(&directory),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("hit-ratio: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn one(policy: &str, capacity: u64, traces: &[PathBuf]) -> Result<(), String> {
    for path in traces {
        let trace = Trace::read(path).map_err(|error| error.to_string())?;
        let ratio = hit_ratio(policy, &trace.keys, capacity).unwrap_or_default();
        println!("{} {capacity} hit_ratio={ratio:.4}", trace.name);
    }
    Ok(())
}

/// The traces of a directory.
fn traces(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let listing =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".u64.zst"));
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: there is no *.u64.zst in it", directory.display()));
    }
    Ok(paths)
}

fn all(directory: &Path) -> Result<(), String> {
    let mut rows = Vec::new();
    for path in traces(directory)? {
        let trace = Trace::read(&path).map_err(|error| error.to_string())?;
        for entries in sizes(&trace) {
            eprintln!("{} @ {entries} ...", trace.name);
            let ratios = ratios(&trace, entries, &policies());
            rows.push(Row {
                trace: trace.name.clone(),
                entries,
                ratios,
            });
        }
    }
    print!("{}", markdown(&rows));
    Ok(())
}

#[cfg(target_os = "linux")]
fn shared(directory: &Path) -> Result<(), String> {
    let file = PathBuf::from(format!("/dev/shm/nearcache-hit-ratio-{}", std::process::id()));
    println!("| trace | entries | static S3-FIFO | shared | points | moved per written |");
    println!("|---|---:|---:|---:|---:|---:|");
    for path in traces(directory)? {
        let trace = Trace::read(&path).map_err(|error| error.to_string())?;
        for entries in sizes(&trace) {
            let found = replay(&file, &trace.keys, entries).map_err(|error| error.to_string())?;
            let points = (found.shared - found.s3_fifo) * 100.0;
            println!(
                "| {} | {entries} | {:.4} | {:.4} | {points:+.1} | {:.2} |",
                trace.name, found.s3_fifo, found.shared, found.moved
            );
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn shared(_: &Path) -> Result<(), String> {
    Err("there are shared caches on Linux only".into())
}

fn plot(directory: &Path) -> Result<(), String> {
    let names = STYLES.map(|(policy, ..)| policy);
    let mut panels = Vec::new();
    for path in traces(directory)? {
        let trace = Trace::read(&path).map_err(|error| error.to_string())?;
        let sizes = plotted_sizes(footprint(&trace));
        let mut lines = names.map(|policy| Line {
            policy,
            ratios: Vec::new(),
        });
        for &entries in &sizes {
            eprintln!("{} @ {entries} ...", trace.name);
            let found = ratios(&trace, entries, &names);
            lines
                .iter_mut()
                .zip(found)
                .for_each(|(line, ratio)| line.ratios.push(ratio));
        }
        panels.push(Panel {
            title: trace.name,
            sizes,
            lines: lines.to_vec(),
        });
    }
    print!("{}", svg(&panels));
    Ok(())
}

/// Sizes at equal distances of their logarithms.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // sizes of caches
fn plotted_sizes(footprint: u64) -> Vec<u64> {
    let (first, last) = (SMALLEST as f64, (footprint / LARGEST).max(SMALLEST * 2) as f64);
    let part = |step: u32| f64::from(step) / f64::from(PLOTTED_SIZES - 1);
    (0..PLOTTED_SIZES)
        .map(|step| (first * (last / first).powf(part(step))).round() as u64)
        .collect()
}

/// The hit ratio of each policy at one size; as many at a time as there are cores.
fn ratios(trace: &Trace, entries: u64, policies: &[&str]) -> Vec<f64> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = policies.len().div_ceil(workers);
    let mut ratios = vec![0.0; policies.len()];
    thread::scope(|scope| {
        for (names, places) in policies.chunks(share).zip(ratios.chunks_mut(share)) {
            scope.spawn(move || {
                for (name, place) in names.iter().zip(places) {
                    *place = hit_ratio(name, &trace.keys, entries).unwrap_or_default();
                }
            });
        }
    });
    ratios
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Task, String> {
    let (mut policy, mut capacity, mut traces) = (DEFAULT.to_owned(), None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(Task::Help),
            "--all" => {
                let directory = words.next().ok_or("--all needs a directory of traces")?;
                return Ok(Task::All(directory.into()));
            }
            "--shared" => {
                let directory = words.next().ok_or("--shared needs a directory of traces")?;
                return Ok(Task::Shared(directory.into()));
            }
            "--plot" => {
                let directory = words.next().ok_or("--plot needs a directory of traces")?;
                return Ok(Task::Plot(directory.into()));
            }
            "--policy" => policy = known(words.next().ok_or("--policy needs a name")?)?,
            "--capacity" => capacity = Some(entries(&words.next().ok_or("--capacity needs a number")?)?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            path => traces.push(PathBuf::from(path)),
        }
    }
    let capacity = capacity.ok_or("--capacity is missing")?;
    if traces.is_empty() {
        return Err("no trace is named".into());
    }
    Ok(Task::One {
        policy,
        capacity,
        traces,
    })
}

fn known(name: String) -> Result<String, String> {
    let names = policies();
    if names.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(format!("unknown policy {name:?}; there are {}", names.join(", ")))
}

fn entries(number: &str) -> Result<u64, String> {
    let parsed = number.parse().ok().filter(|&entries| entries > 0);
    parsed.ok_or_else(|| format!("capacity {number:?} is not a whole number of at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, complaint) in [
            ("--policy best --capacity 1 t", "unknown policy \"best\""),
            ("--capacity 0 t", "capacity \"0\""),
            ("--capacity many t", "capacity \"many\""),
            ("--capacity 5", "no trace"),
            ("t", "--capacity is missing"),
            ("--all", "--all needs"),
            ("--fast t", "unknown option --fast"),
        ] {
            let wrong = parsed(line).unwrap_err();
            assert!(wrong.contains(complaint), "{line}: {wrong}");
        }
        assert!(
            all(Path::new("/nowhere/at/all"))
                .unwrap_err()
                .contains("/nowhere")
        );
        assert_eq!(parsed("--all d"), Ok(Task::All("d".into())));
    }
}
