//! The operations of a cache, one file for each kind: what a method does between its arguments and the store.
//!
//! Each makes the stored key (`keys`), computes what is written, and calls the store. No lock is held here.

mod delete;
mod expire;
mod get;
mod get_or_set;
mod has_key;
mod incr;
mod lock;
mod set;
#[cfg(unix)]
mod tiered;
mod ttl;
mod whole_store;

pub(crate) use get_or_set::{GetOrStep, Step as FlightStep};
#[cfg(unix)]
pub(crate) use get_or_set::{flight_step, locked_step};
#[cfg(unix)]
pub(crate) use ttl::TimeToLive;
