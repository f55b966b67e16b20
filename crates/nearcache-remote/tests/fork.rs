//! A child of `fork` opens its own connections and its own thread, whatever the parent's threads were doing.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use nearcache_remote::{Remote, RemoteCounters};
use support::{Action, Fake, WAYS, bulk, remote, request, texts};

const FORKS: usize = 40;
/// A child that deadlocks is killed after this time, and the test fails.
const CHILD_SECONDS: u32 = 20;

/// Executes requests in both ways; returns whether each got its own reply.
fn works(remote: &Remote, name: &str) -> bool {
    (0..5).all(|step| {
        let key = format!("{name}-{step}");
        let get = |way: support::Way| way(remote, request(&["GET", &key], true));
        WAYS.into_iter()
            .all(|way| get(way).is_ok_and(|replies| texts(replies) == [key.as_str()]))
    })
}

/// Uses the remote tier in the child, and exits with 0 if every request worked.
fn child(remote: &Remote, name: &str) -> ! {
    let is_fresh = remote.counters() == RemoteCounters::default();
    // SAFETY: both calls take plain integers. `_exit` ends the child without running the parent's destructors and exit handlers.
    #[allow(unsafe_code)]
    unsafe {
        libc::alarm(CHILD_SECONDS);
        libc::_exit(i32::from(!(is_fresh && works(remote, name))));
    }
}

/// Forks, and returns the child's exit status.
fn fork_once(remote: &Remote, name: &str) -> i32 {
    // SAFETY: after a fork in a process with several threads, the child may use only what no other thread had locked. It uses
    // the remote tier, which creates new state, and the allocator, which glibc and musl make usable in the child.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        child(remote, name);
    }
    let mut status = 0;
    // SAFETY: the status is written to a variable of this function.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

#[test]
fn children_work_while_the_parents_threads_do() {
    let fake = Fake::start(|_, words| (words[0] == "GET").then(|| Action::Send(bulk(&words[1]))));
    let remote = remote(&format!("{}?socket_timeout=10", fake.url()));
    assert!(works(&remote, "parent"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..3 {
            let (remote, is_over) = (&remote, &is_over);
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    assert!(works(remote, &format!("thread{number}")));
                }
            });
        }
        let statuses: Vec<i32> = (0..FORKS)
            .map(|number| fork_once(&remote, &format!("child{number}")))
            .collect();
        is_over.store(true, SeqCst);
        assert_eq!(statuses, [0; FORKS]);
    });
    // Each child opened two connections of its own, and closed none of the parent's.
    let connections = fake.connections();
    assert!(works(&remote, "parent"));
    assert_eq!(fake.connections(), connections);
    assert!(
        (2 + 2 * FORKS..=6 + 2 * FORKS).contains(&connections),
        "{connections}"
    );
}
