//! The flights of one process, for a store that keeps its entries elsewhere.

use nearcache::local::{Frozen, Joined as EngineJoined, Keys, RawCache};
use nearcache::{Eviction, OutOfMemory, Timestamp};

use super::counts::FlightCounts;
use super::flight::Lead;
use super::wait::{Joined, Wait};
use crate::values::Stored;

/// No entry is ever stored here, so no time is read.
const NO_TIME: Timestamp = Timestamp::NEVER;
/// With the GIL, one thread at a time uses the table.
const SHARDS: usize = if cfg!(Py_GIL_DISABLED) { 8 } else { 1 };

/// A table of flights, and the counts of `get_or_set`.
pub(crate) struct ProcessFlights {
    /// Has no entries: only its flights are used.
    table: RawCache<Stored>,
    pub(crate) counts: FlightCounts,
}

impl ProcessFlights {
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            table: RawCache::new(Eviction::Lru, SHARDS)?,
            counts: FlightCounts::default(),
        })
    }

    /// Joins the flight of a name, which is a key or identifies a flight. Returns a leader or a waiter.
    pub(crate) fn join(&'static self, name: &[u8]) -> Joined {
        match self.table.join_after_miss(name, &NO_TIME) {
            EngineJoined::Leader(leader) => Joined::Leader(Lead::new(leader), None),
            EngineJoined::Waiter(waiter) => Joined::Waiter(Wait::Process(waiter)),
            EngineJoined::Hit(_) => Joined::Again,
        }
    }

    /// Starts a flight with a name, whatever flight there is.
    pub(crate) fn overtake(&'static self, name: &[u8]) -> Lead {
        Lead::new(self.table.overtake(name))
    }

    /// Ends a flight's being current: callers that come later do not wait for it, and its value is not stored.
    pub(crate) fn end(&self, name: &[u8]) {
        self.table.remove(name, &NO_TIME);
    }

    /// Does so with all flights.
    pub(crate) fn end_all(&self) {
        self.table.clear();
    }

    /// Iterates over the names of all flights.
    pub(crate) fn names(&self) -> Keys<'_, Stored> {
        self.table.all_keys()
    }

    /// Acquires the locks, for a fork.
    pub(crate) fn freeze(&self) -> Frozen<'_, Stored> {
        self.table.freeze()
    }
}
