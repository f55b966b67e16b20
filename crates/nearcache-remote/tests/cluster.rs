//! A Cluster: slots that move, servers that fail.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nearcache_remote::{ErrorKind, Remote, Request, Route, ServerId, cmd};
use support::{Action, Fake, WAYS, add, bulk, remote, request, texts};

/// Who serves which slots: first, last, port.
type Map = Arc<Mutex<Vec<(u16, u16, u16)>>>;

fn slots_of(map: &Map) -> String {
    let map = map.lock().unwrap();
    let ranges = map.iter().map(|(start, end, port)| {
        let id = bulk(&format!("node{port}"));
        format!(
            "*3\r\n:{start}\r\n:{end}\r\n*3\r\n{}:{port}\r\n{id}",
            bulk("127.0.0.1")
        )
    });
    format!("*{}\r\n{}", map.len(), ranges.collect::<String>())
}

/// Starts a node that answers GET with its port, and redirects what others serve.
fn node(map: &Map, asked: &Arc<AtomicUsize>) -> Fake {
    let (map, asked) = (Arc::clone(map), Arc::clone(asked));
    Fake::start_with_port(move |mine| {
        move |_, words: &[String]| match words[0].as_str() {
            "CLUSTER" => {
                asked.fetch_add(1, SeqCst);
                Some(Action::Send(slots_of(&map)))
            }
            "GET" => {
                let Route::Slot(slot) = Route::key(words[1].as_bytes()) else {
                    unreachable!()
                };
                let owner = map
                    .lock()
                    .unwrap()
                    .iter()
                    .find(|(start, end, _)| (*start..=*end).contains(&slot))
                    .map(|range| range.2);
                Some(Action::Send(match owner {
                    Some(port) if port != mine => format!("-MOVED {slot} 127.0.0.1:{port}\r\n"),
                    Some(_) => bulk(&mine.to_string()),
                    None => "-CLUSTERDOWN Hash slot not served\r\n".to_owned(),
                }))
            }
            _ => None,
        }
    })
}

struct Cluster {
    map: Map,
    asked: Arc<AtomicUsize>,
    nodes: Vec<Fake>,
}

impl Cluster {
    /// Starts two nodes that share the slots.
    fn start() -> Self {
        let (map, asked) = (Map::default(), Arc::new(AtomicUsize::new(0)));
        let nodes: Vec<Fake> = (0..2).map(|_| node(&map, &asked)).collect();
        *map.lock().unwrap() = vec![(0, 8191, nodes[0].port), (8192, 16_383, nodes[1].port)];
        Self { map, asked, nodes }
    }

    fn remote(&self) -> Remote {
        remote(&format!("redis+cluster://{}", self.nodes[0].name()))
    }

    fn port(&self, number: usize) -> String {
        self.nodes[number].port.to_string()
    }
}

/// Returns a key whose slot the node with this number serves at first.
fn key(number: usize) -> &'static str {
    // Slots 3300 and 15495.
    ["b", "a"][number]
}

#[test]
fn commands_go_to_the_server_of_their_slot_and_come_back_in_order() {
    for way in WAYS {
        let cluster = Cluster::start();
        let remote = cluster.remote();
        assert_eq!(remote.primaries().unwrap(), 2);
        let mut many = request(&["GET", key(0)], true);
        for number in [1, 0, 1] {
            add(&mut many, &["GET", key(number)], true);
        }
        let replies = way(&remote, many).unwrap();
        let server = |number: usize| ServerId::from_run_id(format!("run{}", cluster.port(number)).as_bytes());
        assert_eq!(
            replies.iter().map(|reply| reply.server).collect::<Vec<_>>(),
            [server(0), server(1), server(0), server(1)]
        );
        assert_eq!(
            texts(replies),
            [cluster.port(0), cluster.port(1), cluster.port(0), cluster.port(1)]
        );
        let mut all = Request::default();
        for number in 0..2 {
            let mut scan = cmd("SCAN");
            scan.arg(number);
            all.add(scan, Route::Primary(number), true);
        }
        assert_eq!(texts(way(&remote, all).unwrap()), ["OK", "OK"]);
        for (number, node) in cluster.nodes.iter().enumerate() {
            assert!(node.commands().contains(&format!("SCAN {number}")));
        }
        assert_eq!(cluster.asked.load(SeqCst), 1);
    }
}

#[test]
fn a_moved_slot_is_followed_and_the_map_asked_for_once() {
    for way in WAYS {
        let cluster = Cluster::start();
        let remote = cluster.remote();
        way(&remote, request(&["GET", key(1)], true)).unwrap();
        thread::sleep(Duration::from_millis(30));
        *cluster.map.lock().unwrap() = vec![(0, 16_383, cluster.nodes[0].port)];
        let mut many = Request::default();
        for _ in 0..50 {
            add(&mut many, &["GET", key(1)], false);
        }
        let replies = way(&remote, many).unwrap();
        assert!(replies.iter().all(|reply| reply.server != ServerId::UNKNOWN));
        assert!(texts(replies).iter().all(|port| *port == cluster.port(0)));
        assert_eq!((cluster.asked.load(SeqCst), remote.primaries().unwrap()), (2, 1));
        assert_eq!(
            texts(way(&remote, request(&["GET", key(1)], true)).unwrap()),
            [cluster.port(0)]
        );
    }
}

