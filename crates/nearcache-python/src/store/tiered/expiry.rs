//! When entries expire.

use std::time::Duration;

use nearcache::{Clock, Timestamp};
use pyo3::prelude::*;

use super::plan::{Plan, Step};
use super::requests::{NO_EXPIRY, Reader, on_key, single};
use super::tiered_store::TieredStore;
use crate::clock::Now;

impl TieredStore {
    /// Returns when an entry expires; `None` if there is none.
    pub(crate) fn plan_expires_at(&'static self, key: &[u8], now: Now) -> Step<Option<Timestamp>> {
        let request = single(on_key("PTTL", key), key, true);
        Plan::new(request, move |py, outcome| {
            let millis = outcome.and_then(|replies| Reader::new(replies).number());
            match millis {
                Ok(NO_EXPIRY) => Ok(Some(Timestamp::NEVER)),
                Ok(millis) => Ok(u64::try_from(millis).ok().map(|millis| {
                    let micros = i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX);
                    Timestamp::from_unix_micros(now.now().as_unix_micros().saturating_add(micros))
                })),
                Err(error) => self.on_failure(py, &error, || Ok(None)),
            }
        })
        .into()
    }

    /// Changes when an entry expires; returns whether there was one.
    pub(crate) fn plan_expire_at(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<Step<bool>> {
        if expires_at == Timestamp::NEVER {
            return self.plan_expire_never(py, key);
        }
        let left = now.time_left(expires_at);
        if left.is_zero() {
            return self.plan_delete(py, key);
        }
        let command = self.expire_command(key, whole_millis(left))?;
        let read = |_: Python<'_>, reader: &mut Reader| Ok(reader.number()? > 0);
        let plan = self.plan_write(py, vec![key.to_vec()], single(command, key, true), read, || {
            Ok(false)
        });
        Ok(plan.into())
    }

    /// Removes an expiry; returns whether there is an entry.
    fn plan_expire_never(&'static self, py: Python<'_>, key: &[u8]) -> PyResult<Step<bool>> {
        let mut request = single(self.persist_command(key)?, key, true);
        let exists = on_key("EXISTS", key);
        request.add(exists, nearcache_remote::Route::key(key), true);
        let read = |_: Python<'_>, reader: &mut Reader| {
            reader.number()?;
            Ok(reader.number()? > 0)
        };
        let plan = self.plan_write(py, vec![key.to_vec()], request, read, || Ok(false));
        Ok(plan.into())
    }

    /// Removes an expiry; returns whether there was an entry with one.
    pub(crate) fn plan_persist(&'static self, py: Python<'_>, key: &[u8]) -> PyResult<Step<bool>> {
        let request = single(self.persist_command(key)?, key, false);
        let read = |_: Python<'_>, reader: &mut Reader| Ok(reader.number()? > 0);
        let plan = self.plan_write(py, vec![key.to_vec()], request, read, || Ok(false));
        Ok(plan.into())
    }
}

/// Returns a duration in milliseconds, rounded up.
pub(super) fn whole_millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    // A server refuses what overflows when the time now is added: 2^62 ms are 146 million years.
    u64::try_from(millis).unwrap_or(u64::MAX).min(1 << 62)
}
