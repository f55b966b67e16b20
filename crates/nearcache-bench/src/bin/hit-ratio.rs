//! Replays request traces through caches and prints hit ratios: one policy at one size, or the whole table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use nearcache_bench::table::{Row, hit_ratio, markdown, policies, sizes};
use nearcache_bench::trace::Trace;

const USAGE: &str =
    "usage: hit-ratio [--policy NAME] --capacity N TRACE.u64.zst...\n       hit-ratio --all DIRECTORY";
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
}

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

fn all(directory: &Path) -> Result<(), String> {
    let listing =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".u64.zst"));
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: there is no *.u64.zst in it", directory.display()));
    }
    let mut rows = Vec::new();
    for path in paths {
        let trace = Trace::read(&path).map_err(|error| error.to_string())?;
        for entries in sizes(&trace) {
            eprintln!("{} @ {entries} ...", trace.name);
            rows.push(row(&trace, entries));
        }
    }
    print!("{}", markdown(&rows));
    Ok(())
}

/// Every policy at one size; as many at a time as there are cores.
fn row(trace: &Trace, entries: u64) -> Row {
    let policies = policies();
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
    Row {
        trace: trace.name.clone(),
        entries,
        ratios,
    }
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
