//! A session: the time from when the listener is armed on all primaries until it loses one of them.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::backoff::Backoff;
use super::clock::BootTime;
use super::discovery::Discovery;
use super::listener::Shared;
use super::primary::Primary;
use super::push::Lost;
use super::state::{MAX_SERVERS, Term};
use crate::error::{Error, ErrorKind};
use crate::server_id::ServerId;

/// Connections to all primaries, on which tracking is on.
pub(super) struct Session {
    shared: Arc<Shared>,
    discovery: Arc<Discovery>,
    primaries: Vec<Primary>,
    lost: Arc<Lost>,
}

impl Session {
    /// Finds the primaries and turns tracking on at all of them.
    pub(super) async fn open(shared: &Arc<Shared>, discovery: &Arc<Discovery>) -> Result<Self, Error> {
        let lost = Arc::new(Lost::default());
        let addrs = discovery.primaries().await?;
        if addrs.len() > MAX_SERVERS {
            let message = format!(
                "the Cluster has {} primaries; expected up to {MAX_SERVERS}",
                addrs.len()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let tasks = addrs
            .into_iter()
            .map(|addr| Primary::track(addr, Arc::clone(shared), Arc::clone(&lost)));
        Ok(Self {
            shared: Arc::clone(shared),
            discovery: Arc::clone(discovery),
            primaries: all(tasks).await?,
            lost,
        })
    }

    /// Arms the listener and confirms round after round; returns why that ended.
    pub(super) async fn keep(&self, term: Term, backoff: &mut Backoff) -> Error {
        let ids: Vec<ServerId> = self.primaries.iter().map(|primary| primary.id).collect();
        self.shared.arm(term, &ids);
        tokio::select! {
            biased;
            server = self.lost.server() => {
                Error::new(ErrorKind::Connection, format_args!("{server}: the listener's connection broke"))
            }
            Err(error) = self.rounds(term, &ids, backoff) => error,
        }
    }

    /// Confirms round after round, until one fails.
    async fn rounds(&self, term: Term, ids: &[ServerId], backoff: &mut Backoff) -> Result<Infallible, Error> {
        let mut ticks = interval(self.shared.max_staleness / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(sent) = self.round().await? {
                self.shared.state.mark_armed(term, ids);
                self.shared.state.confirm(term, sent);
                self.shared.report_confirmation();
                backoff.reset();
            }
        }
    }

    /// Asks every primary whether it is one, and the Sentinels or the Cluster whether they are all; returns when that was
    /// sent. `None` if a script holds invalidations back: then the gate shuts for a while, but nothing is lost.
    async fn round(&self) -> Result<Option<BootTime>, Error> {
        let sent = BootTime::now();
        let checks = self.primaries.iter().cloned();
        let checks = checks.map(|mut primary| async move { primary.check().await });
        let answers = async {
            let are_complete = all(checks).await?.into_iter().all(|is_complete| is_complete);
            if are_complete {
                self.discovery.check(&self.primaries).await?;
            }
            Ok(are_complete)
        };
        let limit = self.shared.max_staleness;
        let are_complete = timeout(limit, answers).await.unwrap_or_else(|_| {
            let message = format!(
                "a round of the listener is not answered within {} ms",
                limit.as_millis()
            );
            Err(Error::new(ErrorKind::Timeout, message))
        })?;
        Ok(are_complete.then_some(sent))
    }
}

/// Runs futures concurrently; returns their results in any order, or the first error.
async fn all<T: Send + 'static>(
    futures: impl Iterator<Item = impl Future<Output = Result<T, Error>> + Send + 'static>,
) -> Result<Vec<T>, Error> {
    let mut tasks: JoinSet<_> = futures.collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        let result = joined.map_err(|error| Error::new(ErrorKind::Connection, error))?;
        results.push(result?);
    }
    Ok(results)
}
