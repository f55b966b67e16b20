//! What the listener makes of a server's pushes, replies, silence and refusals.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // also in the helpers

mod fake_server;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fake_server::{FLUSH, FakeServer, invalidation};
use nearcache_remote::near::{Listener, NearState, Scope, Stamp, Stripe};
use nearcache_remote::{Config, Endpoints, ServerId};

const MAX_STALENESS: Duration = Duration::from_millis(200);
/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn listener_of(endpoints: Endpoints, state: NearState, scope: Scope) -> Listener {
    Listener::new(
        Config::new(endpoints),
        state,
        scope,
        b"p:".to_vec(),
        MAX_STALENESS,
    )
}

/// A server, and a listener that has started on it.
fn started() -> (FakeServer, NearState, Listener) {
    let server = FakeServer::start();
    let (state, listener) = start(&server);
    (server, state, listener)
}

fn start(server: &FakeServer) -> (NearState, Listener) {
    let state = NearState::private().unwrap();
    let listener = listener_of(Endpoints::Single(server.addr()), state, Scope::Process);
    listener.ensure_running();
    (state, listener)
}

/// A server, and a listener that is armed on it.
fn armed() -> (FakeServer, NearState, Listener) {
    let (server, state, listener) = started();
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    (server, state, listener)
}

#[track_caller]
fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "timed out: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// Whether a copy may be served now.
fn may_serve(state: NearState, stripe: Stripe, stamp: Stamp) -> bool {
    let gate = state.open_gate(MAX_STALENESS);
    gate.is_some_and(|gate| state.may_serve(gate, stripe, stamp))
}

fn id(server: &FakeServer) -> ServerId {
    ServerId::from_run_id(server.behaviour().run_id.as_bytes())
}

fn error(listener: &Listener) -> String {
    listener
        .status()
        .error
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn the_listener_tracks_its_prefix_on_a_primary() {
    let (server, state, listener) = armed();
    assert!(state.is_armed(id(&server)) && !state.is_armed(ServerId::UNKNOWN));
    let status = listener.status();
    assert!(status.is_running && status.is_armed && !status.is_unsupported);
    let commands = &server.behaviour().commands;
    let tracking = ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "p:"];
    assert!(commands.iter().any(|command| command == &tracking));
    let count = commands
        .iter()
        .filter(|command| command[1..] == tracking[1..])
        .count();
    assert_eq!(count, 1);
}

#[test]
fn a_push_invalidates_its_stripe() {
    let (server, state, _listener) = armed();
    let (key, other) = (Stripe::of(b"p:a"), Stripe::of(b"p:b"));
    let (stamp, of_other) = (state.stamp(key), state.stamp(other));
    server.push(&invalidation("p:a"));
    wait("the push is applied", || !state.is_current(key, stamp));
    assert!(state.is_current(other, of_other));
    assert!(may_serve(state, other, of_other));
}

#[test]
fn a_push_before_a_reply_is_applied_before_that_reply_confirms() {
    let (server, state, _listener) = armed();
    for _ in 0..10 {
        let key = Stripe::of(b"p:a");
        let (stamp, age) = (state.stamp(key), || state.confirmation_age().unwrap_or(PATIENCE));
        server.behaviour().before_reply = invalidation("p:a");
        let mut last = age();
        let start = Instant::now();
        // The age falls when a round is confirmed.
        while age() >= last {
            last = age();
            assert!(start.elapsed() < PATIENCE);
        }
        let is_sent = server.behaviour().before_reply.is_empty();
        assert!(!is_sent || !state.is_current(key, stamp));
        wait("the push is applied", || !state.is_current(key, stamp));
    }
}

#[test]
fn nil_is_a_flush() {
    let (server, state, _listener) = armed();
    let key = Stripe::of(b"p:a");
    let stamp = state.stamp(key);
    assert!(state.may_serve_in_outage(key, stamp));
    server.push(FLUSH);
    wait("the flush is applied", || !state.is_current(key, stamp));
    wait("old copies are not even served in an outage", || {
        !state.may_serve_in_outage(key, stamp)
    });
    assert_eq!((state.counters().flushes, state.counters().losses), (1, 0));
}

#[test]
fn a_lost_connection_invalidates_everything_and_is_replaced() {
    let (server, state, _listener) = armed();
    let key = Stripe::of(b"p:a");
    let stamp = state.stamp(key);
    server.disconnect();
    wait("the loss is noticed", || !state.is_current(key, stamp));
    assert!(state.may_serve_in_outage(key, stamp));
    wait("the listener is armed again", || state.is_armed(id(&server)));
    assert_eq!(state.counters().losses, 1);
}

