//! The statistics of a store with a remote tier.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;

use super::near::{Copies, Near};
use super::tiered_store::{RemoteCounts, TieredStore};
use crate::context::CallContext;
use crate::objects::{Count, Float};
use crate::store::remote_stats::RemoteStats;
use crate::store::stats::Stats;

fn count(counter: &AtomicU64) -> Count {
    Count(counter.load(Relaxed))
}

impl TieredStore {
    pub(super) fn statistics(&self, context: &CallContext<'_, '_>) -> PyResult<Stats> {
        let stats = match self.near.as_ref().map(|near| &near.copies) {
            None => Stats::empty(),
            Some(Copies::Local(cache)) => Stats::of_local(*cache, &context.settings.capacity),
            #[cfg(shared)]
            Some(Copies::Shared(store)) => {
                let (stats, objects) = store.near_copy_stats();
                Stats::of_shared(&stats, &objects)
            }
        };
        let mut stats = stats.with_process_flights(self.flights.process);
        let remote = self.remote_stats();
        stats.set_reads(
            remote.near_hits.0 + remote.remote_hits.0 + remote.stale_hits.0,
            remote.remote_misses.0,
        );
        stats.set_writes(self.counts.sets.load(Relaxed), self.counts.deletes.load(Relaxed));
        stats.remote = Some(Py::new(context.py(), remote)?);
        Ok(stats)
    }

    fn remote_stats(&self) -> RemoteStats {
        let client = self.remote.counters();
        let stats = RemoteStats {
            remote_hits: count(&self.counts.hits),
            remote_misses: count(&self.counts.misses),
            ignored_errors: count(&self.counts.ignored_errors),
            requests: Count(client.requests),
            errors: Count(client.errors),
            reconnects: Count(client.reconnects),
            connections: Count(client.connections),
            breaker_trips: Count(client.breaker_trips),
            breaker_open: client.breaker_open,
            ..RemoteStats::default()
        };
        match &self.near {
            None => stats,
            Some(near) => RemoteStats {
                near_problem: near.problem(&self.remote.notes()),
                ..near.with_near_counts(stats)
            },
        }
    }

    pub(super) fn reset_counts(&self) {
        let RemoteCounts {
            hits,
            misses,
            sets,
            deletes,
            ignored_errors,
        } = &self.counts;
        for counter in [hits, misses, sets, deletes, ignored_errors] {
            counter.store(0, Relaxed);
        }
        self.flights.process.counts.reset();
        if let Some(near) = &self.near {
            near.reset_counts();
        }
    }
}

impl Near {
    /// Returns statistics with the counts of the near tier.
    #[allow(clippy::needless_pass_by_value)] // Rust moves the other fields out of it
    fn with_near_counts(&self, others: RemoteStats) -> RemoteStats {
        let (counts, state) = (&self.counts, self.state.counters());
        RemoteStats {
            near_hits: count(&counts.hits),
            stale_hits: count(&counts.stale_hits),
            fills: count(&counts.fills),
            refused_unarmed: count(&counts.refused_unarmed),
            refused_invalidated: count(&counts.refused_invalidated),
            refused_excluded: count(&counts.refused_excluded),
            refused_large: count(&counts.refused_large),
            invalidations: Count(state.invalidations),
            flushes: Count(state.flushes),
            losses: Count(state.losses),
            epoch: Count(state.epoch),
            confirmation_age: self.state.confirmation_age().map(|age| Float(age.as_secs_f64())),
            near_open: self.state.is_open(self.max_staleness),
            ..others
        }
    }

    /// Returns why the near tier does not work; `None` while it does. `notes` are those of the client.
    fn problem(&self, notes: &[String]) -> Option<String> {
        let status = self.listener.status();
        if !status.is_armed && status.error.is_some() {
            return status.error.map(|error| error.to_string());
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    fn reset_counts(&self) {
        let counts = &self.counts;
        let all = [
            &counts.hits,
            &counts.stale_hits,
            &counts.fills,
            &counts.refused_unarmed,
            &counts.refused_invalidated,
            &counts.refused_excluded,
            &counts.refused_large,
        ];
        for counter in all {
            counter.store(0, Relaxed);
        }
        match &self.copies {
            Copies::Local(cache) => cache.reset_stats(),
            #[cfg(shared)]
            Copies::Shared(store) => store.reset_near_copy_stats(),
        }
    }
}
