//! The listener's thread.
//!
//! It never calls Python, and it never ends the process: a panic is reported like an error of the server.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use tokio::runtime::Builder;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::discovery::Discovery;
use super::listener::Shared;
use super::session::Session;
use super::state::Term;
use crate::error::{Error, ErrorKind};

/// How many threads resolve names. They end when idle.
const RESOLVERS: usize = 2;

/// Starts the thread.
pub(super) fn spawn(shared: Arc<Shared>) -> io::Result<()> {
    let builder = thread::Builder::new().name("nearcache-listener".to_owned());
    builder.spawn(move || {
        run(&shared);
        shared.report_end();
    })?;
    Ok(())
}

/// Runs a term, from when it begins until another listener succeeds it or it is stopped.
fn run(shared: &Arc<Shared>) {
    let Some(term) = shared.state.begin_term(shared.lease()) else {
        return;
    };
    shared.report_term(term);
    let mut backoff = Backoff::default();
    loop {
        let failure = match catch_unwind(AssertUnwindSafe(|| listen(shared, term))) {
            Ok(Ok(())) => return shared.apply_loss(term),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panicked: {}", panic_message(panic.as_ref())),
        };
        shared.apply_loss(term);
        let error = Error::new(
            ErrorKind::Connection,
            format_args!("the listener's thread failed: {failure}"),
        );
        let delay = backoff.next(&error);
        shared.report_error(error);
        thread::sleep(delay);
        if !is_current(shared, term) {
            return;
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

/// Listens until another listener succeeds this one or it is stopped.
fn listen(shared: &Arc<Shared>, term: Term) -> io::Result<()> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(RESOLVERS).build()?;
    runtime.block_on(async {
        tokio::select! {
            () = keep_term(shared, term) => {}
            () = keep_sessions(shared, term) => {}
        }
    });
    // A name that is being resolved is not waited for.
    runtime.shutdown_background();
    Ok(())
}

/// Reports that the listener runs, whether or not the server can be reached, until the term ends.
async fn keep_term(shared: &Shared, term: Term) {
    while is_current(shared, term) {
        sleep(shared.max_staleness / 2).await;
    }
}

fn is_current(shared: &Shared, term: Term) -> bool {
    !shared.is_stopped.load(SeqCst) && shared.state.beat(term)
}

/// Opens one session after the other.
async fn keep_sessions(shared: &Arc<Shared>, term: Term) {
    let discovery = Arc::new(Discovery::new(shared));
    let mut backoff = Backoff::default();
    loop {
        let error = match Session::open(shared, &discovery).await {
            Ok(session) => {
                let error = session.keep(term, &mut backoff).await;
                shared.apply_loss(term);
                error
            }
            Err(error) => error,
        };
        let delay = backoff.next(&error);
        shared.report_error(error);
        sleep(delay).await;
    }
}
