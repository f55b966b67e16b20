//! What a ``TieredCache`` counts about its two tiers, as Python sees it.

use pyo3::prelude::*;

use crate::objects::{Count, Float};

/// What a ``TieredCache`` counts about its two tiers, in this process.
#[pyclass(frozen, get_all, eq, module = "nearcache._core")]
#[derive(Clone, Default, PartialEq)]
pub(crate) struct RemoteStats {
    /// Reads served by a near copy.
    pub(super) near_hits: Count,
    /// Reads that the server had a value for.
    pub(super) remote_hits: Count,
    /// Reads that no tier had a value for.
    pub(super) remote_misses: Count,
    /// Reads served by a near copy beyond the promise, because the server could not be reached (``ON_ERROR`` "stale").
    pub(super) stale_hits: Count,
    /// Operations that failed and did not raise, by ``ON_ERROR``.
    pub(super) ignored_errors: Count,
    /// Near copies stored.
    pub(super) fills: Count,
    /// Near copies not stored: the listener was not armed on the server that answered.
    pub(super) refused_unarmed: Count,
    /// Near copies not stored: the entry was invalidated while it was read.
    pub(super) refused_invalidated: Count,
    /// Near copies not stored: ``NEAR_EXCLUDE``, or another prefix than the cache's.
    pub(super) refused_excluded: Count,
    /// Near copies not stored: too large.
    pub(super) refused_large: Count,
    /// Invalidations that the listener received.
    pub(super) invalidations: Count,
    /// How often a server reported that it was flushed.
    pub(super) flushes: Count,
    /// How often the listener lost a connection, or the primaries changed.
    pub(super) losses: Count,
    /// The epoch: raised whenever all copies became invalid.
    pub(super) epoch: Count,
    /// Seconds since the newest round that all servers answered was sent; None before the first.
    pub(super) confirmation_age: Option<Float>,
    /// Whether near copies may be served now.
    pub(super) near_open: bool,
    /// Why the near tier does not work; None while it does.
    pub(super) near_problem: Option<String>,
    /// Requests sent.
    pub(super) requests: Count,
    /// Requests that failed.
    pub(super) errors: Count,
    /// Connections opened again after one was lost.
    pub(super) reconnects: Count,
    /// Connections open now.
    pub(super) connections: Count,
    /// How often the circuit breaker opened.
    pub(super) breaker_trips: Count,
    /// Whether the circuit breaker is open: calls fail without trying.
    pub(super) breaker_open: bool,
}
