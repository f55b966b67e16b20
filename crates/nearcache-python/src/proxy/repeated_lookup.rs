//! `cache.name` for a name that this thread has looked up before, as it nearly always is.
//!
//! Everything unusual is left to the complete look-up ([`attribute`](mod@super::attribute)). What is returned fits
//! registers: a `PyResult` is as large as its error, and moving it takes as long as a look-up.

use pyo3::prelude::*;

use super::python::{OrRaised, first_two_items, instance_dict, is_exactly};
use super::subclasses::{FAST_TYPES, FastTypes};
use super::thread_cache::ThreadCache;
use crate::objects::interned;

/// Returns the connection's attribute, if this thread keeps the name and the proxy stands for the connection that it keeps.
pub(super) fn repeated_lookup<'py>(
    proxy: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
) -> Option<OrRaised<'py>> {
    let fast = FAST_TYPES.get()?;
    if !is_exactly(proxy, &fast.proxy) {
        return None;
    }
    ThreadCache::with(proxy.py(), |cache| {
        let index = cache.index_of_method(name)?;
        if is_current(fast, proxy, cache)? {
            cache.method(proxy.py(), index)
        } else {
            None
        }
    })
}

/// Returns whether a proxy stands for the connection that this thread keeps.
fn is_current(fast: &FastTypes, proxy: &Bound<'_, PyAny>, cache: &ThreadCache) -> Option<bool> {
    let py = proxy.py();
    let dict = instance_dict(proxy)?;
    if !fast.is_plain(proxy, &dict) {
        return None;
    }
    // Django sets them in this order.
    let (handler, alias) = first_two_items(
        &dict,
        interned!(py, "_connections").ok()?,
        interned!(py, "_alias").ok()?,
    )?;
    let local = fast.handlers.local_of(&handler)?;
    Some(cache.is_current(&local, &alias))
}
