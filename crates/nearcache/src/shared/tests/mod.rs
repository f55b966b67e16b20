//! Tests that need access to the internals: deaths before each store, stopped processes, files changed at random.
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod boot;
mod bounds;
mod crash;
pub(super) mod failpoint;
mod flights;
mod flips;
mod identity;
#[cfg(nearcache_loom)]
mod orders;
mod processes;
mod reboot;
mod support;
mod takeover;
