//! Locks for users: entries with the holder's process and token. A lock whose holder's process has died is free.

use nearcache::shared::{EntryInfo, NewEntry, SharedCache};
use nearcache::{Condition, Timestamp};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::super::entry_store::Extension;
use super::access::{SharedStore, WriteFailure};
use crate::clock::Now;
use crate::context::CallContext;
use crate::errors::error;
use crate::memory::no_memory;
use crate::values::bytes::{decode_lock, encode_lock};

impl SharedStore {
    pub(super) fn acquire(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool> {
        let py = context.py();
        let lock = |cache: &SharedCache<Now>, stamp| {
            let (kind, bytes) = encode_lock(cache.process_id()?, token)?;
            let entry = NewEntry::new(&bytes).kind(kind).expires_at(expires_at);
            match stamp {
                None => cache.insert_entry_if(key, entry, Condition::IfAbsent),
                Some(stamp) => cache.insert_entry_if_unchanged(key, entry, stamp),
            }
        };
        match self.write(py, now, |cache| lock(cache, None)) {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            Err(WriteFailure::Rejected(rejected)) => {
                return Err(error::<PyValueError>(
                    py,
                    format_args!("there is no room for this lock: {rejected}"),
                ));
            }
            Err(WriteFailure::Raised(raised)) => return Err(raised),
        }
        let mut value = Vec::new();
        let found = self
            .peek_bytes(context, key, now, &mut value)
            .map_err(no_memory)?;
        let abandoned = found.and_then(|found| {
            let (holder, _) = decode_lock(found.kind, &value)?;
            self.with(now, |cache| !cache.is_alive(holder))
                .then_some(found.stamp)
        });
        match abandoned {
            Some(stamp) => self
                .write(py, now, |cache| lock(cache, Some(stamp)))
                .map_err(|failure| failure.into_exception(py)),
            None => Ok(false),
        }
    }

    pub(super) fn release(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let held = |kind, value: &[u8]| is_held(kind, value, token);
        self.write(context.py(), context.now()?, |cache| cache.remove_if(key, held))
            .map_err(|failure| failure.into_exception(context.py()))
    }

    pub(super) fn holds(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool> {
        let held = self.held_lock(context, key, token, context.now()?, &mut Vec::new())?;
        Ok(held.is_some())
    }

    pub(super) fn extend(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        extension: Extension,
        now: Now,
    ) -> PyResult<bool> {
        let mut value = Vec::new();
        while let Some(found) = self.held_lock(context, key, token, now, &mut value)? {
            let entry = NewEntry::new(&value)
                .kind(found.kind)
                .expires_at(extension.new_end(found.expires_at, now));
            let extended = self.write(context.py(), now, |cache| {
                cache.insert_entry_if_unchanged(key, entry, found.stamp)
            });
            if extended.map_err(|failure| failure.into_exception(context.py()))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies a lock's bytes; returns `None` if it is not held with this token.
    fn held_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        now: Now,
        value: &mut Vec<u8>,
    ) -> PyResult<Option<EntryInfo>> {
        let found = self.peek_bytes(context, key, now, value).map_err(no_memory)?;
        Ok(found.filter(|found| is_held(found.kind, value, token)))
    }
}

fn is_held(kind: u8, value: &[u8], token: &str) -> bool {
    decode_lock(kind, value).is_some_and(|(_, held)| held == token.as_bytes())
}
