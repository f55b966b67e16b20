//! An attribute of a proxy that was found before, found again.
//!
//! This is what nearly all calls come to, so whatever is out of the ordinary is left to the others, and what is passed on fits
//! registers: a `PyResult` is as large as its error, and to move it about takes as long as a look-up.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::latest::Latest;
use super::{FAST, Fast, OrRaised, content_of, entry, is_exactly};
use crate::objects::interned;

/// The connection's attribute, if its name is one of those kept, and the connection the one that is kept.
pub(super) fn attribute<'py>(slf: &Bound<'py, PyAny>, name: &Bound<'py, PyAny>) -> Option<OrRaised<'py>> {
    let fast = FAST.get()?;
    if !is_exactly(slf, &fast.proxy) {
        return None;
    }
    Latest::look(slf.py(), |latest| {
        let place = latest.place_of(name)?;
        if is_current(fast, slf, latest)? {
            latest.method(slf.py(), place)
        } else {
            None
        }
    })
}

/// Whether a proxy stands for the connection that is kept.
fn is_current(fast: &Fast, proxy: &Bound<'_, PyAny>, latest: &Latest) -> Option<bool> {
    let content = content_of(proxy)?;
    if !fast.is_plain(proxy, &content) {
        return None;
    }
    let (handler, alias) = handler_and_alias(&content)?;
    let local = fast.handlers.local_of(&handler)?;
    Some(latest.is_current(&local, &alias))
}

/// Of a proxy whose attributes these are. Django sets them in this order, and to step through them takes less than to look
/// them up.
fn handler_and_alias<'py>(content: &Bound<'py, PyDict>) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = content.py();
    let names = (interned!(py, "_connections").ok()?, interned!(py, "_alias").ok()?);
    // Where another thread may change the dictionary between the steps they are not taken.
    if cfg!(Py_GIL_DISABLED) {
        return Some((entry(content, names.0)?, entry(content, names.1)?));
    }
    let mut position = 0;
    let mut step = |name: &Bound<'_, _>| {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: it is a dictionary; two borrowed references are stored if there is an entry.
        unsafe {
            let any = ffi::PyDict_Next(content.as_ptr(), &raw mut position, &raw mut key, &raw mut value);
            (any != 0 && key == name.as_ptr()).then(|| Bound::from_borrowed_ptr(py, value))
        }
    };
    Some((step(names.0)?, step(names.1)?))
}