#[test]
fn ask_is_followed_once_and_its_server_is_unknown() {
    for way in WAYS {
        let target = Fake::start(|_, words| (words[0] == "GET").then(|| Action::Send(bulk("moving"))));
        let port = target.port;
        let source = Fake::start_with_port(move |mine| {
            move |_, words: &[String]| match words[0].as_str() {
                "CLUSTER" => Some(Action::Send(slots_of(&Arc::new(Mutex::new(vec![(
                    0, 16_383, mine,
                )]))))),
                "GET" if words[1] == "a" => Some(Action::Send(format!("-ASK 15495 127.0.0.1:{port}\r\n"))),
                _ => None,
            }
        });
        let remote = remote(&format!("redis+cluster://{}", source.name()));
        let mut both = request(&["GET", "a"], true);
        add(&mut both, &["SET", "b", "1"], true);
        let replies = way(&remote, both).unwrap();
        assert_eq!(
            (replies[0].server, replies[1].server == ServerId::UNKNOWN),
            (ServerId::UNKNOWN, false)
        );
        assert_eq!(texts(replies), ["moving", "OK"]);
        assert_eq!(target.commands(), ["ASKING", "GET a"]);
    }
}

#[test]
fn a_cluster_that_is_not_ready_is_waited_for() {
    for way in WAYS {
        let cluster = Cluster::start();
        let remote = cluster.remote();
        way(&remote, request(&["GET", key(0)], true)).unwrap();
        let whole = cluster.map.lock().unwrap().clone();
        cluster.map.lock().unwrap().remove(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                *cluster.map.lock().unwrap() = whole;
            });
            assert_eq!(
                texts(way(&remote, request(&["GET", key(0)], true)).unwrap()),
                [cluster.port(0)]
            );
        });
        cluster.map.lock().unwrap().remove(0);
        let started = Instant::now();
        let error = way(&remote, request(&["GET", key(0)], true)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Connection, "{error}");
        assert!(started.elapsed() < Duration::from_millis(600));
    }
}

#[test]
fn a_failed_primary_is_replaced_and_the_others_serve_meanwhile() {
    for way in WAYS {
        let cluster = Cluster::start();
        let remote = cluster.remote();
        for number in 0..2 {
            way(&remote, request(&["GET", key(number)], true)).unwrap();
        }
        cluster.nodes[1].set_down(true);
        let error = way(&remote, request(&["GET", key(1)], true)).unwrap_err();
        assert!(error.is_outage(), "{error}");
        assert_eq!(
            texts(way(&remote, request(&["GET", key(0)], true)).unwrap()),
            [cluster.port(0)]
        );
        // Its breaker is open now: nobody waits any more.
        let started = Instant::now();
        way(&remote, request(&["GET", key(1)], true)).unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(100));

        *cluster.map.lock().unwrap() = vec![(0, 16_383, cluster.nodes[0].port)];
        thread::sleep(Duration::from_millis(30));
        let started = Instant::now();
        while way(&remote, request(&["GET", key(1)], true)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(1));
        }
    }
}

#[test]
fn a_cluster_without_nodes_or_of_another_kind_is_told() {
    let error = remote("redis+cluster://127.0.0.1:1,127.0.0.1:2")
        .execute(&request(&["GET", "a"], true))
        .unwrap_err();
    let expected = "no node of the Cluster tells its slots: cannot connect to 127.0.0.1:1: connection refused; \
                    cannot connect to 127.0.0.1:2: connection refused";
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (ErrorKind::Connection, expected)
    );

    let plain = Fake::start(|_, words| {
        (words[0] == "CLUSTER")
            .then(|| Action::Send("-ERR This instance has cluster support disabled\r\n".to_owned()))
    });
    let name = plain.name();
    let error = remote(&format!("redis+cluster://{name}"))
        .execute(&request(&["GET", "a"], true))
        .unwrap_err();
    let expected = format!("{name} is not a node of a Cluster; use redis://{name}");
    assert_eq!((error.kind, error.to_string()), (ErrorKind::Config, expected));
}

#[test]
fn threads_with_commands_for_several_servers_do_not_wait_for_each_other() {
    let cluster = Cluster::start();
    let remote = remote(&format!(
        "redis+cluster://{}?max_connections=1",
        cluster.nodes[0].name()
    ));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (remote, cluster, is_done) = (&remote, &cluster, &is_done);
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut both = request(&["GET", key(thread % 2)], true);
                    add(&mut both, &["GET", key(1 - thread % 2)], true);
                    let replies = remote.execute(&both).unwrap();
                    assert_eq!(
                        texts(replies),
                        [cluster.port(thread % 2), cluster.port(1 - thread % 2)]
                    );
                }
                is_done.store(true, SeqCst);
            });
        }
    });
    assert!(is_done.load(SeqCst));
}