#[test]
fn a_server_that_falls_silent_shuts_the_gate() {
    let (server, state, listener) = armed();
    server.behaviour().is_silent = true;
    let start = Instant::now();
    wait("the gate shuts", || !state.is_open(MAX_STALENESS));
    assert!(start.elapsed() <= MAX_STALENESS + Duration::from_millis(100));
    wait("the connection is given up", || !state.is_armed(id(&server)));
    assert!(
        error(&listener).contains("not answered within 200 ms"),
        "{}",
        error(&listener)
    );
    let silent = state.stamp(Stripe::of(b"p:a"));
    server.behaviour().is_silent = false;
    server.disconnect();
    wait("the gate opens again", || state.is_open(MAX_STALENESS));
    assert!(!state.is_current(Stripe::of(b"p:a"), silent));
}

#[test]
fn a_server_that_runs_a_script_is_not_confirmed_and_not_lost() {
    let (server, state, _listener) = armed();
    let key = Stripe::of(b"p:a");
    let stamp = state.stamp(key);
    server.behaviour().is_busy = true;
    wait("the gate shuts", || !state.is_open(MAX_STALENESS));
    sleep(2 * MAX_STALENESS);
    assert!(!state.is_open(MAX_STALENESS) && state.is_armed(id(&server)));
    server.behaviour().is_busy = false;
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    assert!(state.is_current(key, stamp));
    assert_eq!(state.counters().losses, 0);
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = FakeServer::start();
    server.behaviour().hello_delay = 2 * MAX_STALENESS;
    let (state, _listener) = start(&server);
    sleep(MAX_STALENESS);
    assert!(state.confirmation_age().is_none());
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    assert_eq!(state.counters().losses, 0);
}

#[test]
fn a_replica_is_not_armed() {
    let (server, state, listener) = armed();
    server.behaviour().role = "slave";
    wait("the change is noticed", || !state.is_armed(id(&server)));
    wait("the gate shuts", || !state.is_open(MAX_STALENESS));
    assert!(error(&listener).ends_with("is a slave"), "{}", error(&listener));
    server.behaviour().role = "master";
    wait("it is a primary again", || state.is_armed(id(&server)));
}

#[test]
fn a_restarted_server_is_another_one() {
    let (server, state, _listener) = armed();
    let old = id(&server);
    server.behaviour().run_id = "another".to_owned();
    server.disconnect();
    wait("the new one is armed", || state.is_armed(id(&server)));
    assert!(!state.is_armed(old));
}

#[test]
fn a_server_without_what_is_needed_is_given_up() {
    let refusals = [
        (
            Some("ERR unknown command `HELLO`, with args beginning with: `3`, "),
            None,
            "HELLO",
        ),
        (Some("NOPROTO unsupported protocol version"), None, "NOPROTO"),
        (
            None,
            Some("ERR Unknown subcommand or wrong number of arguments"),
            "CLIENT TRACKING is refused",
        ),
        (
            None,
            Some("NOPERM User u has no permissions to run it"),
            "no permissions",
        ),
    ];
    for (hello, tracking, text) in refusals {
        let server = FakeServer::start();
        server.behaviour().hello_error = hello;
        server.behaviour().tracking_error = tracking;
        let (state, listener) = start(&server);
        wait("the listener gives up", || listener.status().is_unsupported);
        assert!(error(&listener).contains(text), "{}", error(&listener));
        assert!(listener.status().is_running && state.confirmation_age().is_none());
    }
}

#[test]
fn a_refused_password_is_not_unsupported() {
    let server = FakeServer::start();
    server.behaviour().hello_error = Some("WRONGPASS invalid username-password pair or user is disabled.");
    let (_, listener) = start(&server);
    wait("the error is reported", || error(&listener).contains("WRONGPASS"));
    assert!(!listener.status().is_unsupported);
}

#[test]
fn the_sentinels_name_the_primary() {
    let servers = [FakeServer::start(), FakeServer::start()];
    let sentinels = [FakeServer::start(), FakeServer::start(), FakeServer::start()];
    let name = |server: &FakeServer| {
        for sentinel in &sentinels {
            sentinel.behaviour().named = Some(server.port);
        }
    };
    name(&servers[0]);
    // One of them does not answer from the beginning.
    sentinels[2].behaviour().is_silent = true;
    let state = NearState::private().unwrap();
    let endpoints = Endpoints::Sentinel {
        sentinels: sentinels.iter().map(FakeServer::addr).collect(),
        settings: Box::default(),
        service: "mymaster".to_owned(),
    };
    let listener = listener_of(endpoints, state, Scope::Process);
    listener.ensure_running();
    wait("the primary is armed", || state.is_armed(id(&servers[0])));
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    let stamp = state.stamp(Stripe::of(b"p:a"));
    name(&servers[1]);
    wait("the new primary is armed", || state.is_armed(id(&servers[1])));
    assert!(!state.is_armed(id(&servers[0])));
    assert!(!state.is_current(Stripe::of(b"p:a"), stamp));
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    for sentinel in &sentinels {
        sentinel.behaviour().is_silent = true;
    }
    wait("without Sentinels, the gate shuts", || {
        !state.is_open(MAX_STALENESS)
    });
}

