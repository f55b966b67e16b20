//! One server: connections that break, replies that are late, errors that say what happened.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nearcache_remote::{ErrorKind, Remote, ServerId};
use support::{Action, Fake, add, bulk, remote, request, texts};

fn get(remote: &Remote, key: &str) -> Result<Vec<String>, nearcache_remote::Error> {
    remote.execute(&request(&["GET", key], true)).map(texts)
}

/// Answers GET with its key.
fn echo(words: &[String]) -> Option<Action> {
    (words[0] == "GET").then(|| Action::Send(bulk(&words[1])))
}

#[test]
fn replies_come_in_order_with_the_server_that_answered() {
    let fake = Fake::start(|_, words| echo(words));
    let remote = remote(&fake.url());
    assert_eq!(
        remote.counters().requests,
        0,
        "nothing happens before the first request"
    );
    let mut many = request(&["GET", "a"], true);
    add(&mut many, &["SET", "b", "1"], true);
    add(&mut many, &["GET", "c"], true);
    let replies = remote.execute(&many).unwrap();
    let server = ServerId::from_run_id(format!("run{}", fake.port).as_bytes());
    assert!(
        replies
            .iter()
            .all(|reply| reply.server == server && *reply.address == *fake.name())
    );
    assert_eq!(texts(replies), ["a", "OK", "c"]);
    get(&remote, "d").unwrap();
    assert_eq!(fake.connections(), 1);
    let counters = remote.counters();
    assert_eq!(
        (counters.requests, counters.errors, counters.connections),
        (2, 0, 1)
    );
    assert!(
        remote
            .execute(&nearcache_remote::Request::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn threads_share_at_most_max_connections() {
    let fake = Fake::start(|_, words| {
        (words[0] == "GET").then(|| Action::Later(Duration::from_millis(20), bulk(&words[1])))
    });
    let remote = remote(&fake.url());
    thread::scope(|scope| {
        for number in 0..12 {
            let remote = &remote;
            scope.spawn(move || {
                for step in 0..4 {
                    let key = format!("{number}-{step}");
                    assert_eq!(get(remote, &key).unwrap(), [key]);
                }
            });
        }
    });
    assert_eq!((fake.connections(), remote.counters().connections), (4, 4));
}

#[test]
fn a_caller_that_finds_no_free_connection_is_told() {
    let pause = Duration::from_millis(250);
    let fake = Fake::start(move |_, words| (words[1] == "slow").then(|| Action::Later(pause, bulk("slow"))));
    let remote = remote(&format!("{}?max_connections=1", fake.url()));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut slow = request(&["GET", "slow"], true);
            add(&mut slow, &["GET", "slow"], true);
            remote.execute(&slow).unwrap();
        });
        thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        let error = get(&remote, "b").unwrap_err();
        assert!(error.to_string().starts_with("all 1 connections to"), "{error}");
        assert!(started.elapsed() < Duration::from_millis(400));
    });
}

#[test]
fn a_broken_connection_costs_a_repeatable_command_nothing() {
    let fake = Fake::start(|connection, words| match (connection, words[0].as_str()) {
        (0, "GET") if words[1] == "b" => Some(Action::Close),
        _ => echo(words),
    });
    let remote = remote(&fake.url());
    assert_eq!(get(&remote, "a").unwrap(), ["a"]);
    assert_eq!(get(&remote, "b").unwrap(), ["b"]);
    let counters = remote.counters();
    assert_eq!(
        (fake.connections(), counters.reconnects, counters.errors),
        (2, 1, 0)
    );
}

