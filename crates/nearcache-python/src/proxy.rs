//! Django's `cache` and `caches`, found without running Python code.
//!
//! `cache.get` on Django's proxy runs `ConnectionProxy.__getattr__`, `CacheHandler.__getitem__` and two `__getattr__` of asgiref's
//! `Local` under a lock: ten times what the `get` itself takes. Here are subclasses of both types with the same content, whose
//! look-up reads where `Local` keeps its values: a context variable. Whatever is not as it was known when this was written
//! (another type of handler or storage, another thread's values, no connection yet) is asked of Django's own code, so the
//! answer is always Django's, only sooner.
//!
//! The types are made from specifications and not as `PyO3` classes, since they have Python classes as bases and must have their
//! layout: that is what lets Django's own objects take them (`object.__setattr__(cache, "__class__", ...)`).
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{PyTypeInfo, intern};

use crate::imported::Imported;

/// What there is once in a process.
struct Fast {
    proxy: Py<PyType>,
    /// The types of handlers whose content is known: Django's and ours.
    handlers: [Py<PyType>; 2],
    /// Tells the context variable of a `Local`, and the type of what is in it.
    find_place: Py<PyAny>,
    /// Where the latest `Local` has its values. Another one comes with other settings, which tests have.
    place: ArcSwapOption<Place>,
}

struct Place {
    local: Py<PyAny>,
    /// `None` if it is not known how to read this one.
    known: Option<(Py<PyAny>, Py<PyAny>)>,
}

static FAST: Imported<Fast> = Imported::new();

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
            handlers: [handler.clone().unbind(), fast_handler.unbind()],
            find_place: find_place.clone().unbind(),
            place: ArcSwapOption::empty(),
        })
    })?;
    let [_, handler] = &fast.handlers;
    Ok((fast.proxy.bind(py).clone(), handler.bind(py).clone()))
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
    slot(slf.py(), || attribute(slf, name))
}

/// `handler[alias]`.
unsafe extern "C" fn get_item(slf: *mut ffi::PyObject, alias: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    let (slf, alias) = unsafe { borrowed(&slf, &alias) };
    slot(slf.py(), || match FAST.get() {
        Some(fast) => fast.connection(slf, alias),
        None => Err(PyAttributeError::new_err("the types are still being made")),
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

/// Does the work of a slot. A panic, which must not leave a foreign function, becomes an exception.
fn slot<'py>(py: Python<'py>, work: impl FnOnce() -> PyResult<Bound<'py, PyAny>>) -> *mut ffi::PyObject {
    let done = catch_unwind(AssertUnwindSafe(work));
    let result = done.unwrap_or_else(|_| {
        Err(PyRuntimeError::new_err(
            "nearcache: a bug in the look-up of a cache",
        ))
    });
    match result {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

/// What Django's proxy gives for an attribute: its own, and for what it has not, the connection's.
fn attribute<'py>(slf: &Bound<'py, PyAny>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let content = content_of(slf)?;
    // The type has no attribute that does not begin with an underscore (a subclass may), and the instance holds its handler
    // and alias, unless somebody went behind its back.
    let is_plain = FAST.get().is_some_and(|fast| slf.get_type().is(&fast.proxy)) && content.len() == 2;
    let is_backends = |name: &Bound<'_, PyString>| name.to_str().is_ok_and(|name| !name.starts_with('_'));
    if !(is_plain && name.cast_exact().is_ok_and(is_backends)) {
        // SAFETY: both are alive; a new reference or null comes back.
        let own = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetAttr(slf.as_ptr(), name.as_ptr()))
        };
        match own {
            Err(error) if error.is_instance_of::<PyAttributeError>(py) => {}
            decided => return decided,
        }
    }
    let place = |key| {
        content
            .get_item(key)?
            .ok_or_else(|| PyAttributeError::new_err("the proxy was not initialised"))
    };
    let (handler, alias) = (place(intern!(py, "_connections"))?, place(intern!(py, "_alias"))?);
    connection(&handler, &alias)?.getattr(name.cast::<PyString>()?)
}

/// What a handler gives for an alias; any handler, since anyone may make a proxy of one.
fn connection<'py>(handler: &Bound<'py, PyAny>, alias: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match FAST.get() {
        Some(fast) if fast.knows(handler) => fast.connection(handler, alias),
        _ => handler.get_item(alias),
    }
}

impl Fast {
    fn knows(&self, handler: &Bound<'_, PyAny>) -> bool {
        let kind = handler.get_type();
        self.handlers.iter().any(|known| kind.is(known))
    }

