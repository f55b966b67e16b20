//! Near copies: how it is known that one is valid.
//!
//! # Terms
//!
//! - A *near copy* is a copy of a remote entry in this process or on this machine.
//! - A *stripe* is one of [`STRIPES`] counters, chosen by the hash of the key: the *generation* of its keys.
//! - The *epoch* counts events after which no copy can be trusted: a lost listener, a flush, a new primary.
//! - A *stamp* is the epoch and a stripe's generation at one time. A copy carries the stamp that was read before its value
//!   was requested.
//! - The *listener* reads invalidations from every primary. It is *armed* on a server from when tracking is on there.
//! - `confirmed` is the send time of the newest round in which all servers answered the listener.
//!
//! # Promise
//!
//! No read returns a copy that is older than a write acknowledged more than `max_staleness` before the read:
//!
//! 1. A fill reads the stamp, requests the value, and stores the copy with that stamp, but only if the listener is armed on
//!    the server that answered. So every write after the value was read is reported to the listener.
//! 2. An invalidation increments the generation of its stripe. A copy is served only if its stamp is still current. So
//!    neither the order in which a reply and an invalidation arrive, nor a process that dies between two steps, can
//!    leave a copy that is served although it was invalidated.
//! 3. The server sends an invalidation before the answer to a later request of the same connection. So when a round is
//!    answered, all writes before it was sent have been counted.
//! 4. Copies are served only while `now - confirmed <= max_staleness` (the *gate*).
//! 5. A new listener raises the epoch before it arms itself, and a listener that lost its connection raises it at once.
//!
//! A process's own writes increment the generation before the command is sent and after the reply, or its absence: a
//! process reads what it wrote.

mod backoff;
mod boot;
mod clock;
mod cluster;
mod connection;
mod discovery;
mod fork;
mod listener;
mod listener_thread;
mod primary;
mod push;
mod sentinels;
mod session;
mod state;
mod state_file;
mod votes;
mod words_memory;

pub use clock::BootTime;
pub use listener::{Listener, Scope, Status};
pub use state::{Counters, MAX_SERVERS, NearState, STRIPES, Stamp, Stripe, Term};
