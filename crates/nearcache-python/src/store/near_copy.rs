//! A copy of a remote entry in the near tier of this process.

use nearcache_remote::near::{BootTime, Stamp, Stripe};

use crate::values::Stored;

/// A copy of a remote entry in this process.
pub(crate) struct NearCopy {
    pub(super) mark: Mark,
    pub(super) stored: Stored,
}

/// Until when a copy is valid.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(super) stripe: Stripe,
    pub(super) stamp: Stamp,
    /// When the remote entry expires, or `NEAR_TTL` ends.
    pub(super) deadline: BootTime,
}
