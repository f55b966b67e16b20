//! What each thread keeps of its last look-up: a connection, and methods bound to it.
//!
//! A thread keeps one connection alive, and nothing else: a bound method is kept only for that connection, and only if it
//! is a built-in one, which refers to nothing but its object. Both are dropped together.
//!
//! The content is taken out of its cell during a look-up and put back afterwards. Nothing that could run a program's code
//! is called meanwhile; if it were, that code would find the cell empty.
//!
//! Without it, `cache.get(key)` takes 2.1 times as long (`docs/design/performance.md`, "Own machinery").

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::method::MethodLookup;
use super::python::{OrRaised, context_value};

/// How many methods a thread keeps: more than a program uses in turn.
const METHODS: usize = 8;

/// The last look-up of a thread.
///
/// It is valid as long as the context variable has the same object. asgiref never changes such an object, but stores a new
/// one; and a reference to it is kept here, so no other object can have its address.
pub(super) struct ThreadCache {
    local: Py<PyAny>,
    /// The context variable in which `local` keeps its values.
    variable: Py<PyAny>,
    /// The variable's value.
    stored: Py<PyAny>,
    alias: Py<PyAny>,
    connection: Py<PyAny>,
    methods: [Option<KeptMethod>; METHODS],
    /// The method that is replaced next.
    hand: usize,
}

/// A method that was looked up on the connection.
struct KeptMethod {
    name: Py<PyString>,
    /// What the connection's class has under this name.
    descriptor: Py<PyAny>,
    /// The connection's class at that time. Compared, never followed.
    class: *mut ffi::PyTypeObject,
    bound: Py<PyAny>,
}

thread_local! {
    static THREAD_CACHE: Cell<Option<Box<ThreadCache>>> = const { Cell::new(None) };
}

impl ThreadCache {
    pub(super) fn new(
        local: &Bound<'_, PyAny>,
        variable: &Bound<'_, PyAny>,
        stored: &Bound<'_, PyAny>,
        alias: &Bound<'_, PyAny>,
        connection: &Bound<'_, PyAny>,
    ) -> Self {
        Self {
            local: local.clone().unbind(),
            variable: variable.clone().unbind(),
            stored: stored.clone().unbind(),
            alias: alias.clone().unbind(),
            connection: connection.clone().unbind(),
            methods: [const { None }; METHODS],
            hand: 0,
        }
    }

    /// Makes this the thread's last look-up. The earlier one is dropped last, because that can run code which comes back
    /// here.
    pub(super) fn store(self, py: Python<'_>) {
        let cache = Some(Box::new(self));
        if let Ok(Some(earlier)) = THREAD_CACHE.try_with(|cell| cell.replace(cache)) {
            earlier.release(py);
        }
    }

    /// Releases the references now. A plain drop would do so later, because `PyO3` does not know that the thread is
    /// attached: the slots of the types do not tell it.
    fn release(self, py: Python<'_>) {
        for method in self.methods.into_iter().flatten() {
            method.release(py);
        }
        for reference in [
            self.local,
            self.variable,
            self.stored,
            self.alias,
            self.connection,
        ] {
            drop(reference.into_bound(py));
        }
    }

    /// Returns the connection if it is the one of this alias.
    pub(super) fn connection<'py>(
        &self,
        local: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> Option<Bound<'py, PyAny>> {
        self.is_current(local, alias)
            .then(|| self.connection.bind(local.py()).clone())
    }

    /// Returns whether the connection is the one of this alias, in the current context.
    pub(super) fn is_current(&self, local: &Bound<'_, PyAny>, alias: &Bound<'_, PyAny>) -> bool {
        local.is(&self.local)
            && alias.is(&self.alias)
            && context_value(self.variable.bind(local.py())).is_some_and(|stored| stored.is(&self.stored))
    }

    /// Returns the index of the method with this name.
    pub(super) fn index_of_method(&self, name: &Bound<'_, PyAny>) -> Option<usize> {
        let has_name =
            |method: &Option<KeptMethod>| method.as_ref().is_some_and(|method| name.is(&method.name));
        self.methods.iter().position(has_name)
    }

    /// Looks up the name of a kept method on the connection; returns the kept one if a new one would be the same.
    pub(super) fn method<'py>(&mut self, py: Python<'py>, index: usize) -> Option<OrRaised<'py>> {
        let connection = self.connection.bind(py);
        let kept = self.methods.get_mut(index)?;
        let method = kept.as_ref()?;
        let lookup = MethodLookup::new(connection, method.name.bind(py));
        if lookup.is_unbound_method(&method.descriptor) && connection.get_type_ptr() == method.class {
            return Some(Some(method.bound.bind(py).clone()));
        }
        if let Some(method) = kept.take() {
            method.release(py);
        }
        Some(lookup.bound(connection))
    }

    /// Keeps a method that was bound to a connection, if it is the one kept here.
    pub(super) fn keep_method(
        &mut self,
        connection: &Bound<'_, PyAny>,
        name: &Bound<'_, PyString>,
        descriptor: &Bound<'_, PyAny>,
        bound: &Bound<'_, PyAny>,
    ) {
        if !connection.is(&self.connection) {
            return;
        }
        // The same method may have been found by an equal name that is another object.
        let is_same =
            |kept: &Option<KeptMethod>| kept.as_ref().is_some_and(|kept| descriptor.is(&kept.descriptor));
        let index = self.methods.iter().position(is_same).unwrap_or_else(|| {
            self.hand = (self.hand + 1) % METHODS;
            self.hand
        });
        let replaced = self.methods[index].replace(KeptMethod {
            name: name.clone().unbind(),
            descriptor: descriptor.clone().unbind(),
            class: connection.get_type_ptr(),
            bound: bound.clone().unbind(),
        });
        if let Some(replaced) = replaced {
            replaced.release(connection.py());
        }
    }

    /// Calls `work` with what this thread keeps; returns `None` if it keeps nothing, or is about to end.
    pub(super) fn with<R>(py: Python<'_>, work: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let with = |cell: &Cell<Option<Box<Self>>>| {
            let mut cache = cell.take()?;
            let result = work(&mut cache);
            if let Some(newer) = cell.replace(Some(cache)) {
                // Other code has used the cell meanwhile.
                if let Some(older) = cell.replace(Some(newer)) {
                    older.release(py);
                }
            }
            result
        };
        THREAD_CACHE.try_with(with).ok().flatten()
    }
}

impl KeptMethod {
    /// Releases the references. This runs no other code, because others hold the connection, too.
    fn release(self, py: Python<'_>) {
        drop(self.bound.into_bound(py));
        drop(self.descriptor.into_bound(py));
        drop(self.name.into_bound(py));
    }
}
