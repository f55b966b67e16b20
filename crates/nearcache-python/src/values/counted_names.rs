//! The dict keys whose memory has been counted.
//!
//! Rows and settings have the same few keys, and each of those is one object however many dicts it stands in: the compiler
//! and the database driver share it. Counted in every dict, such keys would make up half of a small dict's weight. So each is
//! counted once in a process. (Python's own mark of a shared str, its interned bit, cannot be read from Rust on every
//! version, and a driver's names need not have it.)
//!
//! Concurrency: a slot holds a reference of its own, so no other object can have the address that is in it. Addresses are
//! only compared, never followed, so no lock is needed, with or without the GIL.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// More than a program has names for fields. What shares a slot is counted again, which is harmless.
const SLOTS: usize = 1024;
/// Objects are aligned to 16 bytes.
const ALIGNMENT_BITS: u32 = 4;

static NAMES: [AtomicPtr<ffi::PyObject>; SLOTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS];

/// Returns whether a name has been counted, and remembers it. Keeps the name alive until another one takes its slot.
pub(super) fn contains_or_insert(name: &Bound<'_, PyString>) -> bool {
    let address = name.as_ptr();
    let slot = &NAMES[(address as usize >> ALIGNMENT_BITS) % SLOTS];
    if slot.load(Ordering::Relaxed) == address {
        return true;
    }
    let previous = slot.swap(name.clone().into_ptr(), Ordering::AcqRel);
    // SAFETY: null, or a reference that the slot owned and gave up by the swap.
    drop(unsafe { Bound::from_owned_ptr_or_opt(name.py(), previous) });
    false
}
