//! One request on its way: what is to be sent where, what the replies mean, and what to do next.
//!
//! This is all of the protocol that does not wait. Blocking and multiplexed requests share it: they send the groups of
//! [`Job::plan`], give the outcomes to [`Job::settle`], and do what [`Job::next`] says.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, Value};

use crate::error::{Error, ErrorKind};
use crate::failure::Failure;
use crate::node::{Node, Outcome};
use crate::redirect::{Verdict, judge};
use crate::request::{Command, Replies, Reply};
use crate::server_id::ServerId;
use crate::topology::{Kind, Topology};

/// How often a Cluster's commands are sent again.
const MAX_ROUNDS: u32 = 100;
/// How long to wait before commands are sent again that the servers were not ready for.
const PAUSE: Duration = Duration::from_millis(10);
/// Up to this round, a redirected command is sent again at once.
const EAGER_ROUNDS: u32 = 4;

/// Where a command is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Where its route leads.
    Route,
    /// To the server that `MOVED` named.
    Moved(ConnectionAddr),
    /// To the server that `ASK` named, once.
    Asked(ConnectionAddr),
}

/// A command that has no reply yet.
struct Pending {
    index: usize,
    target: Target,
}

/// Commands for one server.
pub(crate) struct Group {
    pub(crate) node: Arc<Node>,
    /// The numbers of the commands in the request.
    pub(crate) members: Vec<usize>,
    /// Whether `ASKING` precedes each command.
    pub(crate) is_asking: bool,
}

/// What to do after a round.
pub(crate) enum Next {
    Done(Replies),
    Failed(Error),
    /// Refresh the topology if wanted, pause, and plan again.
    Again {
        refresh: bool,
        pause: Duration,
    },
}

/// One request on its way.
pub(crate) struct Job {
    kind: Kind,
    replies: Vec<Option<Reply>>,
    pending: Vec<Pending>,
    round: u32,
    deadline: Instant,
    /// The error that ends the request.
    fatal: Option<Error>,
    /// Why commands are pending.
    obstacle: Obstacle,
}

/// Why commands are pending after a round: the worst reason.
#[derive(Default)]
struct Obstacle {
    error: Option<Error>,
    /// Whether the topology may have changed.
    refresh: bool,
    /// Whether the servers need time.
    wait: bool,
    /// How a connection failed, if one did.
    loss: Option<Loss>,
}

/// How a connection failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    /// It was in use before, and broke: a new one may work.
    Reused,
    /// No connection can be made, or a new one broke.
    New,
    /// A breaker refused to try.
    Refused,
}

impl Job {
    /// Starts a request with this number of commands.
    pub(crate) fn new(kind: Kind, count: usize, response_timeout: Duration) -> Self {
        let pending = |index| Pending {
            index,
            target: Target::Route,
        };
        Self {
            kind,
            replies: std::iter::repeat_with(|| None).take(count).collect(),
            pending: (0..count).map(pending).collect(),
            round: 0,
            deadline: Instant::now() + response_timeout,
            fatal: None,
            obstacle: Obstacle::default(),
        }
    }

