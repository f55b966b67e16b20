//! Requests that do not block.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nearcache_remote::{ErrorKind, ServerId};
use support::{Action, Fake, add, bulk, remote, request, start, texts};

/// Answers GET with its key.
fn echo(words: &[String]) -> Option<Action> {
    (words[0] == "GET").then(|| Action::Send(bulk(&words[1])))
}

#[test]
fn thousands_of_requests_at_once_get_their_own_replies() {
    let fake = Fake::start(|_, words| echo(words));
    let remote = remote(&format!("{}?socket_timeout=20", fake.url()));
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (remote, send) = (&remote, send.clone());
            scope.spawn(move || {
                for step in 0..2500 {
                    let (one, two) = (format!("{thread}-{step}-a"), format!("{thread}-{step}-b"));
                    let mut both = request(&["GET", &one], true);
                    add(&mut both, &["SET", "x", "1"], true);
                    add(&mut both, &["GET", &two], true);
                    let send = send.clone();
                    let done = move |result| send.send((one, two, result)).unwrap();
                    remote.start(both, Box::new(done));
                }
            });
        }
    });
    drop(send);
    let mut count = 0;
    for (one, two, result) in receive {
        assert_eq!(texts(result.unwrap()), [one.as_str(), "OK", two.as_str()]);
        count += 1;
    }
    assert_eq!((count, fake.connections()), (10_000, 1));
}

#[test]
fn requests_wait_for_a_slow_server_together() {
    let fake = Fake::start(|_, words| {
        (words[0] == "GET").then(|| Action::Later(Duration::from_millis(1), bulk(&words[1])))
    });
    let remote = remote(&fake.url());
    let (send, receive) = mpsc::channel();
    let started = Instant::now();
    for number in 0..100 {
        let send = send.clone();
        remote.start(
            request(&["GET", &number.to_string()], true),
            Box::new(move |result| send.send(result).unwrap()),
        );
    }
    assert!(
        started.elapsed() < Duration::from_millis(50),
        "starting does not wait"
    );
    drop(send);
    assert_eq!(receive.iter().flatten().count(), 100);
}

#[test]
fn the_server_and_the_error_are_those_of_blocking_requests() {
    let fake = Fake::start(|_, words| match words[1].as_str() {
        "silent" => Some(Action::Nothing),
        "close" => Some(Action::Close),
        _ => echo(words),
    });
    let remote = remote(&fake.url());
    let replies = start(&remote, request(&["GET", "a"], true)).unwrap();
    assert_eq!(
        replies[0].server,
        ServerId::from_run_id(format!("run{}", fake.port).as_bytes())
    );
    let closed = start(&remote, request(&["INCR", "close"], false)).unwrap_err();
    assert_eq!(
        closed.to_string(),
        format!("{} closed the connection", fake.name())
    );
    start(&remote, request(&["GET", "a"], true)).unwrap();
    let silent = start(&remote, request(&["GET", "silent"], true)).unwrap_err();
    assert_eq!(
        (silent.kind, silent.to_string()),
        (
            ErrorKind::Timeout,
            format!("no reply from {} within 300ms", fake.name())
        )
    );
    let refused = start(&remote, request(&["GET", "a"], true)).unwrap_err();
    assert!(refused.to_string().contains("out of order for"), "{refused}");
    let counters = remote.counters();
    assert_eq!(
        (counters.requests, counters.errors, counters.breaker_trips),
        (5, 3, 1)
    );
}

#[test]
fn a_broken_connection_costs_a_repeatable_command_nothing() {
    let fake = Fake::start(|connection, words| match (connection, words[1].as_str()) {
        (0, "b") => Some(Action::Close),
        _ => echo(words),
    });
    let remote = remote(&fake.url());
    for key in ["a", "b", "c"] {
        assert_eq!(
            texts(start(&remote, request(&["GET", key], true)).unwrap()),
            [key]
        );
    }
    fake.cut();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(
        texts(start(&remote, request(&["INCR", "n"], false)).unwrap()),
        ["OK"]
    );
    assert_eq!(fake.connections(), 3);
}

#[test]
fn one_connection_that_fails_fails_for_all_at_once() {
    let remote = remote("redis://127.0.0.1:1");
    let (send, receive) = mpsc::channel();
    for _ in 0..100 {
        let send = send.clone();
        remote.start(
            request(&["GET", "a"], true),
            Box::new(move |result| send.send(result).unwrap()),
        );
    }
    drop(send);
    let started = Instant::now();
    let errors: Vec<_> = receive.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.len() == 100 && started.elapsed() < Duration::from_secs(1));
    assert!(
        errors
            .iter()
            .all(|error| error.to_string().starts_with("cannot connect to 127.0.0.1:1: "))
    );
    assert_eq!(remote.counters().breaker_trips, 1);
}

#[test]
fn everybody_is_back_within_a_second() {
    let fake = Fake::start(|_, words| echo(words));
    let remote = remote(&fake.url());
    let get = || start(&remote, request(&["GET", "a"], true));
    get().unwrap();
    fake.set_down(true);
    let down = Instant::now();
    while down.elapsed() < Duration::from_secs(1) {
        get().unwrap_err();
        thread::sleep(Duration::from_millis(1));
    }
    fake.set_down(false);
    let up = Instant::now();
    while get().is_err() {
        assert!(up.elapsed() < Duration::from_secs(1));
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_repeated_request_is_sent_until_it_is_dropped() {
    let (send, receive) = mpsc::channel();
    let send = std::sync::Mutex::new(send);
    let fake = Fake::start(move |_, words| {
        if words[0] == "GET" {
            // The test may have ended.
            let _ = send.lock().unwrap().send(());
        }
        echo(words)
    });
    let remote = remote(&fake.url());
    let repeated = remote.repeat(request(&["GET", "key"], true), Duration::from_millis(1));
    for _ in 0..3 {
        receive.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    drop(repeated);
    // Those that were on their way may still arrive; the stream ends.
    while receive.recv_timeout(Duration::from_millis(200)).is_ok() {}
    assert!(receive.try_recv().is_err());
}
