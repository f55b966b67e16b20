//! The side key of an entry: what it cost to compute, and its value for when it is stale.
//!
//! The entry itself is what Django's `RedisCache` would write, so its key is missing when it has expired. The side key lives
//! longer, by the stale time that is in it. So what it has left says, by the server's clock, how long the entry has been
//! expired, and whether it has at all: a key that is missing earlier was deleted or evicted, and its old value is not used.

use std::time::Duration;

use nearcache_remote::{Error, Request, Route, Value};
use pyo3::prelude::*;

use super::names::Beside;
use super::requests::{Reader, on_key, unexpected};
use super::tiered_store::TieredStore;
use super::wire;

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

/// An entry's old value, as the server has it.
pub(super) struct StaleValue {
    bytes: Vec<u8>,
    /// How long ago the entry expired.
    age: Duration,
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
    /// Reads the replies to what [`TieredStore::ask_stale`] added. Returns the value if its entry has expired.
    pub(super) fn read(reader: &mut Reader) -> Result<Option<Self>, Error> {
        let value = reader.value()?;
        let left = reader.number()?;
        let bytes = match value {
            Value::Nil => return Ok(None),
            Value::BulkString(bytes) => bytes,
            other => return Err(unexpected(&other, "a value")),
        };
        let found = Header::decode(&bytes).zip(u64::try_from(left).ok());
        let age = found.and_then(|(header, left)| header.stale_millis.checked_sub(left));
        Ok(age.filter(|_| bytes.len() > Header::LEN).map(|age| Self {
            age: Duration::from_millis(age),
            bytes,
        }))
    }

    /// Returns the value, if its entry has expired at most `stale` seconds ago.
    pub(super) fn decode(self, py: Python<'_>, stale: f64) -> PyResult<Option<Py<PyAny>>> {
        if self.age.as_secs_f64() > stale {
            return Ok(None);
        }
        wire::decode(py, &self.bytes[Header::LEN..]).map(Some)
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
}
