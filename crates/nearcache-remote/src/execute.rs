//! Requests in the calling thread.

use std::sync::Arc;
use std::time::Instant;

use redis::{Cmd, cmd};

use crate::client::Client;
use crate::error::Error;
use crate::job::{Group, Job, Next};
use crate::node::{InFlight, Outcome};
use crate::request::{Command, Replies, Request};

/// Executes a request. Waits for connections, replies and other servers.
pub(crate) fn execute(client: &Arc<Client>, request: &Request) -> Result<Replies, Error> {
    let topology = &client.topology;
    client.discover()?;
    let mut version = topology.version();
    let commands = &request.commands;
    let mut job = Job::new(
        topology.kind(),
        commands.len(),
        client.site.config.response_timeout,
    );
    loop {
        let groups = job.plan(topology, commands)?;
        let outcomes = exchange(&groups, commands);
        for (group, outcome) in groups.iter().zip(outcomes) {
            job.settle(group, outcome, commands);
        }
        match job.next(Instant::now()) {
            Next::Done(replies) => return Ok(replies),
            Next::Failed(error) => return Err(error),
            Next::Again { refresh, pause } => {
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
                if refresh {
                    topology.refresh(version)?;
                    version = topology.version();
                }
            }
        }
    }
}

/// Sends all groups, then waits for all replies: the servers work at the same time.
fn exchange(groups: &[Group], commands: &[Command]) -> Vec<Outcome> {
    let sent: Vec<_> = groups.iter().map(|group| send(group, commands)).collect();
    let finish = |(group, sent): (&Group, Result<InFlight<'_>, Outcome>)| match sent {
        Ok(in_flight) if group.is_asking => without_asking(in_flight.finish(2 * group.members.len())),
        Ok(in_flight) => in_flight.finish(group.members.len()),
        Err(outcome) => outcome,
    };
    groups.iter().zip(sent).map(finish).collect()
}

fn send<'a>(group: &'a Group, commands: &[Command]) -> Result<InFlight<'a>, Outcome> {
    let members = group.members.iter().map(|&index| &commands[index]);
    let checked = members.clone().any(|command| !command.repeatable);
    let sent = if group.is_asking {
        let asking = cmd("ASKING");
        let pairs = members.flat_map(|command| [&asking, &command.cmd]);
        group.node.send(pairs, checked)
    } else {
        let plain = members.map(|command| -> &Cmd { &command.cmd });
        group.node.send(plain, checked)
    };
    sent.map_err(Outcome::failed)
}

/// Leaves out the replies to `ASKING`.
pub(crate) fn without_asking(mut outcome: Outcome) -> Outcome {
    let mut is_asking = false;
    outcome.values.retain(|_| {
        is_asking = !is_asking;
        !is_asking
    });
    outcome
}