#[test]
fn a_command_that_must_not_be_repeated_fails_if_its_reply_is_lost() {
    let fake = Fake::start(|_, words| (words[0] == "INCR").then_some(Action::Close));
    let remote = remote(&fake.url());
    get(&remote, "a").unwrap();
    let error = remote.execute(&request(&["INCR", "n"], false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} closed the connection", fake.name())
    );
    assert_eq!(error.kind, ErrorKind::Connection);
    assert_eq!(fake.commands(), ["GET a", "INCR n"]);
    // The others are not affected.
    get(&remote, "a").unwrap();
    assert!(!remote.counters().breaker_open);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used() {
    let fake = Fake::start(|_, words| (words[0] == "INCR").then(|| Action::Send(":1\r\n".to_owned())));
    let remote = remote(&fake.url());
    get(&remote, "a").unwrap();
    fake.cut();
    thread::sleep(Duration::from_millis(50));
    let replies = remote.execute(&request(&["INCR", "n"], false)).unwrap();
    assert_eq!(texts(replies), ["1"]);
}

#[test]
fn only_the_commands_without_a_reply_are_sent_again() {
    let fake = Fake::start(|connection, words| match (connection, words[0].as_str()) {
        (0, "INCR") => Some(Action::SendAndClose(":1\r\n".to_owned())),
        _ => echo(words),
    });
    let remote = remote(&fake.url());
    get(&remote, "a").unwrap();
    let mut both = request(&["INCR", "n"], false);
    add(&mut both, &["GET", "b"], true);
    assert_eq!(texts(remote.execute(&both).unwrap()), ["1", "b"]);
    assert_eq!(
        fake.commands()
            .iter()
            .filter(|command| *command == "INCR n")
            .count(),
        1
    );
}

#[test]
fn a_new_connection_that_breaks_is_not_tried_again_and_again() {
    let fake = Fake::start(|_, words| (words[0] == "GET").then_some(Action::Close));
    let error = get(&remote(&fake.url()), "a").unwrap_err();
    assert_eq!((error.kind, fake.connections()), (ErrorKind::Connection, 1));
}

#[test]
fn a_late_reply_is_never_given_to_another_command() {
    let fake = Fake::start(|_, words| match words[1].as_str() {
        "late" => Some(Action::Later(Duration::from_millis(400), bulk("late"))),
        _ => echo(words),
    });
    let remote = remote(&fake.url());
    let started = Instant::now();
    let error = get(&remote, "late").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no reply from {} within 300ms", fake.name())
    );
    assert!(started.elapsed() < Duration::from_millis(390));
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(10));
        if let Ok(replies) = get(&remote, "b") {
            assert_eq!(replies, ["b"]);
        }
    }
    assert_eq!(get(&remote, "c").unwrap(), ["c"]);
}

#[test]
fn a_dead_server_costs_one_timeout() {
    let fake = Fake::start(|_, words| (words[0] == "GET").then_some(Action::Nothing));
    let remote = remote(&fake.url());
    get(&remote, "a").unwrap_err();
    let started = Instant::now();
    for _ in 0..1000 {
        let error = get(&remote, "a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(
            error.to_string().contains("within 300ms (out of order for"),
            "{error}"
        );
        if started.elapsed() > Duration::from_millis(40) {
            break;
        }
    }
    let counters = remote.counters();
    assert_eq!((counters.breaker_trips, counters.breaker_open), (1, true));
}

#[test]
fn everybody_is_back_within_a_second() {
    let fake = Fake::start(|_, words| echo(words));
    let remote = remote(&fake.url());
    get(&remote, "a").unwrap();
    fake.set_down(true);
    let down = Instant::now();
    while down.elapsed() < Duration::from_millis(1500) {
        get(&remote, "a").unwrap_err();
        thread::sleep(Duration::from_millis(1));
    }
    fake.set_down(false);
    let up = Instant::now();
    while get(&remote, "a").is_err() {
        assert!(up.elapsed() < Duration::from_secs(1));
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!remote.counters().breaker_open);
}

#[test]
fn errors_name_the_server_and_the_reason() {
    let refused = get(&remote("redis://127.0.0.1:1"), "a").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot connect to 127.0.0.1:1: connection refused"
    );
    let unknown = get(&remote("redis://nearcache.invalid"), "a").unwrap_err();
    assert!(
        unknown
            .to_string()
            .starts_with("cannot resolve the host of nearcache.invalid:6379: "),
        "{unknown}"
    );
    let socket = get(&remote("unix:///nonexistent/socket"), "a").unwrap_err();
    assert_eq!(
        socket.to_string(),
        "cannot connect to /nonexistent/socket: the socket does not exist"
    );
    for error in [refused, unknown, socket] {
        assert_eq!(error.kind, ErrorKind::Connection);
    }

    let web = Fake::start(|_, _| Some(Action::Send("HTTP/1.1 400 Bad Request\r\n".to_owned())));
    let error = get(&remote(&web.url()), "a").unwrap_err();
    let expected = format!(
        "the reply of {} is not in Redis's protocol: a reply has an unknown type",
        web.name()
    );
    assert_eq!((error.kind, error.to_string()), (ErrorKind::Response, expected));
}