    /// Returns the pending commands by server, in the order in which connections are taken: the same for all requests, so
    /// that they do not wait for each other in a circle.
    pub(crate) fn plan(&mut self, topology: &Topology, commands: &[Command]) -> Result<Vec<Group>, Error> {
        let mut groups: Vec<Group> = Vec::with_capacity(1);
        for pending in std::mem::take(&mut self.pending) {
            let is_asking = matches!(pending.target, Target::Asked(_));
            let node = match topology.route(commands[pending.index].route, &pending.target) {
                Ok(node) => node,
                Err(error) if error.kind == ErrorKind::Connection => {
                    self.postpone(pending, error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let found = groups
                .iter_mut()
                .find(|group| Arc::ptr_eq(&group.node, &node) && group.is_asking == is_asking);
            match found {
                Some(group) => group.members.push(pending.index),
                None => groups.push(Group {
                    node,
                    members: vec![pending.index],
                    is_asking,
                }),
            }
        }
        if groups.len() > 1 {
            groups.sort_by(|one, other| {
                (&one.node.name, one.is_asking).cmp(&(&other.node.name, other.is_asking))
            });
        }
        Ok(groups)
    }

    /// No server serves the slot now.
    fn postpone(&mut self, pending: Pending, error: Error) {
        self.pending.push(pending);
        self.obstacle.error = Some(error);
        self.obstacle.refresh = true;
        self.obstacle.wait = true;
    }

    /// Takes the replies of a group.
    pub(crate) fn settle(&mut self, group: &Group, outcome: Outcome, commands: &[Command]) {
        let server = if group.is_asking {
            ServerId::UNKNOWN
        } else {
            outcome.server
        };
        let answered = outcome.values.len();
        for (&index, value) in group.members.iter().zip(outcome.values) {
            self.take(group, index, value, server);
        }
        if let Some(failure) = outcome.failure {
            self.fail(
                &group.members[answered.min(group.members.len())..],
                failure,
                commands,
            );
        }
    }

    fn take(&mut self, group: &Group, index: usize, value: Value, server: ServerId) {
        let may_retry = self.kind == Kind::Cluster || self.round == 0;
        let verdict = if may_retry {
            judge(self.kind, &value, &group.node.address)
        } else {
            Verdict::Final
        };
        let target = match verdict {
            Verdict::Final => {
                self.replies[index] = Some(Reply {
                    value,
                    server,
                    address: Arc::clone(&group.node.name),
                });
                return;
            }
            Verdict::Moved(address) => {
                self.obstacle.refresh = true;
                Target::Moved(address)
            }
            Verdict::Asked(address) => Target::Asked(address),
            Verdict::NotNow { role_changed } => {
                self.obstacle.refresh = true;
                self.obstacle.wait = true;
                if role_changed {
                    group.node.reset();
                }
                Target::Route
            }
        };
        if let Value::ServerError(error) = &value {
            self.obstacle.error = Some(Error::from_cluster(error, &group.node.name));
        }
        self.pending.push(Pending { index, target });
    }

    /// The connection failed before these commands were answered.
    fn fail(&mut self, members: &[usize], failure: Failure, commands: &[Command]) {
        let is_lost = |&&index: &&usize| failure.is_sent && !commands[index].repeatable;
        let is_timeout = failure.is_sent && failure.error.kind == ErrorKind::Timeout;
        if is_timeout || !failure.error.is_outage() || members.iter().any(|index| is_lost(&index)) {
            self.fatal = Some(failure.error);
            return;
        }
        self.obstacle.error = Some(failure.error);
        self.obstacle.refresh = true;
        self.obstacle.wait |= self.kind == Kind::Cluster && self.round > 0;
        let loss = match (failure.is_refused, failure.is_reused) {
            (true, _) => Loss::Refused,
            (false, true) => Loss::Reused,
            (false, false) => Loss::New,
        };
        self.obstacle.loss = self.obstacle.loss.max(Some(loss));
        self.pending.extend(members.iter().map(|&index| Pending {
            index,
            target: Target::Route,
        }));
    }

    /// Decides what to do after all groups are settled.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if let Some(error) = self.fatal.take() {
            return Next::Failed(error);
        }
        let obstacle = std::mem::take(&mut self.obstacle);
        if self.pending.is_empty() {
            return Next::Done(std::mem::take(&mut self.replies).into_iter().flatten().collect());
        }
        self.round += 1;
        let may_go_on = match self.kind {
            Kind::Single => self.round == 1 && obstacle.loss == Some(Loss::Reused),
            Kind::Sentinel => self.round == 1,
            // A breaker that is open says that the wait was tried already.
            Kind::Cluster if obstacle.loss == Some(Loss::Refused) => self.round == 1,
            Kind::Cluster => self.round < MAX_ROUNDS && now < self.deadline,
        };
        if !may_go_on {
            let error = obstacle.error;
            return Next::Failed(error.unwrap_or_else(|| Error::new(ErrorKind::Connection, "no reply")));
        }
        let wait = obstacle.wait && self.kind == Kind::Cluster || self.round > EAGER_ROUNDS;
        Next::Again {
            refresh: obstacle.refresh && self.kind != Kind::Single,
            pause: if wait { PAUSE } else { Duration::ZERO },
        }
    }
}
