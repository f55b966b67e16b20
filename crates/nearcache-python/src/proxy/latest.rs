//! What a thread found last: a connection, and methods bound to it.
//!
//! A thread keeps one connection alive, and nothing but that: a bound method is kept only for the connection that is kept anyway,
//! and only if it is a built-in one, which holds nothing but its object. They go together.
//!
//! What is kept is taken out while it is looked at and put back after, and nothing that could run foreign code is called
//! meanwhile; if it were, that would find nothing kept.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::OrRaised;
use super::connections::value_of;
use super::method::Found;

/// What asgiref stores with the thread's number is never changed, but stored anew, so the same object means the same values; it
/// is held, so that no other can come to be at its address.
pub(super) struct Latest {
    local: Py<PyAny>,
    /// Where it keeps its values.
    variable: Py<PyAny>,
    stored: Py<PyAny>,
    alias: Py<PyAny>,
    connection: Py<PyAny>,
    methods: [Option<Method>; METHODS],
    /// Which of them goes next.
    next: usize,
}

/// More than a program uses again and again.
const METHODS: usize = 8;

/// What was found in the connection's class by a name, and made of it.
struct Method {
    name: Py<PyString>,
    descriptor: Py<PyAny>,
    /// The connection's class then. Only compared, never followed.
    kind: *mut ffi::PyTypeObject,
    bound: Py<PyAny>,
}

thread_local! {
    static LATEST: Cell<Option<Box<Latest>>> = const { Cell::new(None) };
}

impl Latest {
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
            next: 0,
        }
    }

    /// Takes the place of what was found before, which is dropped last: that can run code which comes here again.
    pub(super) fn remember(self, py: Python<'_>) {
        let latest = Some(Box::new(self));
        if let Ok(Some(before)) = LATEST.try_with(|place| place.replace(latest)) {
            before.release(py);
        }
    }

    /// Dropping does it, too, but later: the slots of the types do not tell `PyO3` that the thread is attached.
    fn release(self, py: Python<'_>) {
        for method in self.methods.into_iter().flatten() {
            method.release(py);
        }
        for held in [
            self.local,
            self.variable,
            self.stored,
            self.alias,
            self.connection,
        ] {
            drop(held.into_bound(py));
        }
    }

    /// The connection, if that is what is asked for.
    pub(super) fn connection<'py>(
        &self,
        local: &Bound<'py, PyAny>,
        alias: &Bound<'py, PyAny>,
    ) -> Option<Bound<'py, PyAny>> {
        self.is_current(local, alias)
            .then(|| self.connection.bind(local.py()).clone())
    }

    /// Whether the connection is what is asked for, and what is stored is still the same.
    pub(super) fn is_current(&self, local: &Bound<'_, PyAny>, alias: &Bound<'_, PyAny>) -> bool {
        local.is(&self.local)
            && alias.is(&self.alias)
            && value_of(self.variable.bind(local.py())).is_some_and(|stored| stored.is(&self.stored))
    }

    /// Where the method of this name is kept, if it is.
    pub(super) fn place_of(&self, name: &Bound<'_, PyAny>) -> Option<usize> {
        let is_it = |method: &Option<Method>| method.as_ref().is_some_and(|method| name.is(&method.name));
        self.methods.iter().position(is_it)
    }

    /// What the connection has by the name of a method that is kept: that, if nothing is different.
    pub(super) fn method<'py>(&mut self, py: Python<'py>, place: usize) -> Option<OrRaised<'py>> {
        let connection = self.connection.bind(py);
        let kept = self.methods.get_mut(place)?;
        let method = kept.as_ref()?;
        let found = Found::of(connection, method.name.bind(py));
        if found.is_unbound(&method.descriptor) && connection.get_type_ptr() == method.kind {
            return Some(Some(method.bound.bind(py).clone()));
        }
        if let Some(method) = kept.take() {
            method.release(py);
        }
        Some(found.bound(connection))
    }

    /// Keeps what was made of a descriptor, if it is the connection's.
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
        // By another object of the same name, perhaps.
        let is_it = |kept: &Option<Method>| kept.as_ref().is_some_and(|kept| descriptor.is(&kept.descriptor));
        let place = self.methods.iter().position(is_it).unwrap_or_else(|| {
            self.next = (self.next + 1) % METHODS;
            self.next
        });
        let before = self.methods[place].replace(Method {
            name: name.clone().unbind(),
            descriptor: descriptor.clone().unbind(),
            kind: connection.get_type_ptr(),
            bound: bound.clone().unbind(),
        });
        if let Some(before) = before {
            before.release(connection.py());
        }
    }

    /// Looks at what this thread keeps. (If it is about to end it keeps nothing any more.)
    pub(super) fn look<R>(py: Python<'_>, work: impl FnOnce(&mut Self) -> Option<R>) -> Option<R> {
        let look = |place: &Cell<Option<Box<Self>>>| {
            let mut latest = place.take()?;
            let seen = work(&mut latest);
            if let Some(newer) = place.replace(Some(latest)) {
                // Foreign code has been here.
                if let Some(latest) = place.replace(Some(newer)) {
                    latest.release(py);
                }
            }
            seen
        };
        LATEST.try_with(look).ok().flatten()
    }
}

impl Method {
    /// This calls nothing: the connection is held by others, too.
    fn release(self, py: Python<'_>) {
        drop(self.bound.into_bound(py));
        drop(self.descriptor.into_bound(py));
        drop(self.name.into_bound(py));
    }
}
