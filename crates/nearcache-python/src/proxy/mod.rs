//! Django's `cache` and `caches`, found without running Python code.
//!
//! `cache.get` on Django's proxy runs `ConnectionProxy.__getattr__`, `CacheHandler.__getitem__` and two `__getattr__` of asgiref's
//! `Local` under a lock: ten times what the `get` itself takes. Here are subclasses of both types with the same content, whose
//! look-up reads where `Local` keeps its values: a context variable. Whatever is not as it was known when this was written
//! (another type of handler or storage, another thread's values, no connection yet) is asked of Django's own code, so the
//! answer is always Django's, only sooner.
//!
//! - here: the two types, and what they do for an attribute and an item;
//! - `again`: the same for an attribute found before, which nearly all are;
//! - `connections`: what a handler gives for an alias;
//! - `method`: what a backend gives for a name;
//! - `latest`: what a thread keeps of both.
//!
//! The types are made from specifications and not as `PyO3` classes, since they have Python classes as bases and must have their
//! layout: that is what lets Django's own objects take them (`object.__setattr__(cache, "__class__", ...)`).
#![allow(unsafe_code)]

mod again;
mod connections;
mod latest;
mod method;

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::nonblocking_once::NonblockingOnce;
use crate::objects::interned;
use connections::Handlers;
use method::Found;

/// What there is once in a process.
struct Fast {
    proxy: Py<PyType>,
    handlers: Handlers,
}

static FAST: NonblockingOnce<Fast> = NonblockingOnce::new();

/// The subclasses of `ConnectionProxy` and `CacheHandler`. Made once in a process.
#[pyfunction]
pub(crate) fn fast_types<'py>(
    proxy: &Bound<'py, PyType>,
    handler: &Bound<'py, PyType>,
    find_place: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyType>)> {
    let py = proxy.py();
    let fast = FAST.get_or_make(|| {
        let fast_handler = subclass(c"nearcache.django.proxy.CacheHandler", handler, GETITEM)?;
        Ok(Fast {
            proxy: subclass(c"nearcache.django.proxy.CacheProxy", proxy, GETATTR)?.unbind(),
            handlers: Handlers::new(handler, &fast_handler, find_place),
        })
    })?;
    Ok((
        fast.proxy.bind(py).clone(),
        fast.handlers.fast_type().bind(py).clone(),
    ))
}

/// A slot of a type, by its number, and the function in it.
type Slot = (i32, *mut c_void);
const GETATTR: Slot = (
    ffi::Py_tp_getattro,
    get_attribute as ffi::getattrofunc as *mut c_void,
);
const GETITEM: Slot = (ffi::Py_mp_subscript, get_item as ffi::binaryfunc as *mut c_void);

/// A subclass with the same layout and one slot of its own.
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
        #[allow(clippy::cast_possible_truncation)] // these two are among the lower bits
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE) as u32,
        slots: slots.as_mut_ptr(),
    };
    let py = base.py();
    let bases = PyTuple::new(py, [base])?;
    // SAFETY: the specification and its slots are alive for the call, which copies them; the name is static. The function in
    // the slot has the slot's signature (see `Slot`'s constants). A new reference or null comes back.
    let made = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()))
    }?;
    Ok(made.cast_into::<PyType>()?)
}

/// `proxy.name`.
unsafe extern "C" fn get_attribute(slf: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python calls it with the GIL held (or attached), and with two objects that live through the call.
    let (slf, name) = unsafe { borrowed(&slf, &name) };
    slot(|| again::attribute(slf, name).unwrap_or_else(|| or_raised(slf.py(), attribute(slf, name))))
}

/// `handler[alias]`.
unsafe extern "C" fn get_item(slf: *mut ffi::PyObject, alias: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    let (slf, alias) = unsafe { borrowed(&slf, &alias) };
    slot(|| {
        let found = match FAST.get() {
            Some(fast) => fast.handlers.connection(slf, alias),
            None => Err(PyAttributeError::new_err("the types are still being made")),
        };
        or_raised(slf.py(), found)
    })
}

/// # Safety
///
/// Both must be objects that are alive, and the thread attached to the interpreter.
unsafe fn borrowed<'a, 'py>(
    one: &'a *mut ffi::PyObject,
    other: &'a *mut ffi::PyObject,
) -> (&'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>) {
    // SAFETY: as the caller says.
    unsafe {
        let py = Python::assume_attached();
        (Bound::ref_from_ptr(py, one), Bound::ref_from_ptr(py, other))
    }
}

