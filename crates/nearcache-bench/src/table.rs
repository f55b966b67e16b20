//! The table of hit ratios: every trace at several sizes, every policy; and what it comes to.

use std::collections::HashSet;
use std::fmt::Write;

use crate::contender::{OURS, RIVALS, Setup, open};
use crate::opt;
use crate::trace::Trace;

/// The clairvoyant bound's name.
pub const OPT: &str = "opt";
/// What the others are measured against.
const BASE: &str = "lru";
/// Sizes in parts of a trace's distinct keys, and in entries.
const PARTS: [f64; 4] = [0.001, 0.01, 0.05, 0.1];
const ENTRIES: [u64; 2] = [300, 10_000];
/// A smaller cache than this is no cache.
const MIN_ENTRIES: u64 = 50;

/// The share of requests that hit, from 0 to 1; `None` if there is no policy of that name.
///
/// A request is a get and, on a miss, an insert of weight 1. One shard, no expiry; the cold start counts.
#[must_use]
#[allow(clippy::cast_precision_loss)] // a ratio is shown to a few digits
pub fn hit_ratio(policy: &str, keys: &[u64], capacity: u64) -> Option<f64> {
    let hits = if policy == OPT {
        opt::hits(keys, usize::try_from(capacity).unwrap_or(usize::MAX))
    } else {
        let cache = open(policy, capacity, Setup::Strict)?;
        let mut hits = 0;
        for &key in keys {
            if cache.get(key) {
                hits += 1;
            } else {
                cache.insert(key);
            }
        }
        hits
    };
    Some(hits as f64 / keys.len() as f64)
}

/// All columns: the bound, ours, the rivals.
#[must_use]
pub fn policies() -> Vec<&'static str> {
    [OPT].into_iter().chain(OURS).chain(RIVALS).collect()
}

/// How many distinct keys a trace has.
#[must_use]
pub fn footprint(trace: &Trace) -> u64 {
    trace.keys.iter().collect::<HashSet<_>>().len() as u64
}

/// The sizes at which a trace is measured: parts of its footprint, and fixed ones that are smaller than that.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // parts of a count
pub fn sizes(trace: &Trace) -> Vec<u64> {
    let footprint = footprint(trace);
    let parts = PARTS.map(|part| ((footprint as f64 * part).round() as u64).max(MIN_ENTRIES));
    let fixed = ENTRIES.into_iter().filter(|&entries| entries < footprint);
    let mut sizes: Vec<_> = parts.into_iter().chain(fixed).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// One row: a trace at a size, with a hit ratio for each of [`policies`].
#[derive(Clone, Debug)]
pub struct Row {
    /// The trace's name.
    pub trace: String,
    /// The cache's capacity.
    pub entries: u64,
    /// From 0 to 1, in the order of [`policies`].
    pub ratios: Vec<f64>,
}

/// What a column comes to over all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Hits as a part of OPT's, in %: mean over a trace's sizes, then over the traces.
    pub of_opt: f64,
    /// Misses saved against LRU, in %: likewise.
    pub saved: f64,
    /// How many % more misses than LRU there are in the worst row.
    pub worst: f64,
    /// Which row that is.
    pub worst_row: String,
}

/// Sums up a column.
#[must_use]
pub fn aggregate(rows: &[Row], column: usize) -> Aggregate {
    let columns = policies();
    let at = |name| columns.iter().position(|&column| column == name).unwrap_or(0);
    let (opt, lru) = (at(OPT), at(BASE));
    let more_misses = |row: &Row| 100.0 * ((1.0 - row.ratios[column]) / (1.0 - row.ratios[lru]) - 1.0);
    let worst = rows
        .iter()
        .max_by(|a, b| more_misses(a).total_cmp(&more_misses(b)));
    Aggregate {
        of_opt: mean_of_means(rows, |row| 100.0 * row.ratios[column] / row.ratios[opt]),
        saved: mean_of_means(rows, |row| -more_misses(row)),
        worst: worst.map_or(0.0, more_misses),
        worst_row: worst.map_or_else(String::new, |row| format!("{} @ {}", row.trace, row.entries)),
    }
}

#[allow(clippy::cast_precision_loss)] // a few dozen rows
fn mean_of_means(rows: &[Row], of: impl Fn(&Row) -> f64) -> f64 {
    let traces: HashSet<_> = rows.iter().map(|row| &row.trace).collect();
    let mean = |trace: &String| {
        let values: Vec<_> = rows.iter().filter(|row| row.trace == *trace).map(&of).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    traces.iter().map(|trace| mean(trace)).sum::<f64>() / traces.len() as f64
}

/// The rows and what they come to, in Markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let names = policies();
    let mut text = format!(
        "| trace | entries | {} |\n|---|---:|{}\n",
        names.join(" | "),
        "---:|".repeat(names.len())
    );
    for row in rows {
        let cells: Vec<_> = row
            .ratios
            .iter()
            .map(|ratio| format!("{:.1}", 100.0 * ratio))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            row.trace,
            row.entries,
            cells.join(" | ")
        );
    }
    text.push_str("\n| policy | hits as % of OPT's | misses saved against LRU, % | worst cell: misses against LRU, % |\n");
    text.push_str("|---|---:|---:|---|\n");
    for (column, name) in names.iter().enumerate().skip(1) {
        let Aggregate {
            of_opt,
            saved,
            worst,
            worst_row,
        } = aggregate(rows, column);
        let _ = writeln!(
            text,
            "| {name} | {of_opt:.1} | {saved:+.1} | {worst:+.1} ({worst_row}) |"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(trace: &str, lru: f64, other: f64) -> Row {
        let ratios = policies().into_iter().map(|name| match name {
            OPT => 0.8,
            BASE => lru,
            _ => other,
        });
        Row {
            trace: trace.into(),
            entries: 1,
            ratios: ratios.collect(),
        }
    }

    #[test]
    fn averages_over_sizes_then_over_traces() {
        let rows = [row("a", 0.5, 0.4), row("a", 0.5, 0.8), row("b", 0.2, 0.6)];
        let aggregate = aggregate(&rows, 1);
        assert!((aggregate.of_opt - f64::midpoint(75.0, 75.0)).abs() < 1e-9);
        assert!((aggregate.saved - f64::midpoint(20.0, 50.0)).abs() < 1e-9);
        assert!((aggregate.worst - 20.0).abs() < 1e-9);
        assert_eq!(aggregate.worst_row, "a @ 1");
    }

    #[test]
    fn sizes_are_parts_of_the_footprint_and_not_larger() {
        let trace = |keys: u64| Trace {
            name: "t".into(),
            keys: (0..keys).collect(),
        };
        assert_eq!(sizes(&trace(86_470)), [86, 300, 865, 4324, 8647, 10_000]);
        assert_eq!(sizes(&trace(1_011)), [50, 51, 101, 300]);
    }

    #[test]
    fn every_policy_has_a_hit_ratio() {
        let keys = [1, 1, 2, 1];
        for policy in policies() {
            assert_eq!(hit_ratio(policy, &keys, 10), Some(0.5), "{policy}");
        }
        assert_eq!(hit_ratio("none", &keys, 10), None);
    }
}
