//! The condition of a write.

/// Which entries a write may store: any, only new ones, or only replacements.
///
/// An expired entry counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Stores the entry in any case.
    #[default]
    Always,
    /// Stores the entry only if there is none under its key.
    IfAbsent,
    /// Stores the entry only if it replaces one.
    IfPresent,
}

impl Condition {
    /// Returns whether a write may take place, given whether there is a live entry under its key.
    #[must_use]
    #[inline]
    pub const fn allows(self, is_present: bool) -> bool {
        match self {
            Self::Always => true,
            Self::IfAbsent => !is_present,
            Self::IfPresent => is_present,
        }
    }
}
