//! What a process counts about its requests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a process has counted about its requests since its first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteCounters {
    /// Requests.
    pub requests: u64,
    /// Requests that failed as a whole. An error that answers one command is not counted.
    pub errors: u64,
    /// Connections that were opened after one broke.
    pub reconnects: u64,
    /// Connections that are open now, for requests that block.
    pub connections: u64,
    /// How often requests began to fail at once because a server was out of order.
    pub breaker_trips: u64,
    /// Whether requests to a server fail at once now.
    pub breaker_open: bool,
}

/// The counters of a process.
#[derive(Default)]
pub(crate) struct Counts {
    requests: Count,
    errors: Count,
    reconnects: Count,
    trips: Count,
    open_breakers: Count,
}

/// One counter.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counts {
    pub(crate) fn count_request(&self) {
        self.requests.increment();
    }

    pub(crate) fn count_error(&self) {
        self.errors.increment();
    }

    pub(crate) fn count_reconnect(&self) {
        self.reconnects.increment();
    }

    pub(crate) fn breaker_opened(&self) {
        self.trips.increment();
        self.open_breakers.increment();
    }

    pub(crate) fn breaker_closed(&self) {
        self.open_breakers.decrement();
    }

    /// Returns the counters, without `connections`.
    pub(crate) fn read(&self) -> RemoteCounters {
        RemoteCounters {
            requests: self.requests.get(),
            errors: self.errors.get(),
            reconnects: self.reconnects.get(),
            connections: 0,
            breaker_trips: self.trips.get(),
            breaker_open: self.open_breakers.get() > 0,
        }
    }
}
