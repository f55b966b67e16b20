//! A cache shared by all processes of a machine, through one mapped file and without a server.
//!
//! Any process may be killed at any instruction: nothing hangs, tears or leaks because of it. Reads take no lock. How it
//! works, and why that holds: `docs/design/shared.md`.
//!
//! ```
//! use nearcache::shared::{NewEntry, SharedCache};
//!
//! # let directory = std::env::temp_dir().join(format!("nearcache-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let cache = SharedCache::open(directory.join("pages"), 1 << 20)?;
//! cache.set(b"/about", NewEntry::new(b"<h1>About</h1>"))?;
//! let other = SharedCache::open(directory.join("pages"), 1 << 20)?; // as another process would
//! assert_eq!(other.get(b"/about").as_deref(), Some(&b"<h1>About</h1>"[..]));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Stores are a function for the tests only, and have to cost what a store does; the geometry answers where everything lies,
// whether or not that depends on it.
#![allow(clippy::inline_always, clippy::unused_self, clippy::needless_pass_by_value)]

mod builder;
mod cache;
mod create;
mod creation_lock;
mod descriptors;
mod error;
mod evict;
mod file;
mod flaw;
mod fork;
mod hashing;
mod holes;
mod index;
mod inspect;
mod item;
mod keys;
mod layout;
mod lock;
mod map;
mod os;
mod position;
mod process;
mod record;
mod recount;
mod repair;
mod ring;
mod shard;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod validate;
mod words;
mod writer;

pub use builder::Builder;
pub use cache::{READ_TIMEOUT, SharedCache};
pub use error::{OpenError, ReadError, SharedError, UpdateError};
pub use inspect::{FileInfo, FileKind, inspect, remove_unused};
pub use item::{EntryInfo, NewEntry, ProcessId};
pub use keys::Keys;
pub use layout::{MAX_BYTES, MAX_PROCESSES, MIN_BYTES, default_processes};
pub use process::FileState;
pub use record::Stamp;
pub use shard::Sink;
pub use stats::SharedStats;
pub use validate::{Report, ValidateError};
pub use writer::Incremented;
