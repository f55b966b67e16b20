//! Locks for users: entries whose value is the holder's token. Scripts compare the token and act in one step.

use nearcache::{Clock, Timestamp};
use pyo3::prelude::*;

use super::expiry::whole_millis;
use super::plan::{Plan, Step};
use super::requests::{Reader, on_key, script, single};
use super::tiered_store::TieredStore;
use super::wire;
use crate::clock::Now;
use crate::store::entry_store::Extension;

const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
/// `ARGV[2]` milliseconds from now.
const EXTEND_FROM_NOW: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
                               redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1";
/// `ARGV[2]` milliseconds more than it has; a lock without an end keeps none.
const EXTEND_FROM_END: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
                               local left = redis.call('PTTL', KEYS[1]) \
                               if left >= 0 then redis.call('PEXPIRE', KEYS[1], left + ARGV[2]) end return 1";

impl TieredStore {
    pub(crate) fn plan_acquire(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<Step<bool>> {
        let mut command = on_key("SET", key);
        command.arg(wire::encode_token(py, token)?).arg("NX");
        if expires_at != Timestamp::NEVER {
            command
                .arg("PX")
                .arg(whole_millis(now.time_left(expires_at)).max(1));
        }
        let read = |_: Python<'_>, reader: &mut Reader| reader.is_done();
        let plan = self.plan_write(py, vec![key.to_vec()], single(command, key, false), read, || {
            Ok(false)
        });
        Ok(plan.into())
    }

    pub(crate) fn plan_release(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        token: &str,
    ) -> PyResult<Step<bool>> {
        let mut command = script(RELEASE, key);
        command.arg(wire::encode_token(py, token)?);
        Ok(self.plan_lock_script(py, key, command))
    }

    pub(crate) fn plan_holds(&'static self, py: Python<'_>, key: &[u8], token: &str) -> PyResult<Step<bool>> {
        let token = wire::encode_token(py, token)?;
        let request = single(on_key("GET", key), key, true);
        let plan = Plan::new(request, move |py, outcome| {
            let found = outcome.and_then(|replies| Reader::new(replies).value());
            match found {
                Ok(value) => Ok(value == nearcache_remote::Value::BulkString(token)),
                Err(error) => self.on_failure(py, &error, || Ok(false)),
            }
        });
        Ok(plan.into())
    }

    pub(crate) fn plan_extend(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        token: &str,
        extension: Extension,
    ) -> PyResult<Step<bool>> {
        let (text, seconds) = match extension {
            Extension::FromNow(seconds) => (EXTEND_FROM_NOW, seconds),
            Extension::FromEnd(seconds) => (EXTEND_FROM_END, seconds),
        };
        let mut command = script(text, key);
        command.arg(wire::encode_token(py, token)?).arg(millis(seconds));
        Ok(self.plan_lock_script(py, key, command))
    }

    fn plan_lock_script(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        command: nearcache_remote::Cmd,
    ) -> Step<bool> {
        let read = |_: Python<'_>, reader: &mut Reader| Ok(reader.number()? > 0);
        self.plan_write(py, vec![key.to_vec()], single(command, key, false), read, || {
            Ok(false)
        })
        .into()
    }
}

/// Returns seconds as whole milliseconds, away from zero, within what a server accepts.
#[allow(clippy::cast_possible_truncation)] // clamped
fn millis(seconds: f64) -> i64 {
    const MOST: f64 = 9_007_199_254_740_992.0; // 2^53
    (seconds * 1e3).ceil().clamp(-MOST, MOST) as i64
}
