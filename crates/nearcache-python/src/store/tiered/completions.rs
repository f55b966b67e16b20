//! Operations in an event loop: it is told by a file descriptor when requests are answered, and finishes the operations.
//!
//! The loop may never run again after the task that waits was cancelled. So an operation that nobody waits for is not left to
//! it: when its request is answered, what would have finished it is dropped, in whatever thread. That ends the flight of a
//! leader, gives a lock back, and invalidates the copies of what was written.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nearcache_remote::{Error, Replies};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::plan::{Finish, Plan};
use super::tiered_store::TieredStore;
use crate::errors::error;
use crate::objects::interned;
use crate::panics::guarded;

/// An operation that has to ask the server, not begun.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct Pending {
    store: &'static TieredStore,
    /// Taken when it begins.
    plan: Mutex<Option<Plan<Py<PyAny>>>>,
    /// Whether nobody waits for the result. Changes while the queue of completed operations is locked.
    is_abandoned: Arc<AtomicBool>,
}

/// A request that was answered, and what to do with the answer.
struct Completed {
    outcome: Result<Replies, Error>,
    finish: Finish<Py<PyAny>>,
    future: Py<PyAny>,
    is_abandoned: Arc<AtomicBool>,
}

/// The operations of one event loop that were answered. The loop calls `finish` when `fileno` is readable.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct Completions {
    queue: Arc<Queue>,
}

struct Queue {
    completed: Mutex<Vec<Completed>>,
    wake: UnixStream,
    woken: UnixStream,
}

impl Pending {
    pub(crate) fn new(store: &'static TieredStore, plan: Plan<Py<PyAny>>) -> Self {
        Self {
            store,
            plan: Mutex::new(Some(plan)),
            is_abandoned: Arc::default(),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Plan<Py<PyAny>>> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take();
        plan.ok_or_else(|| error::<PyRuntimeError>(py, format_args!("this operation has begun already")))
    }
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> PyResult<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        Ok(Self {
            queue: Arc::new(Queue {
                completed: Mutex::new(Vec::new()),
                wake,
                woken,
            }),
        })
    }

    /// Returns the file descriptor that is readable while there are answered operations.
    fn fileno(&self) -> i32 {
        self.queue.woken.as_raw_fd()
    }

    /// Begins an operation, whose result `finish` will set on a future.
    fn begin(&self, py: Python<'_>, pending: &Pending, future: Py<PyAny>) -> PyResult<()> {
        guarded(py, || {
            let (request, finish) = pending.take(py)?.split();
            let queue = Arc::clone(&self.queue);
            let is_abandoned = Arc::clone(&pending.is_abandoned);
            let done = move |outcome| {
                queue.push(Completed {
                    outcome,
                    finish,
                    future,
                    is_abandoned,
                });
            };
            py.detach(|| pending.store.remote.start(request, Box::new(done)));
            Ok(())
        })
    }

    /// Gives up waiting for an operation that has begun. When it is answered, or if it was, its end is dropped.
    fn abandon(&self, py: Python<'_>, pending: &Pending) {
        let answered = self.queue.abandon(&pending.is_abandoned);
        // Other threads run if it waits for the file of flights.
        py.detach(|| drop(answered));
    }

    /// Finishes the operations that were answered, and sets the results on their futures.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        guarded(py, || {
            for completed in self.queue.take() {
                completed.finish(py)?;
            }
            Ok(())
        })
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Vec<Completed>> {
        self.completed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, completed: Completed) {
        let mut queue = self.lock();
        if completed.is_abandoned.load(Relaxed) {
            // First, because what is dropped may acquire the GIL.
            drop(queue);
            return;
        }
        queue.push(completed);
        let is_first = queue.len() == 1;
        drop(queue);
        if is_first {
            // The socket has room: there is at most one byte for each time the queue was emptied, and `take` reads them.
            let _ = (&self.wake).write(&[0]);
        }
    }

    fn take(&self) -> Vec<Completed> {
        // First, so that a byte for what is pushed from now on stays.
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        std::mem::take(&mut *self.lock())
    }

    /// Marks an operation, and returns it if it was answered.
    fn abandon(&self, mark: &Arc<AtomicBool>) -> Option<Completed> {
        let mut queue = self.lock();
        mark.store(true, Relaxed);
        let index = queue
            .iter()
            .position(|completed| Arc::ptr_eq(&completed.is_abandoned, mark))?;
        Some(queue.remove(index))
    }
}

impl Completed {
    /// Finishes the operation. Its task may have been cancelled, and not have run since.
    fn finish(self, py: Python<'_>) -> PyResult<()> {
        let result = guarded(py, || (self.finish)(py, self.outcome));
        let future = self.future.bind(py);
        if future.call_method0(interned!(py, "done")?)?.is_truthy()? {
            return Ok(());
        }
        match result {
            Ok(value) => future.call_method1(interned!(py, "set_result")?, (value,))?,
            Err(raised) => future.call_method1(interned!(py, "set_exception")?, (raised,))?,
        };
        Ok(())
    }
}
