//! The identity of a server process.

/// Identifies one run of one server process, by a hash of the `run_id` that the server reports.
///
/// Two requests with the same id were answered by the same process, which had not been restarted between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerId(u64);

impl ServerId {
    /// The server is not known: it does not tell its `run_id`, or it is a replica.
    pub const UNKNOWN: Self = Self(0);

    /// Returns the identity for a `run_id`.
    #[must_use]
    pub fn from_run_id(run_id: &[u8]) -> Self {
        // 0 is taken.
        Self(rapidhash::v3::rapidhash_v3(run_id).max(1))
    }

    /// Returns the identity as a word for shared memory; 0 is [`ServerId::UNKNOWN`].
    #[must_use]
    pub const fn as_word(self) -> u64 {
        self.0
    }
}
