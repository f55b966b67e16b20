//! The flights of all processes of a machine, which are in a file, and those of this process that belong to them.
//!
//! The file says who computes the value of a key. Within a process, a flight of the file has a flight of the process with
//! its name, so that threads and tasks are woken when it ends. If its leader is in another process, one of them, the watcher,
//! looks at the file often, and wakes the others. These look seldom: the watcher may be a task of a blocked event loop.

use std::thread;
use std::time::{Duration, Instant};

use nearcache::shared::FlightId;
use pyo3::prelude::*;

use super::failure::Retry;
use super::process_leader::ProcessLeader;
use crate::clock::Now;
use crate::memory::vec;

/// Between two looks of a thread that is the watcher: from the first on, twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// A file that has flights.
pub(crate) trait FlightFile: Sync {
    /// Ends a flight of this process without a value. If that fails, waiters overtake it after their timeout.
    fn release(&self, key: &[u8], number: u64, now: Now);

    /// Returns whether a flight is in progress and its process alive.
    fn is_in_progress(&self, key: &[u8], flight: FlightId, now: Now) -> bool;
}

/// A flight of a file that this process leads. Dropping it ends the flight.
pub(crate) struct MachineLead {
    file: &'static dyn FlightFile,
    key: Box<[u8]>,
    number: u64,
    /// The clock of the claim: a backend's own clock cannot be read when this is dropped.
    now: Now,
    is_over: bool,
}

impl MachineLead {
    pub(crate) const fn new(file: &'static dyn FlightFile, key: Box<[u8]>, number: u64, now: Now) -> Self {
        Self {
            file,
            key,
            number,
            now,
            is_over: false,
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Notes that the file has ended the flight.
    pub(crate) fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for MachineLead {
    fn drop(&mut self) {
        if !self.is_over {
            self.file.release(&self.key, self.number, self.now);
        }
    }
}

/// A flight of a file that another caller leads.
pub(crate) struct HeldFlight {
    file: &'static dyn FlightFile,
    key: Box<[u8]>,
    pub(crate) flight: FlightId,
    now: Now,
    is_led_elsewhere: bool,
}

impl HeldFlight {
    pub(crate) const fn new(
        file: &'static dyn FlightFile,
        key: Box<[u8]>,
        flight: FlightId,
        now: Now,
        is_led_elsewhere: bool,
    ) -> Self {
        Self {
            file,
            key,
            flight,
            now,
            is_led_elsewhere,
        }
    }

    /// Returns whether the flight was led by another process, and is over. A leader of this process wakes its waiters itself,
    /// and has a value for them also if the file has forgotten its flight.
    pub(super) fn has_ended_elsewhere(&self) -> bool {
        self.is_led_elsewhere && self.is_over()
    }

    fn is_over(&self) -> bool {
        !self.file.is_in_progress(&self.key, self.flight, self.now)
    }
}

/// The one waiter of a process that looks at the file often. It wakes the others.
pub(crate) struct Watcher {
    /// Ends when the flight is over.
    process: Option<ProcessLeader>,
    held: HeldFlight,
}

impl Watcher {
    pub(super) const fn new(process: ProcessLeader, held: HeldFlight) -> Self {
        Self {
            process: Some(process),
            held,
        }
    }

    /// Blocks the thread with the GIL released, for at most `timeout`; returns whether the flight is over.
    pub(super) fn sleep(&self, py: Python<'_>, timeout: Duration) -> bool {
        py.detach(|| {
            let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
            loop {
                if self.held.is_over() {
                    return true;
                }
                let left = timeout.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return false;
                }
                thread::sleep(pause.min(left));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
    }

    /// Returns whether the flight is over. Then the other waiters of this process look at the file again.
    pub(super) fn is_over(&mut self) -> bool {
        let is_over = self.held.is_over();
        if is_over && let Some(process) = self.process.take() {
            process.fail(Retry::failure());
        }
        is_over
    }

    pub(super) fn into_parts(self) -> (Option<ProcessLeader>, HeldFlight) {
        (self.process, self.held)
    }
}

/// Returns the name of a flight of a file among the flights of this process.
pub(crate) fn name_of(key: &[u8], flight: FlightId) -> PyResult<Vec<u8>> {
    let mut name = vec(key.len() + 2 * size_of::<u64>())?;
    name.extend_from_slice(key);
    name.extend_from_slice(&flight.process.to_u64().to_ne_bytes());
    name.extend_from_slice(&flight.number.to_ne_bytes());
    Ok(name)
}
