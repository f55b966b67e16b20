//! A fast, bounded, concurrent cache with an expiry for each entry: in the memory of one process, or in a file that all processes of a
//! machine share.
//!
//! # In one process
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
//! Of all threads and tasks that miss a key at the same time, one computes the value:
//!
//! ```
//! # use nearcache::local::Cache;
//! # use std::time::Duration;
//! # let pages = Cache::builder().max_entries(1_000).build();
//! # fn render(path: &str) -> String {
//! #     path.to_string()
//! # }
//! let page = pages.get_or_insert_with(b"/news", Some(Duration::from_secs(60)), || render("/news"));
//! # assert_eq!(page, "/news");
//! ```
//!
//! [`get_or_insert_async`](local::Cache::get_or_insert_async) is the same for every asynchronous runtime.
//!
//! Keys are bytes. Values are of any type that is `Clone`; wrap values that are expensive to clone in an `Arc`. Handles are cheap to clone, and any number
//! of threads may use them.
//!
//! # In all processes of a machine
//!
//! ```
//! # #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
//! # {
//! use nearcache::shared::SharedCache;
//!
//! # let directory = std::env::temp_dir().join(format!("nearcache-front-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let path = directory.join("pages");
//! let cache = SharedCache::open(&path, 64 << 20)?; // 64 MiB
//! cache.insert(b"/about", b"<h1>About</h1>", None)?;
//!
//! let in_another_process = SharedCache::open(&path, 64 << 20)?;
//! assert_eq!(in_another_process.get(b"/about").as_deref(), Some(&b"<h1>About</h1>"[..]));
//! # std::fs::remove_dir_all(&directory)?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The processes map one file, and there is no server. Keys and values are bytes. Reads take no lock. Any process may be killed at any instruction: the
//! others go on, and never read a value that is half written.
//!
//! # What it does
//!
//! - **Evicts the right entries.** The default policy [adapts](Eviction::Adaptive) S3-FIFO to the traffic. Plain S3-FIFO and LRU are available.
//! - **Computes a missing value once**, however many threads and tasks ask for it, and in a shared cache, however many processes. Waits of
//!   threads and tasks that would never end are found.
//! - **Keeps its limits exactly**: the number of entries, their weight, or both, over all shards together.
//! - **Removes expired entries** although nobody reads them, without a thread: every write looks at a few slots.
//! - **Never runs your code under a lock**, except to clone a value and to read the clock. Values are dropped and update functions run with nothing
//!   locked, so they may use the cache.
//! - **Does not abort when memory is short.** A write that finds none returns [`OutOfMemory`], and the cache stays valid and usable.
//!
//! # When to use something else
//!
//! | you need | use |
//! |---|---|
//! | eviction listeners, time-to-idle | `moka` |
//! | keys of any type that is `Hash`, without encoding them as bytes | `moka`, `quick_cache` |
//! | a cache for several machines | a server, such as Redis |
//! | data that must not be lost | a database: a cache may evict any entry at any time |
//!
//! Reasons to use this crate rather than these two: `quick_cache` has no expiry, and its shards divide the capacity; `moka` takes several times as long for
//! each operation, and enforces its capacity some time after the writes. Neither is shared between processes.
//!
//! # What it costs
//!
//! Operations are O(1), insertions amortized. A local operation takes one shard lock; [`update`](local::Cache::update) takes two. Millions of operations a
//! second on one thread, 16-byte keys, `u64` values (two shared cores of a virtual machine; compare columns, not machines):
//!
//! | operation | entries | nearcache | `quick_cache` | `moka` |
//! |---|---:|---:|---:|---:|
//! | get, hit | 1,000 | 87.0 | 79.2 | 8.9 |
//! | get, miss | 1,000 | 149.5 | 112.9 | 12.1 |
//! | insert, evicting | 1,000 | 17.1 | 17.1 | 2.1 |
//! | 95 % get, 5 % insert, Zipf | 1,000 | 62.0 | 59.3 | 7.2 |
//! | get, hit | 100,000 | 15.4 | 14.5 | 1.2 |
//! | insert, evicting | 100,000 | 11.0 | 9.4 | 0.4 |
//! | get, hit | 10,000,000 | 2.8 | 2.2 | 0.5 |
//! | insert, evicting | 10,000,000 | 3.0 | 3.0 | 0.5 |
//!
//! An entry of a local cache takes 42 to 47 bytes besides its key and value ([`RawCache::BOOKKEEPING`](local::RawCache::BOOKKEEPING)); one of a shared cache
//! takes 32 bytes, padding of up to 14 bytes, and its share of the index. Hit ratios over eight traces average 77 % of the optimal policy's (LRU: 58 %,
//! `quick_cache`: 68 %, `moka`: 63 %).
//!
//! # Limits
//!
//! | | local | shared |
//! |---|---|---|
//! | entries | fewer than 2^32 a shard | by the size of the file |
//! | weight of an entry | below 2^32 | about a fifteenth of the file (half of a file of up to 8 MB) |
//! | expiry | in microseconds, at most one clock tick (1 to 10 ms) late | in milliseconds, rounded down |
//! | platforms | all with `std` and 64-bit atomics | 64-bit Linux |
//!
//! There are no feature flags. The crate compiles with Rust 1.88 and later.

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
