//! Walking over the keys on the servers, by SCAN.

use std::sync::atomic::Ordering::Relaxed;
use std::vec::IntoIter;

use nearcache_remote::{Error, Request, Route, Value, cmd};
use pyo3::prelude::*;

use super::plan::{Plan, Step};
use super::requests::{Reader, unexpected};
use super::tiered_store::TieredStore;
use crate::context::CallContext;
use crate::keys::encode;
use crate::memory::{concat, push, vec};
use crate::objects::interned;
use crate::store::entry_store::{ScanPattern, ScanScope, StoredKey};

/// How many keys a server looks at for one reply. A server does nothing else meanwhile, for about half a millisecond.
const COUNT: usize = 1000;

/// An iterator over the keys on all primaries that may match a pattern. A key may come more than once.
pub(crate) struct RemoteKeys {
    store: &'static TieredStore,
    /// With `All`, a key comes also if only a name beside its entry is there.
    scope: ScanScope,
    pattern: Vec<u8>,
    /// The primary that is being read, and where in it; `None` at its end.
    primary: usize,
    cursor: Option<u64>,
    /// Those of the last page that were not returned yet.
    keys: IntoIter<Vec<u8>>,
}

impl RemoteKeys {
    pub(super) fn new(
        store: &'static TieredStore,
        scope: ScanScope,
        pattern: &ScanPattern<'_>,
    ) -> PyResult<Self> {
        // Without an attribute of the key it is matched by the caller: the server's `?` is a byte, not a character.
        let name = if pattern.name.iter().any(|byte| b"?[\\".contains(byte)) {
            b"*"
        } else {
            pattern.name
        };
        let pattern = match scope {
            ScanScope::Live => concat([&escaped(pattern.prefix)?, name])?,
            ScanScope::All => store.pattern_with_names_beside(pattern.prefix, name)?,
        };
        Ok(Self::with_pattern(store, scope, pattern))
    }

    fn with_pattern(store: &'static TieredStore, scope: ScanScope, pattern: Vec<u8>) -> Self {
        Self {
            store,
            scope,
            pattern,
            primary: 0,
            cursor: Some(0),
            keys: Vec::new().into_iter(),
        }
    }

    /// Returns the keys of a page of names.
    fn keys_of(&self, page: Vec<Vec<u8>>) -> PyResult<Vec<Vec<u8>>> {
        let mut keys = vec(page.len())?;
        for stored in page {
            if !self.store.is_beside(&stored) {
                push(&mut keys, stored)?;
            } else if self.scope == ScanScope::All {
                self.store.push_keys_of(&stored, &mut keys)?;
            }
        }
        Ok(keys)
    }

    /// Returns the next names; `None` at the end. A page may be empty.
    fn next_page(&mut self, py: Python<'_>) -> PyResult<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = self.cursor else {
            return Ok(None);
        };
        let mut command = cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(&self.pattern)
            .arg("COUNT")
            .arg(COUNT);
        let mut request = Request::default();
        request.add(command, Route::Primary(self.primary), true);
        let outcome = self.store.request(py, request)?;
        let page = outcome
            .and_then(|replies| Reader::new(replies).value())
            .and_then(read_page);
        let (next, keys) = match page {
            Ok(page) => page,
            Err(error) => return self.end_by(py, &error),
        };
        self.cursor = Some(next);
        if next == 0 {
            self.primary += 1;
            // The servers are known since the first reply: this does not wait.
            match self.store.remote.primaries() {
                Ok(primaries) if self.primary < primaries => {}
                Ok(_) => self.cursor = None,
                Err(error) => return self.end_by(py, &error),
            }
        }
        Ok(Some(keys))
    }

    /// Ends the walk after a failure, if `ON_ERROR` says so.
    fn end_by(&mut self, py: Python<'_>, error: &Error) -> PyResult<Option<Vec<Vec<u8>>>> {
        self.cursor = None;
        self.store.on_failure(py, error, || Ok(None))
    }
}

impl Iterator for RemoteKeys {
    type Item = PyResult<StoredKey>;

    /// Returns the next key. Attaches to Python, because greenlets wait in it.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.keys.next() {
                return Some(Ok(key.into_boxed_slice()));
            }
            let page = Python::attach(|py| self.next_page(py));
            match page.and_then(|page| page.map(|page| self.keys_of(page)).transpose()) {
                Ok(Some(keys)) => self.keys = keys.into_iter(),
                Ok(None) => return None,
                Err(raised) => return Some(Err(raised)),
            }
        }
    }
}