/// Returns an answer to `CLUSTER SLOTS` in which these servers share the slots.
fn slots(primaries: &[&FakeServer]) -> Vec<u8> {
    let mut reply = format!("*{}\r\n", primaries.len());
    for (number, primary) in primaries.iter().enumerate() {
        let (slot, port) = (number * 100, primary.port);
        let range = format!("*3\r\n:{slot}\r\n:{}\r\n", slot + 99);
        let node = format!("*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$5\r\n{port:05}\r\n");
        reply.extend([range, node]);
    }
    reply.into_bytes()
}

#[test]
fn all_primaries_of_a_cluster_are_armed() {
    let nodes = [FakeServer::start(), FakeServer::start(), FakeServer::start()];
    let [first, second, third] = &nodes;
    let agree = |primaries: &[&FakeServer]| {
        for node in &nodes {
            node.behaviour().slots = slots(primaries);
        }
    };
    agree(&[first, second]);
    let state = NearState::private().unwrap();
    let endpoints = Endpoints::Cluster(vec![first.addr(), second.addr()]);
    let listener = listener_of(endpoints, state, Scope::Process);
    listener.ensure_running();
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    assert!(state.is_armed(id(first)) && state.is_armed(id(second)) && !state.is_armed(id(third)));
    let stamp = state.stamp(Stripe::of(b"p:a"));
    second.push(&invalidation("p:a"));
    wait("a push of any primary is applied", || {
        !state.is_current(Stripe::of(b"p:a"), stamp)
    });

    // A slot moves from one to the other, which is armed too.
    let stamp = state.stamp(Stripe::of(b"p:a"));
    agree(&[second, first]);
    sleep(2 * MAX_STALENESS);
    assert!(may_serve(state, Stripe::of(b"p:a"), stamp));

    agree(&[first, second, third]);
    wait("the one that joined is armed", || state.is_armed(id(third)));
    assert!(!state.is_current(Stripe::of(b"p:a"), stamp));
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    third.behaviour().is_silent = true;
    wait("without one of them, the gate shuts", || {
        !state.is_open(MAX_STALENESS)
    });
}

#[test]
fn the_gate_stays_shut_while_the_primaries_disagree() {
    let nodes = [FakeServer::start(), FakeServer::start(), FakeServer::start()];
    let [first, second, third] = &nodes;
    first.behaviour().slots = slots(&[first, second]);
    second.behaviour().slots = slots(&[first, third]);
    let state = NearState::private().unwrap();
    let endpoints = Endpoints::Cluster(vec![first.addr(), second.addr()]);
    let listener = listener_of(endpoints, state, Scope::Process);
    listener.ensure_running();
    wait("it is tried again", || state.counters().losses >= 2);
    assert!(state.confirmation_age().is_none());
    assert!(
        error(&listener).contains("changed") || error(&listener).contains("serves"),
        "{}",
        error(&listener)
    );
    second.behaviour().slots = slots(&[first, second]);
    wait("the gate opens", || state.is_open(MAX_STALENESS));
}

fn state_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("nearcache-{name}-{}", std::process::id()));
    std::fs::remove_file(&path).ok();
    path
}

#[test]
fn another_listener_of_the_machine_succeeds_one_that_stopped() {
    let server = FakeServer::start();
    let path = state_path("succession");
    let state = NearState::open_mapped(&path).unwrap();
    let on_machine = || listener_of(Endpoints::Single(server.addr()), state, Scope::Machine);
    let (first, second) = (on_machine(), on_machine());
    first.ensure_running();
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    second.ensure_running();
    assert!(!second.status().is_running && second.status().is_armed);
    let stamp = state.stamp(Stripe::of(b"p:a"));
    first.stop();
    second.ensure_running();
    assert!(second.status().is_running);
    wait("the second is armed", || second.status().is_armed);
    assert!(!state.is_current(Stripe::of(b"p:a"), stamp));
    wait("the first ends", || !first.status().is_running);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_listener_that_falls_silent_is_succeeded_after_its_lease() {
    let server = FakeServer::start();
    let path = state_path("lease");
    let state = NearState::open_mapped(&path).unwrap();
    // It runs once, and never again.
    let silent = state.begin_term(Duration::ZERO).unwrap();
    let start = Instant::now();
    let listener = listener_of(Endpoints::Single(server.addr()), state, Scope::Machine);
    while !listener.status().is_running {
        listener.ensure_running();
        sleep(Duration::from_millis(1));
    }
    // The heartbeat is rounded down to a millisecond.
    assert!(start.elapsed() + Duration::from_millis(2) >= 2 * MAX_STALENESS);
    wait("the gate opens", || state.is_open(MAX_STALENESS));
    assert!(!state.beat(silent));
    // The thread ends when another one succeeds it.
    assert!(state.begin_term(Duration::ZERO).is_some());
    wait("the thread ends", || !listener.status().is_running);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_dropped_listener_ends_its_thread() {
    let (server, state, listener) = armed();
    drop(listener);
    wait("the gate shuts", || !state.is_open(MAX_STALENESS));
    wait("it is disarmed", || !state.is_armed(id(&server)));
}
