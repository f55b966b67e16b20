//! Requests on their way, without servers.

use redis::{Value, cmd};

use super::*;
use crate::config::{Config, Endpoints};
use crate::request::{Request, Route};
use crate::site::Site;
use crate::topology::cluster::Cluster;
use crate::topology::slots::SlotRange;

const TIMEOUT: Duration = Duration::from_secs(1);

fn address(port: u16) -> ConnectionAddr {
    ConnectionAddr::Tcp("h".to_owned(), port)
}

fn single() -> Topology {
    Topology::new(&Arc::new(Site::new(Config::new(Endpoints::Single(address(1))))))
}

/// Two primaries: slots up to 99 on port 2, 100 to 199 on port 1. The others are served by nobody.
fn cluster() -> Topology {
    let range = |start, end, port| SlotRange {
        start,
        end,
        primary: address(port),
        id: String::new(),
    };
    let site = Arc::new(Site::new(Config::new(Endpoints::Cluster(Vec::new()))));
    let ranges = vec![range(100, 199, 1), range(0, 99, 2)];
    Topology::Cluster(Box::new(Cluster::with_ranges(ranges, site).unwrap()))
}

/// Returns commands for slots; those that are not repeatable are marked.
fn commands(slots: &[(u16, bool)]) -> Vec<Command> {
    let mut request = Request::default();
    for &(slot, repeatable) in slots {
        request.add(cmd("GET"), Route::Slot(slot), repeatable);
    }
    request.commands
}

fn groups_of(groups: &[Group]) -> Vec<(&str, &[usize], bool)> {
    groups
        .iter()
        .map(|group| (&*group.node.name, group.members.as_slice(), group.is_asking))
        .collect()
}

fn answers(lines: &[&str]) -> Outcome {
    let value = |line: &&str| redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
    Outcome {
        values: lines.iter().map(value).collect(),
        server: ServerId::from_run_id(b"run"),
        failure: None,
    }
}

fn broken(lines: &[&str], kind: ErrorKind, is_sent: bool, is_reused: bool) -> Outcome {
    Outcome {
        failure: Some(Failure {
            error: Error::new(kind, "it broke"),
            is_sent,
            is_reused,
            is_refused: false,
        }),
        ..answers(lines)
    }
}

/// Plans one round on a lone server, settles it, and returns what is next.
fn next_after(repeatable: &[bool], outcome: Outcome) -> (Job, Next) {
    let commands = commands(
        &repeatable
            .iter()
            .map(|&repeatable| (0, repeatable))
            .collect::<Vec<_>>(),
    );
    let mut job = Job::new(Kind::Single, commands.len(), TIMEOUT);
    let groups = job.plan(&single(), &commands).unwrap();
    job.settle(&groups[0], outcome, &commands);
    let next = job.next(Instant::now());
    (job, next)
}

#[test]
fn commands_are_grouped_by_server_in_the_order_of_the_servers_names() {
    let topology = cluster();
    let commands = commands(&[(5, true), (150, true), (99, true), (100, true)]);
    let mut job = Job::new(Kind::Cluster, commands.len(), TIMEOUT);
    let groups = job.plan(&topology, &commands).unwrap();
    assert_eq!(
        groups_of(&groups),
        [("h:1", &[1, 3][..], false), ("h:2", &[0, 2][..], false)]
    );
    job.settle(&groups[0], answers(&[":1", ":3"]), &commands);
    job.settle(&groups[1], answers(&[":0", ":2"]), &commands);
    let Next::Done(replies) = job.next(Instant::now()) else {
        panic!("not done");
    };
    let values: Vec<Value> = replies.into_iter().map(|reply| reply.value).collect();
    assert_eq!(
        values,
        [Value::Int(0), Value::Int(1), Value::Int(2), Value::Int(3)]
    );
}

