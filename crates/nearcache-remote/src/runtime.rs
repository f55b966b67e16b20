//! The thread that serves requests that do not block: one a process, started at the first.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::error::{Error, ErrorKind};
use crate::per_process::PerProcess;

/// The runtime of this process, once it is started.
static RUNTIME: PerProcess<Mutex<Option<Handle>>> = PerProcess::new();

/// Returns the runtime of this process, whose thread is started at the first call.
pub(crate) fn handle() -> Result<Handle, Error> {
    let runtime = RUNTIME.get(|| Mutex::new(None));
    let mut started = runtime.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = started.as_ref() {
        return Ok(handle.clone());
    }
    let handle = start().map_err(|error| {
        let message = format!("cannot start the thread for asynchronous requests: {error}");
        Error::new(ErrorKind::Connection, message)
    })?;
    Ok(started.insert(handle).clone())
}

fn start() -> std::io::Result<Handle> {
    let (send, receive) = mpsc::sync_channel(1);
    let run = move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                _ = send.send(Err(error));
                return;
            }
        };
        _ = send.send(Ok(runtime.handle().clone()));
        runtime.block_on(std::future::pending::<()>());
    };
    thread::Builder::new()
        .name("nearcache-remote".to_owned())
        .spawn(run)?;
    receive.recv().map_err(std::io::Error::other)?
}
