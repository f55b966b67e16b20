//! Asking how long an entry has to live.

use nearcache::{Clock, Timestamp};
use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::clock::Now;
use crate::objects::Count;
use crate::open_cache::Operation;

const MILLIS_PER_SECOND: u64 = 1000;

/// How long an entry has to live.
pub(crate) enum TimeToLive {
    Missing,
    NoExpiry,
    /// At least 1, and never more than the entry was given.
    Millis(u64),
}

impl TimeToLive {
    /// Returns how long an entry has to live; `None` is a missing entry.
    pub(crate) fn of(expires_at: Option<Timestamp>, now: Now) -> Self {
        match expires_at {
            None => Self::Missing,
            Some(Timestamp::NEVER) => Self::NoExpiry,
            Some(expires_at) => {
                let millis = now.time_left(expires_at).as_millis();
                Self::Millis(u64::try_from(millis).unwrap_or(u64::MAX).max(1))
            }
        }
    }

    /// Returns milliseconds as the methods do: 0 for a missing entry, None for no expiry.
    pub(crate) fn millis(&self) -> Option<Count> {
        self.returned(|millis| millis)
    }

    /// Returns seconds as the methods do, to the nearest; half a second is rounded up.
    pub(crate) fn seconds(&self) -> Option<Count> {
        self.returned(|millis| millis.saturating_add(MILLIS_PER_SECOND / 2) / MILLIS_PER_SECOND)
    }

    fn returned(&self, convert: impl Fn(u64) -> u64) -> Option<Count> {
        match self {
            Self::Missing => Some(Count(0)),
            Self::NoExpiry => None,
            Self::Millis(millis) => Some(Count(convert(*millis))),
        }
    }
}

impl<'py> Operation<'_, 'py> {
    pub(crate) fn time_to_live(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<TimeToLive> {
        self.context.keys().with_key(key, version, |key| {
            let now = self.context.now()?;
            Ok(TimeToLive::of(
                self.entries().expires_at(&self.context, key, now)?,
                now,
            ))
        })
    }
}
