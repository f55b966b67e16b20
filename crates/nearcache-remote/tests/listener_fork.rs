//! The child of a `fork` runs a listener of its own, and does not keep its parent's connection open.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in helper code, as in tests

#[allow(dead_code)] // other tests use the rest
mod fake_server;

use std::thread::sleep;
use std::time::{Duration, Instant};

use fake_server::{FakeServer, invalidation};
use nearcache_remote::near::{Listener, NearState, Scope, Stripe};
use nearcache_remote::{Config, Endpoints};

const MAX_STALENESS: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

fn wait(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(1));
    }
    is_so()
}

/// Forks, and runs a function in the child, which exits with 0 if that returns `true`. Returns the child's process id.
fn fork(in_child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: after a fork in a process with several threads, the child may use only what no other thread had locked. It uses
    // the listener, which locks nothing, and the allocator, which glibc and musl make usable in the child.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // SAFETY: both calls take integers. `_exit` ends the child without running the parent's exit handlers.
        #[allow(unsafe_code)]
        unsafe {
            libc::alarm(20);
            libc::_exit(i32::from(!in_child()));
        }
    }
    pid
}

fn exit_status(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `pid` is a child's, and `status` is a local variable that the call may write to.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

#[test]
fn a_child_runs_its_own_listener_and_lets_its_parents_end() {
    let server = FakeServer::start();
    let state = NearState::private().unwrap();
    let config = Config::new(Endpoints::Single(server.addr()));
    let listener = Listener::new(config, state, Scope::Process, b"p:".to_vec(), MAX_STALENESS);
    listener.ensure_running();
    assert!(wait(|| listener.status().is_armed));

    let key = Stripe::of(b"p:a");
    let copied = state.stamp(key);
    let child = fork(|| {
        let is_idle = !listener.status().is_running && !listener.status().is_armed;
        listener.ensure_running();
        let is_armed = listener.status().is_running && wait(|| listener.status().is_armed);
        let stamp = state.stamp(key);
        is_idle && is_armed && stamp != copied && wait(|| !state.is_current(key, stamp))
    });
    assert!(wait(|| server.behaviour().tracking.len() == 2));
    assert!(state.is_current(key, copied));
    // Until the child has taken its stamp, after it is armed.
    for _ in 0..20 {
        server.push(&invalidation("p:a"));
        sleep(MAX_STALENESS / 4);
    }
    assert_eq!(exit_status(child), 0);
    assert!(wait(|| !state.is_current(key, copied)));

    let idle = fork(|| {
        sleep(PATIENCE);
        true
    });
    let ended = server.behaviour().ended;
    drop(listener);
    assert!(
        wait(|| server.behaviour().ended > ended),
        "the child keeps the connection open"
    );
    // SAFETY: the call takes integers.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(idle, libc::SIGKILL);
    }
    assert_ne!(exit_status(idle), 0);
}
