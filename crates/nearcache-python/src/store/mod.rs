//! Stores: where a backend keeps its entries.
//!
//! `local` is memory of this process, `shared` a file that all processes of the machine share. `registry` has the stores
//! that this process has open, and what happens to them when it forks. Keys are bytes here, made by [`keys`](crate::keys).
//! No lock is held while Python code can run.

mod entry_store;
mod local;
pub(crate) mod registry;
#[cfg(shared)]
mod shared;
mod stats;

use nearcache::local::RawCache;

use crate::values::Stored;
pub(crate) use entry_store::{EntryStore, SetOutcome, StoredKeys};
#[cfg(shared)]
pub(crate) use shared::{FileSize, SharedStore};
pub(crate) use stats::Stats;

/// An open store. It lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Local(&'static RawCache<Stored>),
    #[cfg(shared)]
    Shared(&'static SharedStore),
}

impl Store {
    /// Returns the store as a trait object.
    pub(crate) fn entries(self) -> &'static dyn EntryStore {
        match self {
            Self::Local(store) => store,
            #[cfg(shared)]
            Self::Shared(store) => store,
        }
    }
}
