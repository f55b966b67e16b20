//! The primary that Sentinels name.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nearcache_remote::{ErrorKind, ServerId};
use support::{Action, Fake, WAYS, bulk, remote, request, texts};

/// Starts a Sentinel that names the primary at a port; 0 is none.
fn sentinel(primary: &Arc<AtomicU16>) -> Fake {
    let primary = Arc::clone(primary);
    Fake::start(move |_, words| {
        (words[0] == "SENTINEL").then(|| match (words[2].as_str(), primary.load(SeqCst)) {
            ("main", port) if port > 0 => {
                Action::Send(format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&port.to_string())))
            }
            _ => Action::Send("*-1\r\n".to_owned()),
        })
    })
}

/// Starts a server that answers GET with a name, and is a replica while `is_replica`.
fn server(name: &'static str, is_replica: &Arc<AtomicBool>) -> Fake {
    let is_replica = Arc::clone(is_replica);
    Fake::start(
        move |_, words| match (words[0].as_str(), words.get(1).map(String::as_str)) {
            ("GET", _) => Some(Action::Send(bulk(name))),
            ("INFO", Some("replication")) if is_replica.load(SeqCst) => {
                Some(Action::Send(bulk("role:slave\r\n")))
            }
            ("SET" | "INCR", _) if is_replica.load(SeqCst) => Some(Action::Send(
                "-READONLY You can't write against a read only replica.\r\n".to_owned(),
            )),
            _ => None,
        },
    )
}

fn flag(value: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(value))
}

#[test]
fn the_primary_is_followed_when_it_becomes_a_replica() {
    for way in WAYS {
        let (old, new) = (flag(false), flag(true));
        let (first, second) = (server("first", &old), server("second", &new));
        let primary = Arc::new(AtomicU16::new(first.port));
        let sentinel = sentinel(&primary);
        let remote = remote(&format!("redis+sentinel://127.0.0.1:1,{}/main", sentinel.name()));
        assert_eq!(
            texts(way(&remote, request(&["GET", "a"], true)).unwrap()),
            ["first"]
        );
        assert_eq!(remote.primaries().unwrap(), 1);

        old.store(true, SeqCst);
        new.store(false, SeqCst);
        primary.store(second.port, SeqCst);
        thread::sleep(Duration::from_millis(30));
        // READONLY says that it was not executed.
        let replies = way(&remote, request(&["INCR", "n"], false)).unwrap();
        assert_eq!(
            replies[0].server,
            ServerId::from_run_id(format!("run{}", second.port).as_bytes())
        );
        assert_eq!(texts(replies), ["OK"]);
        assert_eq!(
            texts(way(&remote, request(&["GET", "a"], true)).unwrap()),
            ["second"]
        );
    }
}

#[test]
fn the_primary_is_followed_when_it_dies() {
    for way in WAYS {
        let (first, second) = (server("first", &flag(false)), server("second", &flag(false)));
        let primary = Arc::new(AtomicU16::new(first.port));
        let sentinel = sentinel(&primary);
        let remote = remote(&format!("redis+sentinel://{}/main", sentinel.name()));
        assert_eq!(
            texts(way(&remote, request(&["GET", "a"], true)).unwrap()),
            ["first"]
        );
        first.set_down(true);
        let error = way(&remote, request(&["INCR", "n"], false)).unwrap_err();
        assert!(error.is_outage(), "{error}");
        primary.store(second.port, SeqCst);
        let started = Instant::now();
        while way(&remote, request(&["GET", "a"], true)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(1));
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(
            texts(way(&remote, request(&["GET", "a"], true)).unwrap()),
            ["second"]
        );
    }
}

#[test]
fn a_new_primary_is_followed_while_the_old_one_accepts_writes() {
    let (first, second) = (server("first", &flag(false)), server("second", &flag(false)));
    let primary = Arc::new(AtomicU16::new(first.port));
    let sentinel = sentinel(&primary);
    let remote = remote(&format!("redis+sentinel://{}/main", sentinel.name()));
    let get = || texts(remote.execute(&request(&["GET", "a"], true)).unwrap());
    assert_eq!(get(), ["first"]);
    primary.store(second.port, SeqCst);
    let started = Instant::now();
    while get() == ["first"] {
        assert!(started.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_replica_that_is_named_as_the_primary_is_refused() {
    let first = server("first", &flag(true));
    let sentinel = sentinel(&Arc::new(AtomicU16::new(first.port)));
    let error = remote(&format!("redis+sentinel://{}/main", sentinel.name()))
        .execute(&request(&["GET", "a"], true))
        .unwrap_err();
    let text = format!(
        "{} is a replica, although the Sentinels name it as the primary",
        first.name()
    );
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[test]
fn sentinels_that_do_not_help_are_named() {
    let sentinel = sentinel(&Arc::new(AtomicU16::new(0)));
    let remote = remote(&format!("redis+sentinel://127.0.0.1:1,{}/other", sentinel.name()));
    let error = remote.execute(&request(&["GET", "a"], true)).unwrap_err();
    let expected = format!(
        "no Sentinel names the primary of \"other\": cannot connect to 127.0.0.1:1: connection refused; \
         the Sentinel {} does not know the service \"other\"",
        sentinel.name()
    );
    assert_eq!((error.kind, error.to_string()), (ErrorKind::Config, expected));
}

#[test]
fn a_dead_sentinel_does_not_matter_while_the_primary_lives() {
    let first = server("first", &flag(false));
    let sentinel = sentinel(&Arc::new(AtomicU16::new(first.port)));
    let remote = remote(&format!("redis+sentinel://{}/main", sentinel.name()));
    remote.execute(&request(&["GET", "a"], true)).unwrap();
    sentinel.set_down(true);
    first.cut();
    assert_eq!(
        texts(remote.execute(&request(&["GET", "a"], true)).unwrap()),
        ["first"]
    );
}