    /// What Django's handler gives for an alias.
    fn connection<'py>(
        &self,
        handler: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.knows(handler)
            && let Some(found) = self.look_up(handler, alias)?
        {
            return Ok(found);
        }
        let [django, _] = &self.handlers;
        let method = django
            .bind(handler.py())
            .getattr(intern!(handler.py(), "__getitem__"))?;
        method.call1((handler, alias))
    }

    /// The connection, if it is there and where it is expected.
    fn look_up<'py>(
        &self,
        handler: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = handler.py();
        let content = content_of(handler)?;
        let Some(local) = content.get_item(intern!(py, "_connections"))? else {
            return Ok(None);
        };
        let latest = Latest::of(&local, alias)?;
        if latest.is_some() {
            return Ok(latest);
        }
        let mut place = self.place.load();
        if !place.as_ref().is_some_and(|place| local.is(&place.local)) {
            self.place.store(Some(Arc::new(self.place_of(&local)?)));
            place = self.place.load();
        }
        // Another thread may have stored another one's meanwhile.
        match place.as_ref().filter(|place| local.is(&place.local)) {
            Some(place) => place.find(py, alias),
            None => Ok(None),
        }
    }

    #[cold]
    fn place_of(&self, local: &Bound<'_, PyAny>) -> PyResult<Place> {
        let known = self.find_place.bind(local.py()).call1((local,))?;
        Ok(Place {
            local: local.clone().unbind(),
            known: known.extract()?,
        })
    }
}

/// The attributes of an instance itself.
fn content_of<'py>(instance: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: the instance is alive; a new reference or null comes back.
    let content = unsafe {
        let content = ffi::PyObject_GenericGetDict(instance.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(instance.py(), content)
    }?;
    Ok(content.cast_into()?)
}

impl Place {
    /// The connection in what the context variable holds: a dictionary, or an object that has one for this thread.
    fn find<'py>(&self, py: Python<'py>, alias: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((variable, kind)) = &self.known else {
            return Ok(None);
        };
        let Some(stored) = value_of(variable.bind(py))? else {
            return Ok(None);
        };
        if kind.is(PyDict::type_object(py)) {
            let values = stored.cast_exact::<PyDict>();
            return values.map_or(Ok(None), |values| values.get_item(alias));
        }
        let Some(values) = values_of_this_thread(&stored, kind.bind(py))? else {
            return Ok(None);
        };
        let found = values.get_item(alias)?;
        if let Some(found) = &found {
            let before = Latest::remember(Latest {
                local: self.local.clone_ref(py),
                variable: variable.clone_ref(py),
                stored: stored.unbind(),
                alias: alias.clone().unbind(),
                connection: found.clone().unbind(),
            });
            drop(before);
        }
        Ok(found)
    }
}

/// The value of a context variable here, if it has one.
fn value_of<'py>(variable: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: `find_place` vouches for a `ContextVar`, and the function checks it, too. It stores a new reference or null.
    let status = unsafe { ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &raw mut value) };
    if status < 0 {
        return Err(PyErr::fetch(variable.py()));
    }
    // SAFETY: a new reference or null.
    Ok(unsafe { Bound::from_owned_ptr_or_opt(variable.py(), value) })
}

/// The values that a `kind` holds for this thread.
fn values_of_this_thread<'py>(
    stored: &Bound<'py, PyAny>,
    kind: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = stored.py();
    if !stored.get_type().is(kind) {
        return Ok(None);
    }
    let thread: std::ffi::c_ulong = stored.getattr(intern!(py, "thread_id"))?.extract()?;
    // SAFETY: nothing is asked for but the thread's number.
    if thread != unsafe { ffi::PyThread_get_thread_ident() } {
        return Ok(None);
    }
    let data = stored.getattr(intern!(py, "data"))?;
    Ok(data.cast_into_exact::<PyDict>().ok())
}

/// What a thread found last. What asgiref stores with the thread's number is never changed, but stored anew, so the same object
/// means the same values; it is held, so that no other can come to be at its address.
struct Latest {
    local: Py<PyAny>,
    /// Where it keeps its values.
    variable: Py<PyAny>,
    stored: Py<PyAny>,
    alias: Py<PyAny>,
    connection: Py<PyAny>,
}

thread_local! {
    static LATEST: Cell<Option<Latest>> = const { Cell::new(None) };
}

impl Latest {
    /// What was found last, if that was asked for and what is stored is still the same.
    fn of<'py>(local: &Bound<'py, PyAny>, alias: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // Nobody is called while it is out. (A thread that is about to end has none any more.)
        let Some(latest) = LATEST.try_with(Cell::take).ok().flatten() else {
            return Ok(None);
        };
        let found = latest.find(local, alias);
        drop(Self::remember(latest));
        found
    }

    fn find<'py>(
        &self,
        local: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = local.py();
        if !(local.is(&self.local) && alias.is(&self.alias)) {
            return Ok(None);
        }
        let stored = value_of(self.variable.bind(py))?;
        let same = stored.is_some_and(|stored| stored.is(&self.stored));
        Ok(same.then(|| self.connection.bind(py).clone()))
    }

    /// Returns what was there, to be dropped last: that can run code which comes here again.
    fn remember(latest: Self) -> Option<Self> {
        LATEST
            .try_with(|place| place.replace(Some(latest)))
            .ok()
            .flatten()
    }
}
