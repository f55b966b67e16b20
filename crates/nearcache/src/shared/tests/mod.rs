//! What needs to see inside: crashes before every store, and words changed at random.

pub(super) mod failpoint;
