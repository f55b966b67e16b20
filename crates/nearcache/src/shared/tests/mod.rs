//! What needs to see inside: crashes before every store, stopped owners, and words changed at random.
#![allow(clippy::unwrap_used)] // in helper code, as in tests

mod boot;
mod bounds;
mod crash;
pub(super) mod failpoint;
mod flips;
mod identity;
#[cfg(nearcache_loom)]
mod orders;
mod processes;
mod reboot;
mod support;
