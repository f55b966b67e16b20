//! The type of a leader in this process.

use nearcache::local::Leader;

use crate::values::Stored;

/// A leader in this process.
pub(crate) type ProcessLeader = Leader<'static, Stored>;
