//! Names whose memory has been counted, in any value of this process: dict keys, and texts that every model refers to.
//!
//! Rows and settings have the same few keys, and each key is one object, shared by all the dicts: by the compiler or the
//! database driver. If every dict counted them, such keys would be half of a small dict's weight. So each is counted once
//! in a process. (Python's own mark of a shared `str`, its interned bit, cannot be read from Rust on every version, and a
//! driver's names need not have it.)
//!
//! Soundness: a slot owns a reference to the object whose address it contains, so no other object can have that address. An
//! address is compared, and followed only by the thread that took it out of the slot. So no lock is needed, with or without
//! the GIL.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// More than a program has names of fields. Two names in one slot are counted again, which is harmless.
const SLOTS: usize = 1024;
/// Objects are aligned to 16 bytes.
const ALIGNMENT_BITS: u32 = 4;

static NAMES: [AtomicPtr<ffi::PyObject>; SLOTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS];

/// Returns whether an object is a name that has been counted.
pub(super) fn contains(name: &Bound<'_, PyAny>) -> bool {
    slot(name).load(Ordering::Relaxed) == name.as_ptr()
}

/// Marks a name as counted. Keeps it alive until another one takes its slot.
pub(super) fn insert(name: &Bound<'_, PyString>) {
    let previous = slot(name).swap(name.clone().into_ptr(), Ordering::AcqRel);
    // SAFETY: null, or an owned reference: `into_ptr` gave it to the slot, and the swap took it out, for this thread alone.
    drop(unsafe { Bound::from_owned_ptr_or_opt(name.py(), previous) });
}

fn slot(name: &Bound<'_, PyAny>) -> &'static AtomicPtr<ffi::PyObject> {
    &NAMES[(name.as_ptr() as usize >> ALIGNMENT_BITS) % SLOTS]
}
