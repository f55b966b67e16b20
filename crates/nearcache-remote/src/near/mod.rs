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
//! - A *round*: the listener asks every primary whether it is still one, and the Sentinels or the Cluster whether there
//!   are others. `confirmed` is the send time of the newest round in which all answered as they should.
//! - A *term* is the time in which one listener may arm and confirm. Its successor begins the next one.
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
//!    answered, all writes before it was sent have been counted. The exception is a server that runs a script for long:
//!    it refuses `PING`, which is part of a round, and the round does not count.
//! 4. Copies are served only while `now - confirmed < max_staleness` (the *gate*). The gate is read before the stamp is
//!    compared: in the other order, a stamp that was compared before an outage ended would be combined with the
//!    confirmation after it.
//! 5. A listener raises the epoch after tracking is on at all primaries and before it reports that it is armed, so that no
//!    copy with a current stamp was requested before. A listener that lost a connection raises the epoch at once.
//! 6. A listener that was stopped and resumed after its successor began may still confirm its last round. That round was
//!    sent before the next term began, and copies of the next term were requested later, so that it is true for them.
//!    What else such a listener does invalidates copies or disarms its successor until the next round.
//!
//! A process's own writes increment the generation before the command is sent and after the reply, or its absence: a
//! process reads what it wrote.
//!
//! In a Cluster, a copy may be invalidated by another primary than the one that filled it, so it does not matter which of
//! the armed primaries serves a slot. A round counts only if all primaries name the same set, and it is the one that is
//! armed. A new primary that takes slots over from a running one may acknowledge writes until the others have heard of it,
//! which takes them milliseconds: the promise is late by that.
//!
//! # The listener
//!
//! One thread with a runtime of its own, in each process or in one process of the machine. Pushes are applied inside the
//! function that reads the connection, hence in the order of the stream and before the reply that follows. It allocates
//! and does I/O, but never calls Python, and its panics are reported as errors. In a forked child it does not exist: the
//! fork depth tells, and the child's first request to a server starts another one.
//!
//! With [`Scope::Machine`], the process whose thread begins a term keeps it by a heartbeat, twice in `max_staleness`. If it
//! is silent for twice `max_staleness`, the next request of any process begins the next term.

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
pub use state::{Counters, MAX_SERVERS, NearState, OpenGate, STRIPES, Stamp, Stripe, Term};
