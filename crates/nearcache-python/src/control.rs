//! What is done to an entry that is there already: its time, and its life as a lock.

use nearcache::{Clock, Timestamp};
use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::call::Call;
use crate::expiry::{Now, after, later};
use crate::fallible::Count;
use crate::keys::KeyBuffer;

const MILLIS_PER_SECOND: u64 = 1000;

/// How long an entry has to live.
pub(crate) enum Life {
    Missing,
    ForEver,
    /// This many milliseconds, 1 at least, and never more than it was given.
    Millis(u64),
}

impl Life {
    /// As the methods tell it: 0 for missing, None for no expiry.
    pub(crate) fn millis(&self) -> Option<Count> {
        self.told(|millis| millis)
    }

    /// The same in seconds, to the nearest, half a second up.
    pub(crate) fn seconds(&self) -> Option<Count> {
        self.told(|millis| millis.saturating_add(MILLIS_PER_SECOND / 2) / MILLIS_PER_SECOND)
    }

    fn told(&self, unit: impl Fn(u64) -> u64) -> Option<Count> {
        match self {
            Self::Missing => Some(Count(0)),
            Self::ForEver => None,
            Self::Millis(millis) => Some(Count(unit(*millis))),
        }
    }
}

impl<'py> Call<'_, 'py> {
    pub(crate) fn life(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Life> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let now = self.now()?;
        Ok(match self.keep().expires_at(self, &key, now) {
            None => Life::Missing,
            Some(Timestamp::NEVER) => Life::ForEver,
            Some(expires) => {
                let millis = now.time_left(expires).as_millis();
                Life::Millis(u64::try_from(millis).unwrap_or(u64::MAX).max(1))
            }
        })
    }

    /// Lets an entry live until a time that is reckoned after its key; whether there was one.
    pub(crate) fn expire(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        reckon: impl FnOnce() -> PyResult<(Timestamp, Now)>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let (expires, now) = reckon()?;
        self.keep().expire_at(self, &key, expires, now)
    }

    /// Lets an entry live for ever; whether there was one that was to expire.
    pub(crate) fn persist(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        self.keep().persist(self, &key)
    }

    /// Takes a lock; whether it was free. Fails if the cache is too small for it, since it would never be got.
    pub(crate) fn acquire(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        timeout: Option<f64>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let now = self.now()?;
        let expires = timeout.map_or(Timestamp::NEVER, |seconds| after(now, seconds));
        self.keep().acquire(self, &key, token, expires, now)
    }

    /// Frees a lock; whether it was held with this token.
    pub(crate) fn release(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        self.keep().release(self, &key, token)
    }

    /// Whether a lock is held with this token. Counts neither as a use nor in the statistics.
    pub(crate) fn holds(&self, key: Any<'_, 'py>, token: &str, version: Version<'_, 'py>) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        self.keep().holds(self, &key, token)
    }

    /// Gives a lock more time, from now or (`on_top`) from when it would end; whether it was held with this token.
    pub(crate) fn extend(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        seconds: f64,
        on_top: bool,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let now = self.now()?;
        let end = |old| {
            if on_top {
                later(old, seconds)
            } else {
                after(now, seconds)
            }
        };
        self.keep().extend(self, &key, token, &end, now)
    }
}
