//! The side key of an entry: what it cost to compute, and its value for when it is stale.
//!
//! The entry itself is what Django's `RedisCache` would write, so its key is missing when it has expired. The side key lives
//! longer, by the stale time that is in it. So what it has left says, by the server's clock, how long the entry has been
//! expired, and whether it has at all: a key that is missing earlier was deleted or evicted, and its old value is not used.
//!
//! After the entry would have expired, the two cannot be told apart any more. So `delete` deletes the side key, and a reader
//! that finds one without its entry too early deletes it. What changes when the entry expires moves the side key with it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nearcache_remote::{Cmd, Error, Request, Route, Value, cmd};
use pyo3::prelude::*;

use super::names::Beside;
use super::requests::{Reader, on_key, single, unexpected};
use super::tiered_store::TieredStore;
use super::wire;

/// Deletes a side key with this header whose entry is missing before it has expired.
const UNLINK_ORPHAN: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('GETRANGE', KEYS[2], 0, 15) == ARGV[1] \
  and redis.call('PTTL', KEYS[2]) > tonumber(ARGV[2]) then return redis.call('UNLINK', KEYS[2]) end return 0";

/// Changes when an entry expires, and the end of its side key, later by the stale time in its header.
const EXPIRE: &str = "\
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 0 end \
local header = redis.call('GETRANGE', KEYS[2], 0, 15) \
if #header == 16 and string.byte(header) == tonumber(ARGV[2]) then \
  local stale = 0 \
  for at = 16, 9, -1 do stale = stale * 256 + string.byte(header, at) end \
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ARGV[1] + stale)) \
end \
return 1";

/// Removes the expiry of an entry, and deletes its side key: the value does not become old any more.
const PERSIST: &str = "\
local done = redis.call('PERSIST', KEYS[1]) \
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('UNLINK', KEYS[2]) end \
return done";

/// The form of this header; a process ignores side keys of another form.
const FORM: u8 = 1;

/// What a side key begins with.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// How long computing took; 0 if it is not known.
    pub(super) cost_micros: u32,
    /// For how long the value may be used after the entry has expired.
    pub(super) stale_millis: u64,
}

/// A side key, as the server has it.
pub(super) struct StaleValue {
    header: Header,
    /// The header and the old value, which is empty if none is kept.
    bytes: Vec<u8>,
    left_millis: u64,
}

impl Header {
    pub(super) const LEN: usize = 16;

    pub(super) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = FORM;
        bytes[4..8].copy_from_slice(&self.cost_micros.to_le_bytes());
        bytes[8..].copy_from_slice(&self.stale_millis.to_le_bytes());
        bytes
    }

    /// Reads the header; `None` if there is none of this form.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<{ Self::LEN }>()?;
        let (_, words) = header.split_first_chunk::<4>()?;
        let (cost, stale) = words.split_first_chunk::<4>()?;
        (header[0] == FORM).then_some(Self {
            cost_micros: u32::from_le_bytes(*cost),
            stale_millis: u64::from_le_bytes(*stale.first_chunk()?),
        })
    }
}

impl StaleValue {
    /// Reads the replies to what [`TieredStore::ask_stale`] added.
    pub(super) fn read(reader: &mut Reader) -> Result<Option<Self>, Error> {
        let value = reader.value()?;
        let left = reader.number()?;
        let bytes = match value {
            Value::Nil => return Ok(None),
            Value::BulkString(bytes) => bytes,
            other => return Err(unexpected(&other, "a value")),
        };
        let found = Header::decode(&bytes).zip(u64::try_from(left).ok());
        Ok(found.map(|(header, left_millis)| Self {
            header,
            bytes,
            left_millis,
        }))
    }

    /// Returns how long ago the entry expired; `None` if it has time left.
    fn age(&self) -> Option<Duration> {
        let millis = self.header.stale_millis.checked_sub(self.left_millis)?;
        Some(Duration::from_millis(millis))
    }
}

impl TieredStore {
    /// Adds the commands that read the old value of a key.
    pub(super) fn ask_stale(&self, key: &[u8], request: &mut Request) -> PyResult<()> {
        let (name, route) = (self.name(key, Beside::Stale)?, Route::key(key));
        request.add(on_key("GET", &name), route, true);
        request.add(on_key("PTTL", &name), route, true);
        Ok(())
    }

    /// Returns the old value of a key that was missed, if its entry has expired at most `stale` seconds ago.
    pub(super) fn old_value(
        &'static self,
        py: Python<'_>,
        key: &[u8],
        found: &StaleValue,
        stale: f64,
    ) -> PyResult<Option<Py<PyAny>>> {
        let Some(age) = found.age() else {
            self.unlink_orphan(key, found.header)?;
            return Ok(None);
        };
        let value = &found.bytes[Header::LEN..];
        if value.is_empty() || age.as_secs_f64() > stale {
            return Ok(None);
        }
        wire::decode(py, value).map(Some)
    }

    /// Deletes a side key without waiting for it, if its entry is missing. If that fails, the next reader does it.
    fn unlink_orphan(&'static self, key: &[u8], header: Header) -> PyResult<()> {
        let mut command = self.script_with_side_key(UNLINK_ORPHAN, key)?;
        command.arg(&header.encode()).arg(header.stale_millis);
        self.remote.start(single(command, key, true), Box::new(drop));
        Ok(())
    }

    /// Returns the command that changes when an entry expires, and its side key with it.
    pub(super) fn expire_command(&self, key: &[u8], millis: u64) -> PyResult<Cmd> {
        if !self.has_side_keys.load(Relaxed) {
            let mut command = on_key("PEXPIRE", key);
            command.arg(millis);
            return Ok(command);
        }
        let mut command = self.script_with_side_key(EXPIRE, key)?;
        command.arg(millis).arg(FORM);
        Ok(command)
    }

    /// Returns the command that removes the expiry of an entry, and its side key.
    pub(super) fn persist_command(&self, key: &[u8]) -> PyResult<Cmd> {
        if self.has_side_keys.load(Relaxed) {
            self.script_with_side_key(PERSIST, key)
        } else {
            Ok(on_key("PERSIST", key))
        }
    }

    /// Returns a script with a key and its side key as a command.
    fn script_with_side_key(&self, text: &str, key: &[u8]) -> PyResult<Cmd> {
        let mut command = cmd("EVAL");
        command
            .arg(text)
            .arg(2)
            .arg(key)
            .arg(self.name(key, Beside::Stale)?);
        Ok(command)
    }
}
