//! The thread that serves requests that do not block: one a process, started at the first.

use std::sync::{OnceLock, mpsc};
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::error::{Error, ErrorKind};
use crate::per_process::PerProcess;

/// The runtime of this process, or why there is none.
static RUNTIME: PerProcess<OnceLock<Result<Handle, String>>> = PerProcess::new();

/// Returns the runtime of this process, whose thread is started at the first call.
pub(crate) fn handle() -> Result<Handle, Error> {
    let runtime = RUNTIME.get(OnceLock::new);
    let started = runtime.get_or_init(|| start().map_err(|error| error.to_string()));
    started.clone().map_err(|reason| {
        Error::new(
            ErrorKind::Connection,
            format!("cannot start the thread for asynchronous requests: {reason}"),
        )
    })
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
