//! Operations in an event loop: it is told by a file descriptor when requests are answered, and finishes the operations.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

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
}

/// A request that was answered, and what to do with the answer.
struct Completed {
    outcome: Result<Replies, Error>,
    finish: Finish<Py<PyAny>>,
    future: Py<PyAny>,
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
            let done = move |outcome| {
                queue.push(Completed {
                    outcome,
                    finish,
                    future,
                });
            };
            py.detach(|| pending.store.remote.start(request, Box::new(done)));
            Ok(())
        })
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
    fn push(&self, completed: Completed) {
        let mut queue = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
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
        std::mem::take(&mut *self.completed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Completed {
    /// Finishes the operation, also if nobody waits for it any more: what it wrote has to be invalidated.
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
