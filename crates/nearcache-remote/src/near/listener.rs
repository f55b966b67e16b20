//! The listener: what a near tier starts and asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::fork::{self, Recorded};
use super::listener_thread;
use super::state::{NearState, Term};
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::server_id::ServerId;

/// The shortest staleness that the listener keeps up with.
const SHORTEST: Duration = Duration::from_millis(20);

/// Which processes share a state, and so a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The state belongs to one process: [`NearState::private`].
    Process,
    /// The processes of the machine share the state: [`NearState::open_mapped`]. One of them runs the listener.
    Machine,
}

/// What a listener does, as far as this process knows.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether the listener's thread runs in this process.
    pub is_running: bool,
    /// Whether the listener is armed on all primaries and its newest round was answered. Where another process runs the
    /// listener, that is whether the gate is open.
    pub is_armed: bool,
    /// Why the thread of this process is not armed, or why it was not the last time.
    pub error: Option<Error>,
    /// Whether the servers cannot report writes: they are too old, a proxy speaks only RESP2, or the user has no
    /// permission. It is tried again every 30 seconds.
    pub is_unsupported: bool,
}

/// Keeps a state valid: reads the invalidations of all primaries in a thread.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
}

/// What a listener and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) state: NearState,
    pub(super) scope: Scope,
    pub(super) prefix: Vec<u8>,
    pub(super) max_staleness: Duration,
    /// See [`Listener::keep_epoch`].
    keeps_epoch: bool,
    /// The fork depth of the process in which the thread runs, or 0.
    runs_at: AtomicU64,
    pub(super) is_stopped: AtomicBool,
    /// The term of the thread, or 0.
    term: AtomicU64,
    is_armed: AtomicBool,
    is_unsupported: AtomicBool,
    error: ArcSwapOption<Error>,
    /// The open sockets. A child of `fork` closes its copies: the server would keep what it sends to them.
    sockets: ArcSwap<Vec<Recorded>>,
}

impl Listener {
    /// Creates a listener for the keys with a prefix. Does no I/O.
    #[must_use]
    pub fn new(
        config: Config,
        state: NearState,
        scope: Scope,
        prefix: Vec<u8>,
        max_staleness: Duration,
    ) -> Self {
        let shared = Shared {
            config,
            state,
            scope,
            prefix,
            max_staleness: max_staleness.max(SHORTEST),
            keeps_epoch: false,
            runs_at: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            term: AtomicU64::new(0),
            is_armed: AtomicBool::new(false),
            is_unsupported: AtomicBool::new(false),
            error: ArcSwapOption::const_empty(),
            sockets: ArcSwap::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes the listener arm without raising the epoch, which breaks the promise.
    ///
    /// For tests, which show that they notice. To be called before the listener is used.
    #[doc(hidden)]
    #[must_use]
    pub fn keep_epoch(mut self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.keeps_epoch = true;
        }
        self
    }

    /// Starts the thread if no process has to do what it does: this one, or with [`Scope::Machine`] any.
    ///
    /// Reads atomics and, with [`Scope::Machine`], the clock. To be called at every request to a server.
    #[inline]
    pub fn ensure_running(&self) {
        if !self.runs_here() && !self.runs_elsewhere() {
            self.start();
        }
    }

    fn runs_here(&self) -> bool {
        self.shared.runs_at.load(SeqCst) == fork::depth()
    }

    /// Returns whether another process runs the listener of the machine.
    fn runs_elsewhere(&self) -> bool {
        let shared = &self.shared;
        shared.scope == Scope::Machine
            && shared
                .state
                .heartbeat_age()
                .is_some_and(|age| age < shared.lease())
    }

    #[cold]
    fn start(&self) {
        let shared = &self.shared;
        // First, so that the depth is right at every fork that copies `runs_at`.
        if shared.is_stopped.load(SeqCst) || shared.failed(fork::install_handler()) {
            return;
        }
        let (found, depth) = (shared.runs_at.load(SeqCst), fork::depth());
        let is_mine = found != depth
            && shared
                .runs_at
                .compare_exchange(found, depth, SeqCst, SeqCst)
                .is_ok();
        if !is_mine {
            return;
        }
        // What the parent of this process had.
        shared.is_armed.store(false, SeqCst);
        for socket in shared.sockets.swap(Arc::default()).iter() {
            socket.close_inherited();
        }
        if shared.failed(listener_thread::spawn(Arc::clone(shared))) {
            shared.runs_at.store(0, SeqCst);
        }
    }

    /// Ends the listener for good. Another process of the machine can succeed it at once.
    ///
    /// To be called before the process exits. Does not wait for the thread.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, SeqCst);
        if self.runs_here() {
            let term = Term::from_number(self.shared.term.load(SeqCst));
            self.shared.state.end_term(term);
        }
    }

    /// Returns what the listener does.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let is_running = self.runs_here();
        let is_armed = if is_running {
            shared.is_armed.load(SeqCst)
        } else {
            shared.scope == Scope::Machine && shared.state.is_open(shared.max_staleness)
        };
        Status {
            is_running,
            is_armed,
            error: shared.error.load().as_deref().cloned(),
            is_unsupported: is_running && shared.is_unsupported.load(SeqCst),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Returns how long a listener may be silent before another one succeeds it.
    pub(super) fn lease(&self) -> Duration {
        match self.scope {
            // The heartbeat that a forked process finds is its parent's.
            Scope::Process => Duration::ZERO,
            Scope::Machine => self.max_staleness * 2,
        }
    }

    /// Arms the listener on these servers.
    pub(super) fn arm(&self, term: Term, servers: &[ServerId]) {
        if self.keeps_epoch {
            self.state.mark_armed(term, servers);
        } else {
            self.state.arm(term, servers);
        }
    }

    /// Disarms the listener, which lost a connection or found other primaries.
    pub(super) fn apply_loss(&self, term: Term) {
        if self.keeps_epoch {
            self.state.mark_armed(term, &[]);
        } else {
            self.state.apply_loss(term);
        }
    }

    /// Stores which term the thread runs in.
    pub(super) fn report_term(&self, term: Term) {
        self.term.store(term.number(), SeqCst);
    }

    /// Stores that a round was answered.
    pub(super) fn report_confirmation(&self) {
        self.is_armed.store(true, SeqCst);
        self.is_unsupported.store(false, SeqCst);
    }

    /// Stores why the listener is not armed.
    pub(super) fn report_error(&self, error: Error) {
        self.is_armed.store(false, SeqCst);
        self.is_unsupported
            .store(error.kind == ErrorKind::Unsupported, SeqCst);
        self.error.store(Some(Arc::new(error)));
    }

    /// Stores which descriptors a connection has.
    pub(super) fn record(&self, descriptors: [Recorded; 2]) {
        self.sockets.rcu(|open| [open.as_slice(), &descriptors].concat());
    }

    /// Stores that a connection is about to close its descriptors.
    pub(super) fn forget(&self, descriptors: [Recorded; 2]) {
        self.sockets.rcu(|open| {
            let others = open.iter().filter(|other| !descriptors.contains(other));
            others.copied().collect::<Vec<_>>()
        });
    }

    /// Stores that the thread has ended.
    pub(super) fn report_end(&self) {
        self.is_armed.store(false, SeqCst);
        self.runs_at.store(0, SeqCst);
    }

    /// Stores the error of a system call, if any; returns whether there was one.
    fn failed(&self, result: std::io::Result<()>) -> bool {
        let Err(error) = result else { return false };
        let message = format!("the listener's thread cannot be started: {error}");
        self.report_error(Error::new(ErrorKind::Connection, message));
        true
    }
}