#[test]
fn redirected_commands_go_where_they_are_told() {
    let topology = cluster();
    let commands = commands(&[(5, false), (6, false), (7, true), (8, true)]);
    let mut job = Job::new(Kind::Cluster, commands.len(), TIMEOUT);
    let groups = job.plan(&topology, &commands).unwrap();
    job.settle(
        &groups[0],
        answers(&["-MOVED 5 h:1", "-ASK 6 h:1", ":2", "-TRYAGAIN x"]),
        &commands,
    );
    let Next::Again {
        refresh: true,
        pause: PAUSE,
    } = job.next(Instant::now())
    else {
        panic!("not again");
    };
    let groups = job.plan(&topology, &commands).unwrap();
    let expected = [
        ("h:1", &[0][..], false),
        ("h:1", &[1][..], true),
        ("h:2", &[3][..], false),
    ];
    assert_eq!(groups_of(&groups), expected);
    for group in &groups {
        job.settle(group, answers(&["+OK"]), &commands);
    }
    let Next::Done(replies) = job.next(Instant::now()) else {
        panic!("not done");
    };
    let is_known: Vec<bool> = replies
        .iter()
        .map(|reply| reply.server != ServerId::UNKNOWN)
        .collect();
    assert_eq!(is_known, [true, false, true, true]);
}

#[test]
fn a_slot_that_nobody_serves_is_waited_for_until_the_timeout() {
    let topology = cluster();
    let commands = commands(&[(5, true), (500, true)]);
    let mut job = Job::new(Kind::Cluster, commands.len(), TIMEOUT);
    let groups = job.plan(&topology, &commands).unwrap();
    assert_eq!(groups_of(&groups), [("h:2", &[0][..], false)]);
    job.settle(&groups[0], answers(&["+OK"]), &commands);
    assert!(matches!(
        job.next(Instant::now()),
        Next::Again {
            refresh: true,
            pause: PAUSE
        }
    ));
    assert!(job.plan(&topology, &commands).unwrap().is_empty());
    let Next::Failed(error) = job.next(Instant::now() + TIMEOUT) else {
        panic!("not failed");
    };
    assert_eq!(error.to_string(), "no server of the Cluster serves slot 500");
}

#[test]
fn what_a_broken_connection_means_depends_on_what_was_sent() {
    for (repeatable, lines, kind, is_sent, is_reused, again) in [
        // The reply of the second is lost.
        (
            vec![false, true],
            vec![":1"],
            ErrorKind::Connection,
            true,
            true,
            true,
        ),
        (
            vec![true, false],
            vec![":1"],
            ErrorKind::Connection,
            true,
            true,
            false,
        ),
        (
            vec![true, false],
            vec![],
            ErrorKind::Connection,
            false,
            true,
            true,
        ),
        // A new connection broke, or none could be made.
        (vec![true], vec![], ErrorKind::Connection, true, false, false),
        (vec![true], vec![], ErrorKind::Connection, false, false, false),
        // It would take the timeout once more.
        (vec![true], vec![], ErrorKind::Timeout, true, true, false),
        (vec![true], vec![], ErrorKind::Authentication, false, true, false),
    ] {
        let count = repeatable.len() - lines.len();
        let (mut job, next) = next_after(&repeatable, broken(&lines, kind, is_sent, is_reused));
        assert_eq!(
            matches!(next, Next::Again { refresh: false, .. }),
            again,
            "{repeatable:?} {lines:?} {kind:?}"
        );
        if again {
            let commands = commands(&[(0, true), (0, true)]);
            assert_eq!(job.plan(&single(), &commands).unwrap()[0].members.len(), count);
        } else {
            assert!(matches!(next, Next::Failed(error) if error.kind == kind));
        }
    }
}

#[test]
fn a_lone_servers_errors_are_the_callers() {
    for line in ["-READONLY x", "-MOVED 5 h:1", "-LOADING x"] {
        let (_, next) = next_after(&[true], answers(&[line]));
        assert!(matches!(next, Next::Done(replies) if matches!(replies[0].value, Value::ServerError(_))));
    }
}