/// What Python's functions return: an object, or nothing, and an exception is raised. Unlike a `PyResult` it fits a register.
type OrRaised<'py> = Option<Bound<'py, PyAny>>;

fn or_raised<'py>(py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> OrRaised<'py> {
    result.map_err(|error| error.restore(py)).ok()
}

/// Does the work of a slot. A panic, which must not leave a foreign function, becomes an exception.
fn slot<'py>(work: impl FnOnce() -> OrRaised<'py>) -> *mut ffi::PyObject {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| {
        // SAFETY: the thread is attached, since a slot is called.
        let py = unsafe { Python::assume_attached() };
        PyRuntimeError::new_err("nearcache: a bug in the look-up of a cache").restore(py);
        None
    })
    .map_or(std::ptr::null_mut(), Bound::into_ptr)
}

/// What Django's proxy gives for an attribute: its own, and for what it has not, the connection's.
#[inline(never)] // its errors need a large frame, which what comes before it must not pay for
fn attribute<'py>(slf: &Bound<'py, PyAny>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let content = content_of(slf).ok_or_else(without_content)?;
    let is_backends = |name: &Bound<'_, PyString>| name.to_str().is_ok_and(|name| !name.starts_with('_'));
    let is_plain = FAST.get().is_some_and(|fast| fast.is_plain(slf, &content))
        && name.cast_exact().is_ok_and(is_backends);
    if !is_plain {
        // SAFETY: both are alive; a new reference or null comes back.
        let own = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetAttr(slf.as_ptr(), name.as_ptr()))
        };
        match own {
            Err(error) if error.is_instance_of::<PyAttributeError>(py) => {}
            decided => return decided,
        }
    }
    let place = |key| content.get_item(key)?.ok_or_else(without_content);
    let (handler, alias) = (
        place(interned!(py, "_connections")?)?,
        place(interned!(py, "_alias")?)?,
    );
    let connection = connection(&handler, &alias)?;
    let name = name.cast::<PyString>()?;
    let found = Found::of(&connection, name);
    let bound = if is_plain {
        found.bound_and_kept(&connection, name)
    } else {
        found.bound(&connection)
    };
    bound.ok_or_else(|| PyErr::fetch(py))
}

fn without_content() -> PyErr {
    PyAttributeError::new_err("the proxy was not initialised")
}

/// What a handler gives for an alias; any handler, since anyone may make a proxy of one.
fn connection<'py>(handler: &Bound<'py, PyAny>, alias: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match FAST.get() {
        Some(fast) if fast.handlers.know(handler) => fast.handlers.connection(handler, alias),
        _ => handler.get_item(alias),
    }
}

impl Fast {
    /// Whether a proxy with this content has nothing but what Django gives it. The type has no attribute that does not begin
    /// with an underscore (a subclass may), and the instance holds its handler and alias, unless somebody went behind its back.
    fn is_plain(&self, proxy: &Bound<'_, PyAny>, content: &Bound<'_, PyDict>) -> bool {
        is_exactly(proxy, &self.proxy) && content.len() == 2
    }
}

/// Whether an object is of this very type.
fn is_exactly(object: &Bound<'_, PyAny>, kind: &Py<PyType>) -> bool {
    object.get_type_ptr().cast() == kind.as_ptr()
}

/// The attributes of an instance itself, if it has room for any.
fn content_of<'py>(instance: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: the instance is alive; a new reference to a dictionary comes back, or null with an error.
    unsafe {
        let content = ffi::PyObject_GenericGetDict(instance.as_ptr(), std::ptr::null_mut());
        if content.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(Bound::from_owned_ptr(instance.py(), content).cast_into_unchecked())
    }
}

/// A dictionary's value for a name, if it has one and that can be told.
fn entry<'py>(content: &Bound<'py, PyDict>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: both are alive; a new reference or null is stored.
    unsafe {
        if ffi::compat::PyDict_GetItemRef(content.as_ptr(), name.as_ptr(), &raw mut value) < 0 {
            ffi::PyErr_Clear();
        }
        Bound::from_owned_ptr_or_opt(content.py(), value)
    }
}
