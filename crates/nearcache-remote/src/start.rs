//! Requests that do not block the calling thread.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use redis::Arg;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::execute;
use crate::job::{Group, Job, Next};
use crate::node::Outcome;
use crate::request::{Replies, Request};
use crate::runtime;

/// From this size, a request gets a connection of its own: on the shared one, all others would wait for it.
///
/// It is the lowest limit of a value that a server can have (`proto-max-bulk-len`). A server closes the connection that
/// sends a larger one, which is then never the shared one.
const LARGE: usize = 1 << 20;

/// Receives the result of a request that does not block.
pub type Done = Box<dyn FnOnce(Result<Replies, Error>) + Send>;

/// Gives the result to the caller, also if the request is dropped before it has one.
struct Completion {
    done: Option<Done>,
    client: Arc<Client>,
}

impl Completion {
    fn complete(&mut self, result: Result<Replies, Error>) {
        if result.is_err() {
            self.client.site.counts.count_error();
        }
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.done.is_some() {
            self.complete(Err(Error::new(
                ErrorKind::Connection,
                "the request was dropped, by a panic",
            )));
        }
    }
}

/// Starts a request.
pub(crate) fn start(client: Arc<Client>, request: Request, done: Done) {
    let mut completion = Completion {
        done: Some(done),
        client: Arc::clone(&client),
    };
    match runtime::handle() {
        Ok(runtime) => {
            runtime.spawn(async move {
                let result = execute(&client, request).await;
                completion.complete(result);
            });
        }
        Err(error) => completion.complete(Err(error)),
    }
}

async fn execute(client: &Arc<Client>, request: Request) -> Result<Replies, Error> {
    let topology = &client.topology;
    if topology.version().is_none() {
        waiting(client, Client::discover).await?;
    }
    if size(&request) >= LARGE {
        return waiting(client, move |client| execute::execute(client, &request)).await;
    }
    let mut version = topology.version();
    let request = Arc::new(request);
    let commands = &request.commands;
    let mut job = Job::new(
        topology.kind(),
        commands.len(),
        client.site.config.response_timeout,
    );
    loop {
        let groups = job.plan(topology, commands)?;
        for (group, outcome) in exchange(groups, &request).await {
            job.settle(&group, outcome, commands);
        }
        match job.next(Instant::now()) {
            Next::Done(replies) => return Ok(replies),
            Next::Failed(error) => return Err(error),
            Next::Again {
                refresh: is_outdated,
                pause,
            } => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                if is_outdated {
                    waiting(client, move |client| client.topology.refresh(version)).await?;
                    version = topology.version();
                }
            }
        }
    }
}

/// Returns how many bytes the keys and values of a request have.
fn size(request: &Request) -> usize {
    let arguments = request
        .commands
        .iter()
        .flat_map(|command| command.cmd.args_iter());
    let sizes = arguments.map(|argument| match argument {
        Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    });
    sizes.sum()
}

/// Calls a function in a thread that may wait. That is rare.
async fn waiting<T: Send + 'static>(
    client: &Arc<Client>,
    call: impl FnOnce(&Arc<Client>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let client = Arc::clone(client);
    let called = tokio::task::spawn_blocking(move || call(&client)).await;
    called.unwrap_or_else(|error| Err(Error::new(ErrorKind::Connection, error)))
}

async fn exchange(mut groups: Vec<Group>, request: &Arc<Request>) -> Vec<(Group, Outcome)> {
    if groups.len() <= 1 {
        let mut settled = Vec::with_capacity(1);
        if let Some(group) = groups.pop() {
            let outcome = group.node.request(&group, &request.commands).await;
            settled.push((group, outcome));
        }
        return settled;
    }
    let mut tasks = JoinSet::new();
    for group in groups {
        let request = Arc::clone(request);
        tasks.spawn(async move {
            let outcome = group.node.request(&group, &request.commands).await;
            (group, outcome)
        });
    }
    tasks.join_all().await
}
