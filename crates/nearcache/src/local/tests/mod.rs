//! Tests of the local cache that need its insides.

#[cfg(nearcache_loom)]
mod orders;
