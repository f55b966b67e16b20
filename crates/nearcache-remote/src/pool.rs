//! The connections to one server that block.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::connection::Connection;

/// The connections to one server that block. At most `capacity` are open.
pub(crate) struct Pool {
    state: Mutex<State>,
    freed: Condvar,
    capacity: usize,
}

struct State {
    /// The last one used is at the end, and used first.
    idle: Vec<Connection>,
    /// How many are open or being opened.
    open: usize,
}

/// What a caller gets from a pool.
pub(crate) enum Slot<'a> {
    /// An idle connection.
    Idle(Lease<'a>),
    /// The right to open one.
    Vacant(Lease<'a>),
}

/// One of the connections that a pool may have. Returned to it when dropped, if it is usable, else closed.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    pub(crate) connection: Option<Connection>,
}

impl Pool {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
            idle: Vec::new(),
            open: 0,
        };
        Self {
            state: Mutex::new(state),
            freed: Condvar::new(),
            capacity,
        }
    }

    /// Waits for an idle connection or room for one; `None` after the deadline.
    pub(crate) fn take(&self, deadline: impl Fn() -> Instant) -> Option<Slot<'_>> {
        let mut state = self.lock();
        let mut limit = None;
        loop {
            if let Some(connection) = state.idle.pop() {
                return Some(Slot::Idle(self.lease(Some(connection))));
            }
            if state.open < self.capacity {
                state.open += 1;
                return Some(Slot::Vacant(self.lease(None)));
            }
            let limit = *limit.get_or_insert_with(&deadline);
            let left = limit.checked_duration_since(Instant::now())?;
            state = self
                .freed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lease(&self, connection: Option<Connection>) -> Lease<'_> {
        Lease {
            pool: self,
            connection,
        }
    }

    /// Closes the idle connections.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let idle = std::mem::take(&mut state.idle);
        state.open -= idle.len();
        drop(state);
        self.freed.notify_all();
        drop(idle);
    }

    /// Returns how many connections are open or being opened.
    pub(crate) fn len(&self) -> usize {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut connection = self.connection.take();
        let mut state = self.pool.lock();
        match connection.take_if(|connection| connection.is_usable()) {
            Some(mut usable) => {
                usable.is_reused = true;
                state.idle.push(usable);
            }
            None => state.open -= 1,
        }
        drop(state);
        self.pool.freed.notify_one();
        // A connection that is not usable is closed without the lock.
        drop(connection);
    }
}
