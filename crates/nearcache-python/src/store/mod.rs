//! Stores: where a backend keeps its entries.
//!
//! `local` is memory of this process, `shared` a file that all processes of the machine share, `tiered` a server with
//! copies in one of the others. `registry` has the stores that this process has open, and what happens to them when it
//! forks. Keys are bytes here, made by [`keys`](crate::keys). No lock is held while Python code can run.

mod entry_store;
mod flights;
mod local;
#[cfg(unix)]
mod near_copy;
pub(crate) mod registry;
#[cfg(unix)]
mod remote_stats;
#[cfg(shared)]
mod shared;
mod stats;
#[cfg(unix)]
mod tiered;
mod weight;

pub(crate) use entry_store::{
    EntryStore, Extension, ScanPattern, ScanScope, SetOutcome, StoredKey, StoredKeys,
};
pub(crate) use flights::{
    Computed, EarlyRead, Flight, FlightEvent, FlightWait, Joined, Outcome, Stopped, TaskWaker,
};
pub(crate) use local::LocalStore;
#[cfg(unix)]
pub(crate) use remote_stats::RemoteStats;
#[cfg(shared)]
pub(crate) use shared::{FileSize, SharedStore};
pub(crate) use stats::Stats;
#[cfg(unix)]
pub(crate) use tiered::{Completions, Locked, Pending, Step, TieredSettings, TieredStore, stop_listeners};

/// An open store. It lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Local(&'static LocalStore),
    #[cfg(shared)]
    Shared(&'static SharedStore),
    #[cfg(unix)]
    Tiered(&'static TieredStore),
}

impl Store {
    /// Returns the store as a trait object.
    pub(crate) fn entries(self) -> &'static dyn EntryStore {
        match self {
            Self::Local(store) => store,
            #[cfg(shared)]
            Self::Shared(store) => store,
            #[cfg(unix)]
            Self::Tiered(store) => store,
        }
    }
}
