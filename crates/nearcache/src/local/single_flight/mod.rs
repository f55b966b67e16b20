//! Single flight: of all callers that miss one key at the same time, one computes the value and the others wait for it.
//!
//! A *flight* is one computation for one key. Its *leader* computes; its *waiters* sleep until the leader has finished. The flights of a shard
//! are a table within the shard, so the shard's lock guards them too, and a hit does not touch them.
//!
//! **Invariants.**
//!
//! - A key has at most one *current* flight. New callers join it. A write or removal of the key ends its being current, in the same
//!   critical section.
//! - The leader's value is stored only if its flight is still current at that moment, so a value that was computed from old data never
//!   replaces a newer one, and never comes back after a removal.
//! - A flight has a leader, or a woken waiter that takes the lead, or nobody; in that case it is removed.
//! - No caller waits for a flight that depends on the caller's own (`circles.rs`).
//!
//! **Concurrency.** Values, wakers and threads are woken and dropped with nothing locked. A waiter registers under the lock under which it
//! saw that the value is missing, so no wake-up is lost.
//!
//! `docs/design/single-flight.md` has the protocol.

mod circles;
mod join;
mod leader;
mod refresh;
mod sleeper;
mod table;
mod waiter;

pub use join::Joined;
pub use leader::{FlightId, Leader};
pub use refresh::Refresh;
pub use waiter::{Waited, Waiter};

pub(super) use circles::forget_all as forget_circles;
pub(super) use table::Flights;