#[test]
fn a_refused_password_is_told_without_the_password() {
    let fake = Fake::start(|_, words| {
        (words[0] == "AUTH").then(|| Action::Send("-WRONGPASS invalid password\r\n".to_owned()))
    });
    let error = get(&remote(&format!("redis://:hunter2@{}", fake.name())), "a").unwrap_err();
    let expected = format!("{} refused the user or password: invalid password", fake.name());
    assert_eq!(
        (error.kind, error.to_string()),
        (ErrorKind::Authentication, expected)
    );

    let fake = Fake::start(|_, _| Some(Action::Send("-NOAUTH Authentication required.\r\n".to_owned())));
    let error = get(&remote(&fake.url()), "a").unwrap_err();
    let expected = format!("{} requires a password: Authentication required.", fake.name());
    assert_eq!(
        (error.kind, error.to_string()),
        (ErrorKind::Authentication, expected)
    );
    assert!(!remote(&fake.url()).counters().breaker_open);
}

#[test]
fn an_answer_may_be_an_error_of_one_command() {
    let fake = Fake::start(|_, words| match words[1].as_str() {
        "moved" => Some(Action::Send("-MOVED 1 127.0.0.1:7\r\n".to_owned())),
        "full" => Some(Action::Send("-OOM command not allowed\r\n".to_owned())),
        _ => echo(words),
    });
    let remote = remote(&fake.url());
    let mut three = request(&["GET", "moved"], true);
    add(&mut three, &["GET", "full"], true);
    add(&mut three, &["GET", "c"], true);
    let replies = remote.execute(&three).unwrap();
    let errors: Vec<_> = replies
        .into_iter()
        .map(|reply| reply.into_value().map_err(|error| error.to_string()))
        .collect();
    let name = fake.name();
    let moved =
        format!("{name}: MOVED 1 127.0.0.1:7; {name} is a node of a Cluster, use redis+cluster://{name}");
    assert_eq!(errors[0], Err(moved));
    assert_eq!(errors[1], Err(format!("{name}: OOM command not allowed")));
    assert!(errors[2].is_ok());
}

#[test]
fn a_server_that_does_not_tell_its_run_id_is_unknown() {
    let fake = Fake::start(|_, words| {
        (words[0] == "INFO").then(|| Action::Send("-NOPERM no permission for 'info'\r\n".to_owned()))
    });
    let remote = remote(&fake.url());
    let replies = remote.execute(&request(&["GET", "a"], true)).unwrap();
    assert_eq!(replies[0].server, ServerId::UNKNOWN);
    assert!(remote.notes()[0].contains("NOPERM"), "{:?}", remote.notes());
}

#[test]
fn a_large_value_arrives_whole() {
    let value = "x".repeat(5_000_000);
    let reply = bulk(&value);
    let fake = Fake::start(move |_, words| (words[0] == "GET").then(|| Action::Send(reply.clone())));
    let remote = remote(&fake.url());
    let mut both = request(&["SET", "a", &value], true);
    add(&mut both, &["GET", "a"], true);
    assert_eq!(texts(remote.execute(&both).unwrap()), ["OK", value.as_str()]);
}

#[test]
fn many_threads_survive_connections_that_break_all_the_time() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |_, words| {
        let is_unlucky = words[0] == "GET" && count.fetch_add(1, SeqCst) % 7 == 6;
        if is_unlucky {
            Some(Action::Close)
        } else {
            echo(words)
        }
    });
    let remote = remote(&fake.url());
    thread::scope(|scope| {
        for number in 0..4 {
            let remote = &remote;
            scope.spawn(move || {
                for step in 0..300 {
                    let key = format!("{number}-{step}");
                    match get(remote, &key) {
                        Ok(replies) => assert_eq!(replies, [key]),
                        Err(error) => assert_eq!(error.kind, ErrorKind::Connection, "{error}"),
                    }
                }
            });
        }
    });
    assert!(remote.counters().connections <= 4);
}