impl TieredStore {
    /// Deletes all keys with the prefix, or the whole database, by `OPTIONS["CLEAR"]`.
    pub(super) fn clear_all(&'static self, context: &CallContext<'_, '_>) -> PyResult<()> {
        let py = context.py();
        self.invalidate_all();
        self.flights.end_all(py);
        self.costs.forget_all();
        let cleared = if self.flush_database {
            self.flush(py)
        } else {
            self.delete_prefix(py, &key_prefix(context)?)
        };
        self.invalidate_all();
        self.flights.end_all(py);
        if let Some(near) = &self.near {
            near.copies.clear();
        }
        cleared
    }

    /// Returns the pattern of the stored keys with a prefix and a name, and of all names that they have beside their entries.
    ///
    /// It matches others, too. The names begin with the cache's prefix and end with the key, or with the key in braces. So one
    /// pattern is enough; for a second one, the server would look at every key again.
    fn pattern_with_names_beside(&self, prefix: &[u8], name: &[u8]) -> PyResult<Vec<u8>> {
        let (begin, rest) = match prefix.strip_prefix(self.key_prefix.as_slice()) {
            Some(rest) => (self.key_prefix.as_slice(), rest),
            // The prefix of the instance was assigned. The names beside its keys begin with the cache's.
            None => (b"".as_slice(), prefix),
        };
        let end: &[u8] = if name.ends_with(b"*") { b"" } else { b"*" };
        concat([&escaped(begin)?, b"*".as_slice(), &escaped(rest)?, name, end])
    }

    fn invalidate_all(&self) {
        if let Some(near) = &self.near {
            near.state.invalidate_all();
        }
    }

    fn delete_prefix(&'static self, py: Python<'_>, prefix: &[u8]) -> PyResult<()> {
        let pattern = concat([&escaped(prefix)?, b"*"])?;
        let mut keys = RemoteKeys::with_pattern(self, ScanScope::All, pattern);
        while let Some(page) = keys.next_page(py)? {
            if !page.is_empty() {
                self.run(py, self.plan_unlink(&page))?;
            }
        }
        Ok(())
    }

    /// Deletes keys of any kind.
    fn plan_unlink(&'static self, keys: &[Vec<u8>]) -> Step<()> {
        let mut request = Request::default();
        self.unlink(keys, &mut request);
        Plan::new(request, move |py, outcome| {
            let deleted = outcome.and_then(|replies| {
                let mut reader = Reader::new(replies);
                let mut deleted = 0;
                for _ in 0..reader.len() {
                    deleted += u64::try_from(reader.number()?).unwrap_or(0);
                }
                Ok(deleted)
            });
            match deleted {
                Ok(deleted) => {
                    self.counts.deletes.fetch_add(deleted, Relaxed);
                    Ok(())
                }
                Err(error) => self.on_failure(py, &error, || Ok(())),
            }
        })
        .into()
    }

    fn flush(&'static self, py: Python<'_>) -> PyResult<()> {
        let mut primary = 0;
        loop {
            let mut request = Request::default();
            request.add(cmd("FLUSHDB"), Route::Primary(primary), true);
            let outcome = self.request(py, request)?;
            if let Err(error) = outcome.and_then(|replies| Reader::new(replies).value()) {
                self.on_failure(py, &error, || Ok(()))?;
            }
            primary += 1;
            // The request has asked for the servers: this does not wait, unless none was reached.
            if primary >= py.detach(|| self.remote.primaries()).unwrap_or(0) {
                return Ok(());
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(
            self.remote.config().endpoints,
            nearcache_remote::Endpoints::Cluster(_)
        )
    }
}

/// Returns what the keys of a backend instance begin with, whatever their version. The attribute may have been assigned.
fn key_prefix(context: &CallContext<'_, '_>) -> PyResult<Vec<u8>> {
    let prefix = context.backend.getattr(interned!(context.py(), "key_prefix")?)?;
    concat([&encode(&prefix.str()?)?, b":"])
}

/// Escapes what has a meaning in a pattern.
fn escaped(text: &[u8]) -> PyResult<Vec<u8>> {
    let mut escaped = vec(text.len() * 2)?;
    for &byte in text {
        if b"*?[]^-\\".contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    Ok(escaped)
}

/// Reads SCAN's reply: the next cursor, and keys.
fn read_page(value: Value) -> Result<(u64, Vec<Vec<u8>>), Error> {
    let Value::Array(parts) = value else {
        return Err(unexpected(&value, "a page of keys"));
    };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(cursor)), Some(Value::Array(keys))) = (parts.next(), parts.next()) else {
        return Err(unexpected(&Value::Nil, "a page of keys"));
    };
    let cursor = String::from_utf8_lossy(&cursor)
        .parse()
        .map_err(|_| unexpected(&Value::Nil, "a cursor"))?;
    let keys = keys.into_iter().filter_map(|key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    });
    Ok((cursor, keys.collect()))
}
