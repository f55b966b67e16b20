//! Single flight: what `get_or_set` needs of a store beside reading and writing.
//!
//! The engine finds the one caller that computes. Here its parts become Python objects, which a thread, a greenlet or a task
//! can keep while it computes or waits: [`Flight`] for the leader and [`FlightWait`] for a waiter. `nearcache.django`'s
//! `single_flight` has the order of events.

mod counts;
mod failure;
mod flight;
#[cfg(shared)]
mod machine;
#[cfg(unix)]
mod process;
mod process_leader;
mod wait;

use std::time::Duration;

use nearcache::Timestamp;
use pyo3::prelude::*;

use crate::arguments::{Any, Argument};
use crate::values::Timing;

pub(crate) use counts::{FlightCounts, FlightEvent};
#[cfg(unix)]
pub(crate) use flight::HeldLock;
pub(crate) use flight::{Flight, Lead};
#[cfg(shared)]
pub(crate) use machine::{FlightFile, HeldFlight, MachineLead, name_of};
#[cfg(shared)]
pub(crate) use nearcache::shared::FlightId as MachineFlightId;
#[cfg(unix)]
pub(crate) use process::ProcessFlights;
pub(crate) use wait::{FlightWait, Joined, Outcome, Stopped, TaskWaker, Wait};

/// What a read finds that may ask for the value to be computed before it expires.
pub(crate) enum EarlyRead {
    Missing,
    Value(Py<PyAny>),
    /// The value is there, and the caller is the one that computes the next one.
    Due(Py<PyAny>, Lead),
}

/// A value that a leader has computed.
pub(crate) struct Computed<'a, 'py> {
    pub(crate) value: Any<'a, 'py>,
    pub(crate) timeout: Argument<'a, 'py>,
    /// The fraction by which the timeout may be shortened.
    pub(crate) jitter: f64,
    /// For how many seconds the value may be used after it has expired.
    pub(crate) stale: f64,
    /// How many seconds computing took.
    pub(crate) cost: f64,
    /// `XFetch`'s parameter, which needs the cost, or 0.
    #[cfg_attr(not(unix), allow(dead_code))]
    pub(crate) early: f64,
}

impl Computed<'_, '_> {
    pub(crate) fn timing(&self) -> Timing {
        let duration = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Timing::new(duration(self.cost), duration(self.stale))
    }
}

/// Returns whether a value is to be computed now, although it has not expired: `XFetch` (Vattani, Chierichetti & Lowenstein,
/// "Optimal probabilistic cache stampede prevention", PVLDB 2015). The closer the end and the longer the computing, the
/// more likely.
pub(crate) fn is_due(now: Timestamp, expires_at: Timestamp, cost_micros: u32, beta: f64) -> bool {
    /// No random number has a logarithm beyond this: they have 53 bits.
    const MOST: f64 = 37.0;
    if expires_at == Timestamp::NEVER {
        return false;
    }
    #[allow(clippy::cast_precision_loss)] // as good as the clock
    let micros_left = expires_at.as_unix_micros().saturating_sub(now.as_unix_micros()) as f64;
    let scale = f64::from(cost_micros) * beta;
    if scale * MOST < micros_left {
        return false;
    }
    // From 0, excluded, to 1: its logarithm is finite.
    let random = 1.0 - crate::random::random();
    scale * -random.ln() >= micros_left
}
