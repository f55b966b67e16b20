//! Django's `cache` and `caches`, looked up without running Python code.
//!
//! `cache.get` on Django's proxy runs `ConnectionProxy.__getattr__`, `CacheHandler.__getitem__` and two `__getattr__` of
//! asgiref's `Local` under a lock: ten times what the `get` itself takes. This module makes subclasses of both types with
//! the same layout. Their look-up reads the context variable in which `Local` keeps its values. Whatever is not as it was
//! known when this was written (another type of handler or storage, another thread's values, no connection yet) is left to
//! Django's own code, so the result is always Django's.
//!
//! - this file: the two types and their slots;
//! - `repeated_lookup`: `cache.name` for a name that the thread has looked up before;
//! - `attribute`: `cache.name` in every case;
//! - `handler`: `caches[alias]`;
//! - `subclasses`: the two types, once they are made;
//! - `thread_cache`: what each thread keeps of its last look-up;
//! - `method`: looking up a name on a backend;
//! - `python`: the C API behind all this, as safe functions.
//!
//! The types are made from specifications and not as `PyO3` classes, because they have Python classes as bases and must
//! have their layout. Then Django's own objects can be given these types (`object.__setattr__(cache, "__class__", ...)`).
#![allow(unsafe_code)]

mod attribute;

mod handler;
mod method;
mod python;
mod repeated_lookup;
mod subclasses;
mod thread_cache;

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use attribute::attribute;
use handler::HandlerTypes;
use python::OrRaised;
use repeated_lookup::repeated_lookup;
use subclasses::{FAST_TYPES, FastTypes};

/// Returns the fast subclasses of ``ConnectionProxy`` and ``CacheHandler``. They are made once in a process.
#[pyfunction]
pub(crate) fn fast_types<'py>(
    proxy: &Bound<'py, PyType>,
    handler: &Bound<'py, PyType>,
    find_place: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyType>)> {
    let py = proxy.py();
    let fast = FAST_TYPES.get_or_make(|| {
        let fast_handler = subclass(c"nearcache.django.proxy.CacheHandler", handler, GETITEM)?;
        Ok(FastTypes {
            proxy: subclass(c"nearcache.django.proxy.CacheProxy", proxy, GETATTR)?.unbind(),
            handlers: HandlerTypes::new(handler, &fast_handler, find_place),
        })
    })?;
    Ok((
        fast.proxy.bind(py).clone(),
        fast.handlers.fast_type().bind(py).clone(),
    ))
}

/// The number of a type's slot, and the function in it.
type Slot = (i32, *mut c_void);
const GETATTR: Slot = (
    ffi::Py_tp_getattro,
    get_attribute as ffi::getattrofunc as *mut c_void,
);
const GETITEM: Slot = (ffi::Py_mp_subscript, get_item as ffi::binaryfunc as *mut c_void);

/// Makes a subclass with the same layout and one slot of its own.
fn subclass<'py>(
    name: &'static CStr,
    base: &Bound<'py, PyType>,
    (slot, pfunc): Slot,
) -> PyResult<Bound<'py, PyType>> {
    let mut slots = [
        ffi::PyType_Slot { slot, pfunc },
        ffi::PyType_Slot {
            slot: 0,
            pfunc: std::ptr::null_mut(),
        },
    ];
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: 0,
        itemsize: 0,
        #[allow(clippy::cast_possible_truncation)] // both flags are among the lower bits
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE) as u32,
        slots: slots.as_mut_ptr(),
    };
    let py = base.py();
    let bases = PyTuple::new(py, [base])?;
    // SAFETY: the specification and its slots live through the call, which copies them; the name is static. The constants
    // `GETATTR` and `GETITEM` coerce each function to the type of its slot. The function returns a new reference, or null
    // with an exception set.
    let made = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()))
    }?;
    Ok(made.cast_into::<PyType>()?)
}

/// The slot for `proxy.name`.
unsafe extern "C" fn get_attribute(slf: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a slot from an attached thread, with objects that it keeps alive during the call.
    let (slf, name) = unsafe { arguments(&slf, &name) };
    run_slot(|| repeated_lookup(slf, name).unwrap_or_else(|| or_raised(slf.py(), attribute(slf, name))))
}

/// The slot for `handler[alias]`.
unsafe extern "C" fn get_item(slf: *mut ffi::PyObject, alias: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as in `get_attribute`.
    let (slf, alias) = unsafe { arguments(&slf, &alias) };
    run_slot(|| {
        let found = match FAST_TYPES.get() {
            Some(fast) => fast.handlers.connection(slf, alias),
            None => Err(PyAttributeError::new_err("the types are still being made")),
        };
        or_raised(slf.py(), found)
    })
}

/// Returns the arguments of a slot as objects.
///
/// # Safety
///
/// Both are live objects for as long as they are borrowed, and the thread is attached to the interpreter.
unsafe fn arguments<'a, 'py>(
    one: &'a *mut ffi::PyObject,
    other: &'a *mut ffi::PyObject,
) -> (&'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>) {
    // SAFETY: the caller's promise.
    unsafe {
        let py = Python::assume_attached();
        (Bound::ref_from_ptr(py, one), Bound::ref_from_ptr(py, other))
    }
}

fn or_raised<'py>(py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> OrRaised<'py> {
    result.map_err(|error| error.restore(py)).ok()
}

/// Runs the body of a slot. A panic, which must not unwind into C, becomes an exception.
fn run_slot<'py>(body: impl FnOnce() -> OrRaised<'py>) -> *mut ffi::PyObject {
    let result = catch_unwind(AssertUnwindSafe(body));
    result
        .unwrap_or_else(|_| {
            // SAFETY: the interpreter calls slots from attached threads only.
            let py = unsafe { Python::assume_attached() };
            PyRuntimeError::new_err(
                "nearcache: an internal error in the look-up of a cache, please report it",
            )
            .restore(py);
            None
        })
        .map_or(std::ptr::null_mut(), Bound::into_ptr)
}
