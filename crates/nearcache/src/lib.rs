//! A cache near the code: bounded, concurrent, with an expiry for each entry.
//!
//! ```
//! use nearcache::local::Cache;
//! use std::time::Duration;
//!
//! let pages = Cache::builder().max_entries(1_000).build();
//! pages.insert(b"/about", "<h1>About</h1>".to_string(), Some(Duration::from_secs(60)))?;
//! assert_eq!(pages.get(b"/about").as_deref(), Some("<h1>About</h1>"));
//! assert_eq!(pages.stats().hits, 1);
//! # Ok::<(), nearcache::WriteError>(())
//! ```
//!
//! - **It keeps what will be asked for.** The default eviction policy [adapts](Eviction::Adaptive) S3-FIFO to the
//!   traffic; plain S3-FIFO and LRU are there too.
//! - **It is bounded exactly**, by entries, by weight or by both, over all shards together.
//! - **Entries die on time** and give their memory back without being read: every write looks at a few slots for dead
//!   entries. There is no thread.
//! - **It never calls you with a lock held**, but to clone a value and to read the clock. Values are dropped, and
//!   update functions run, with nothing locked, so they may use the cache themselves.
//! - **It does not abort when memory is short.** A write that finds none returns [`OutOfMemory`], and the cache stays as it
//!   was, and usable.
//!
//! That is [`local`], in this process's memory. [`shared`] is one cache for all processes of a machine, in a mapped file, with no server:
//! its values are bytes (64-bit Linux only).
//!
//! Keys are bytes. Values are whatever is `Clone`; wrap what is costly to clone in an `Arc`. There are no feature flags.
//!
//! The crate compiles with Rust 1.88 and later. Clippy refuses library items that are newer; the tests run with a current
//! release.

mod clock;
mod condition;
mod error;
mod intrinsics;
mod key;
pub mod local;
mod memory;
mod policy;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod shared;
mod stats;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use condition::Condition;
pub use error::{OutOfMemory, Rejected, UpdateError, WriteError};
pub use policy::Eviction;
pub use stats::Stats;
