//! A cache that all processes of a machine share through one mapped file, without a server.
//!
//! Any process may be killed at any instruction: no other process hangs, no value is torn, and nothing leaks. Reads take no
//! lock. Linux, 64 bits. `docs/design/shared.md` in the repository describes the file and gives the arguments.
//!
//! ```
//! use nearcache::shared::SharedCache;
//!
//! # let directory = std::env::temp_dir().join(format!("nearcache-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let cache = SharedCache::open(directory.join("pages"), 1 << 20)?;
//! cache.insert(b"/about", b"<h1>About</h1>", None)?;
//!
//! // Another process would do the same:
//! let other = SharedCache::open(directory.join("pages"), 1 << 20)?;
//! assert_eq!(other.get(b"/about").as_deref(), Some(&b"<h1>About</h1>"[..]));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Where the modules are, from the outside in:
//
// - The handle and its operations: `cache`, `builder`, `get`, `insert`, `update`, `incr`, `remove`, `expire`, `keys`, `stats`,
//   `validate`, `inspect`, `flight`, `get_or_insert`; what they take and return: `entry`, `sink`, `error`.
// - A shard: `shard`, `lookup` (without the lock), `lock`, `writer` (with it), `choose_slot`, `evict`, `free_space`,
//   `recount`, `flaw`.
// - The file: `layout`, `slot`, `ring`, `position`, `record`, `payload`, `extension`, `span`, `hashing`, `time`, `mapped_words`, `counters`.
// - Opening: `cache_file`, `file`, `create`, `creation_lock`, `setup_lock`, `leftovers`, `adoption`, `file_state`.
// - Processes: `registration`, `process_slot`, `descriptors`, `fork`.
// - Unsafe code: `mapping`, `os`, `push_list`, one function of `span`, the trait `sink` and its two calls in `get`.

// The stores of `mapped_words` are functions only for tests and must cost what a store does. Whether a part of the geometry
// depends on the size is a detail.
#![allow(clippy::inline_always, clippy::unused_self, clippy::needless_pass_by_value)]

mod adoption;
mod builder;
mod cache;
mod cache_file;
mod choose_slot;
mod counters;
mod create;
mod creation_lock;
mod descriptors;
mod entry;
mod error;
mod evict;
mod expire;
mod extension;
mod file;
mod file_state;
mod flaw;
mod flight;
mod fork;
mod free_space;
mod get;
mod get_or_insert;
mod hashing;
mod incr;
mod insert;
mod inspect;
mod keys;
mod layout;
mod leftovers;
mod lock;
mod lookup;
mod mapped_words;
mod mapping;
mod os;
mod payload;
mod position;
mod process_slot;
mod push_list;
mod record;
mod recount;
mod registration;
mod remove;
mod ring;
mod setup_lock;
mod shard;
mod sink;
mod slot;
mod span;
mod stats;
#[cfg(test)]
mod tests;
mod time;
mod update;
mod validate;
mod writer;

pub use builder::Builder;
pub use cache::SharedCache;
pub use counters::Event;
pub use entry::{EntryInfo, FlightId, NewEntry, ProcessId};
pub use error::{ComputeError, OpenError, ReadError, SharedError, UpdateError};
pub use file_state::FileState;
pub use flight::{Claim, ClaimRequest};
pub use get::READ_TIMEOUT;
pub use incr::Incremented;
pub use inspect::{FileInfo, FileKind, inspect, remove_unused};
pub use keys::Keys;
pub use layout::{MAX_BYTES, MAX_PROCESSES, MIN_BYTES, default_processes};
pub use record::Stamp;
pub use sink::Sink;
pub use stats::SharedStats;
pub use validate::{Report, ValidateError};
