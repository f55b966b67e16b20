//! What is done to an entry that is there already: its time, and its life as a lock.
//!
//! A lock is an entry whose value is its holder's token, a text that nobody else has.

use nearcache::local::Draft;
use nearcache::{Clock, Timestamp};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{Any, Version};
use crate::call::{Call, weight};
use crate::expiry::{Now, after};
use crate::keys::KeyBuffer;
use crate::values::{Encoded, Stored};

const MICROS_PER_MILLI: i64 = 1000;
const MILLIS_PER_SECOND: i64 = 1000;

/// How long an entry has to live.
pub(crate) enum Life {
    Missing,
    ForEver,
    /// This many milliseconds, rounded up.
    Millis(i64),
}

impl Life {
    /// As the methods tell it: 0 for missing, None for no expiry.
    pub(crate) fn millis(&self) -> Option<i64> {
        match self {
            Self::Missing => Some(0),
            Self::ForEver => None,
            Self::Millis(millis) => Some(*millis),
        }
    }

    /// The same in seconds, to the nearest, half a second up.
    pub(crate) fn seconds(&self) -> Option<i64> {
        let nearest = |millis: i64| millis.saturating_add(MILLIS_PER_SECOND / 2) / MILLIS_PER_SECOND;
        self.millis().map(nearest)
    }
}

impl<'py> Call<'_, 'py> {
    pub(crate) fn life(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Life> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let now = self.now()?.now();
        Ok(match self.open.store.expires_at(&key, &now) {
            None => Life::Missing,
            Some(Timestamp::NEVER) => Life::ForEver,
            Some(expires) => {
                let micros = expires.as_unix_micros().saturating_sub(now.as_unix_micros());
                Life::Millis(micros.saturating_add(MICROS_PER_MILLI - 1) / MICROS_PER_MILLI)
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
        Ok(self.open.store.expire_at(&key, expires, &now))
    }

    /// Lets an entry live for ever; whether there was one that was to expire.
    pub(crate) fn persist(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let never = |_: &Stored, old| (old != Timestamp::NEVER).then_some(Timestamp::NEVER);
        Ok(self.open.store.expire_if(&key, &self.now()?, never))
    }

    /// Takes a lock; whether it was free. Fails if the cache is too small for it, since it would never be got.
    pub(crate) fn acquire(
        &self,
        key: Any<'_, 'py>,
        token: &Bound<'py, PyString>,
        timeout: Option<f64>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let Encoded { stored, size } = self.encode(token)?;
        let now = self.now()?.now();
        let draft = Draft {
            value: stored,
            weight: weight(&key, size),
            expires: timeout.map_or(Timestamp::NEVER, |seconds| after(now, seconds)),
        };
        let added = self
            .open
            .store
            .insert_if_absent(&key, draft, &self.settings.capacity, &now);
        added.map_err(|rejected| PyValueError::new_err(format!("there is no room for this lock: {rejected}")))
    }

    /// Frees a lock; whether it was held with this token.
    pub(crate) fn release(
        &self,
        key: Any<'_, 'py>,
        token: &Bound<'py, PyString>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let token = token.to_str()?;
        let held = |stored: &Stored| is_text(self.py(), stored, token);
        Ok(self.open.store.remove_if(&key, &self.now()?, held).is_some())
    }

    /// Whether a lock is held with this token. Counts neither as a use nor in the statistics.
    pub(crate) fn holds(
        &self,
        key: Any<'_, 'py>,
        token: &Bound<'py, PyString>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let token = token.to_str()?;
        let mut holds = false;
        self.open.store.expire_if(&key, &self.now()?, |stored, _| {
            holds = is_text(self.py(), stored, token);
            None
        });
        Ok(holds)
    }

    /// Gives a lock more time, from now or (`on_top`) from when it would end; whether it was held with this token.
    pub(crate) fn extend(
        &self,
        key: Any<'_, 'py>,
        token: &Bound<'py, PyString>,
        seconds: f64,
        on_top: bool,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        let mut buffer = KeyBuffer::new();
        let key = self.key(key, version, &mut buffer)?;
        let token = token.to_str()?;
        let now = self.now()?.now();
        let extended = |stored: &Stored, old| {
            is_text(self.py(), stored, token).then(|| after(if on_top { old } else { now }, seconds))
        };
        Ok(self.open.store.expire_if(&key, &now, extended))
    }
}

/// Whether a value is exactly this text. Runs no Python code.
fn is_text(py: Python<'_>, stored: &Stored, text: &str) -> bool {
    let Stored::Shared(value) = stored else {
        return false;
    };
    let value = value.bind(py).cast_exact::<PyString>();
    value.is_ok_and(|value| value.to_str().is_ok_and(|value| value == text))
}
