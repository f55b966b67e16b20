//! One server: its connections and its breaker.

mod blocking;
mod multiplexed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, Value};

use crate::breaker::{Breaker, Permit};
use crate::error::{Error, ErrorKind};
use crate::failure::Failure;
use crate::handshake::Introduction;
use crate::pool::Pool;
use crate::server_id::ServerId;
use crate::site::Site;

pub(crate) use blocking::InFlight;
use multiplexed::Multiplexed;

/// How long a try may take while a server is out of order: after a network is back, a connection that waits for the next
/// transmission would keep everybody waiting.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Each try with this number gets the full timeout, for a server that is slow to accept.
const PATIENT_PROBE: u32 = 8;

/// One server.
pub(crate) struct Node {
    pub(crate) address: ConnectionAddr,
    /// The address for messages.
    pub(crate) name: Arc<str>,
    site: Arc<Site>,
    /// Whether a replica is an error: the Sentinels said that it is the primary.
    must_be_primary: bool,
    pool: Pool,
    multiplexed: tokio::sync::Mutex<Option<Arc<Multiplexed>>>,
    breaker: Breaker,
    /// Whether a connection broke since the last one was opened.
    was_lost: AtomicBool,
}

/// The replies of one server, up to a failure.
pub(crate) struct Outcome {
    pub(crate) values: Vec<Value>,
    pub(crate) server: ServerId,
    pub(crate) failure: Option<Failure>,
}

impl Outcome {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            values: Vec::new(),
            server: ServerId::UNKNOWN,
            failure: Some(failure),
        }
    }
}

impl Node {
    pub(crate) fn new(address: ConnectionAddr, site: Arc<Site>, must_be_primary: bool) -> Self {
        Self {
            name: address.to_string().into(),
            address,
            must_be_primary,
            pool: Pool::new(site.config.max_connections),
            multiplexed: tokio::sync::Mutex::new(None),
            breaker: Breaker::new(Arc::clone(&site)),
            was_lost: AtomicBool::new(false),
            site,
        }
    }

    /// Drops the connections that are not in use, after the server's role changed or a connection broke.
    pub(crate) fn reset(&self) {
        self.pool.clear();
        // Locked, it is being replaced.
        if let Ok(mut multiplexed) = self.multiplexed.try_lock() {
            *multiplexed = None;
        }
    }

    /// Returns how many connections are open, for requests that block.
    pub(crate) fn connections(&self) -> usize {
        self.pool.len()
    }

    fn admit(&self) -> Result<Permit<'_>, Failure> {
        self.breaker.admit(Instant::now()).map_err(|error| Failure {
            is_refused: true,
            ..Failure::unsent(error)
        })
    }

    /// Returns how long a connection may take.
    fn connect_timeout(&self, permit: &Permit<'_>) -> Duration {
        let timeout = self.site.config.connect_timeout;
        match permit.probe {
            Some(number) if number % PATIENT_PROBE != 0 => timeout.min(PROBE_TIMEOUT),
            _ => timeout,
        }
    }

    /// Takes note of a new connection.
    fn greet(&self, introduction: &Introduction) -> Result<(), Error> {
        if self.was_lost.swap(false, Relaxed) {
            self.site.counts.count_reconnect();
        }
        if let Some(note) = &introduction.note {
            self.site.note(note);
        }
        if self.must_be_primary && introduction.is_replica {
            let message = format!(
                "{} is a replica, although the Sentinels name it as the primary",
                self.name
            );
            return Err(Error::new(ErrorKind::Connection, message));
        }
        Ok(())
    }

    /// Takes note of a failure. A connection that broke is an outage only if no new one can be made.
    fn report(&self, permit: Permit<'_>, error: &Error, is_new: bool) {
        if error.is_outage() {
            self.was_lost.store(true, Relaxed);
            self.reset();
        }
        if error.kind == ErrorKind::Timeout || (is_new && error.is_outage()) {
            permit.fail(Instant::now(), error);
        } else if !error.is_outage() {
            permit.succeed();
        }
    }
}
