//! Random schedules of callers of single flight, and a plain specification of what each caller finds.
//!
//! One thread takes every step, so a failing schedule can be repeated. Callers join, complete, fail, give up, poll, lose patience and
//! leave in any order, while keys are written and removed and time passes.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use nearcache::local::{Capacity, Joined, Leader, NewEntry, RawCache, Refresh, Waited, Waiter};
use nearcache::{Clock, Eviction, ManualClock, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

const KEYS: [&[u8]; 3] = [b"a", b"b", b""];

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    /// The leader of this number, modulo their number, stores a value that lives for so many milliseconds.
    Complete(usize, Option<u64>),
    Fail(usize),
    Abandon(usize),
    Poll(usize),
    LosePatience(usize),
    /// The waiter of this number stops waiting. The flag says that it overtakes.
    Lead(usize, bool),
    Leave(usize),
    /// The leader of this number hands out a value without storing it.
    Finish(usize),
    Overtake(usize),
    Refresh(usize),
    Insert(usize),
    Remove(usize),
    Clear,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let ttl = prop_oneof![Just(None), (0..20_u64).prop_map(Some)];
    let key = || 0..KEYS.len();
    let caller = || 0..100_usize;
    prop_oneof![
        10 => key().prop_map(Step::Join),
        3 => (caller(), ttl).prop_map(|(caller, ttl)| Step::Complete(caller, ttl)),
        1 => caller().prop_map(Step::Fail),
        3 => caller().prop_map(Step::Abandon),
        10 => caller().prop_map(Step::Poll),
        1 => caller().prop_map(Step::LosePatience),
        2 => (caller(), any::<bool>()).prop_map(|(caller, overtakes)| Step::Lead(caller, overtakes)),
        1 => caller().prop_map(Step::Finish),
        1 => key().prop_map(Step::Overtake),
        1 => key().prop_map(Step::Refresh),
        3 => caller().prop_map(Step::Leave),
        1 => key().prop_map(Step::Insert),
        2 => key().prop_map(Step::Remove),
        1 => Just(Step::Clear),
        2 => (0..10_u64).prop_map(Step::Advance),
    ]
}

/// How a flight stands, by the specification.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Computing,
    Vacant,
    Done(u64),
    Failed(u64),
}

/// A flight of the specification.
#[derive(Clone, Debug)]
struct Flight {
    key: usize,
    is_current: bool,
    state: State,
}

/// Whether a waiter was woken since it was last polled.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Waiting<'a> {
    waiter: Waiter<'a, u64>,
    flight: usize,
    /// `None` before the first poll.
    woken: Option<Arc<Woken>>,
}

struct Run<'a> {
    cache: &'a RawCache<u64>,
    clock: ManualClock,
    leaders: Vec<(Leader<'a, u64>, usize)>,
    waiters: Vec<Waiting<'a>>,
    flights: Vec<Flight>,
    entries: HashMap<usize, (u64, Timestamp)>,
    /// The last value or error. Each is another one.
    last: u64,
}

impl<'a> Run<'a> {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Join(key) => self.join(key),
            Step::Complete(number, ttl) => self.complete(number, ttl),
            Step::Fail(number) | Step::Finish(number) | Step::Abandon(number) => {
                self.end_unstored(step, number);
            }
            Step::Poll(number) => self.poll(number),
            Step::LosePatience(number) => {
                if let Some(waiting) = pick(&mut self.waiters, number) {
                    let waited = waiting.waiter.wait(Some(Duration::ZERO));
                    self.ends(waited, waiting.flight, Some(true));
                }
            }
            Step::Lead(number, overtakes) => {
                if let Some(waiting) = pick(&mut self.waiters, number) {
                    self.ends(waiting.waiter.lead(overtakes), waiting.flight, Some(overtakes));
                }
            }
            Step::Leave(number) => {
                if let Some(waiting) = pick(&mut self.waiters, number) {
                    drop(waiting.waiter);
                    self.forget_if_empty(waiting.flight);
                }
            }
            Step::Overtake(key) => {
                let leader = self.cache.overtake(KEYS[key]);
                self.overtake(Some(key));
                self.start(leader, key);
            }
            Step::Refresh(key) => self.refresh(key),
            Step::Insert(key) => {
                self.last += 1;
                let new = entry(self.last, Timestamp::NEVER);
                self.cache
                    .insert(KEYS[key], new, &Capacity::UNBOUNDED, &self.clock)
                    .unwrap();
                self.entries.insert(key, (self.last, Timestamp::NEVER));
                self.overtake(Some(key));
            }
            Step::Remove(key) => {
                assert_eq!(self.cache.remove(KEYS[key], &self.clock), self.live(key));
                self.entries.remove(&key);
                self.overtake(Some(key));
            }
            Step::Clear => {
                self.cache.clear();
                self.entries.clear();
                self.overtake(None);
            }
            Step::Advance(millis) => self.clock.advance(Duration::from_millis(millis)),
        }
        self.check();
    }

    fn live(&self, key: usize) -> Option<u64> {
        let (value, expires_at) = self.entries.get(&key)?;
        (!expires_at.is_over(self.clock.now())).then_some(*value)
    }

    fn current(&self, key: usize) -> Option<usize> {
        self.flights
            .iter()
            .position(|flight| flight.is_current && flight.key == key)
    }

    fn join(&mut self, key: usize) {
        let (live, current) = (self.live(key), self.current(key));
        match (self.cache.join(KEYS[key], &self.clock), live, current) {
            (Joined::Hit(value), Some(live), _) => assert_eq!(value, live),
            (Joined::Leader(leader), None, None) => self.start(leader, key),
            (Joined::Leader(leader), None, Some(flight)) => {
                assert_eq!(self.flights[flight].state, State::Vacant);
                self.flights[flight].state = State::Computing;
                self.leaders.push((leader, flight));
            }
            (Joined::Waiter(waiter), None, Some(flight)) => {
                assert_eq!(self.flights[flight].state, State::Computing);
                self.waiters.push(Waiting {
                    waiter,
                    flight,
                    woken: None,
                });
            }
            (joined, live, current) => panic!("{joined:?}, but {live:?} and {current:?}"),
        }
    }

    fn start(&mut self, leader: Leader<'a, u64>, key: usize) {
        self.leaders.push((leader, self.flights.len()));
        self.flights.push(Flight {
            key,
            is_current: self.current(key).is_none(),
            state: State::Computing,
        });
    }

    fn complete(&mut self, number: usize, ttl: Option<u64>) {
        let Some((leader, flight)) = pick(&mut self.leaders, number) else {
            return;
        };
        self.last += 1;
        let expires_at = ttl.map_or(Timestamp::NEVER, |ttl| {
            self.clock.now().after(Duration::from_millis(ttl))
        });
        let new = entry(self.last, expires_at);
        let stored = leader.complete(new, &Capacity::UNBOUNDED, &self.clock);
        let Flight { key, is_current, .. } = self.flights[flight];
        assert_eq!(stored, Ok(is_current));
        if is_current {
            self.entries.insert(key, (self.last, expires_at));
        }
        self.end(flight, State::Done(self.last));
    }

    /// Ends the flight of the leader of this number, and stores nothing.
    fn end_unstored(&mut self, step: &Step, number: usize) {
        let Some((leader, flight)) = pick(&mut self.leaders, number) else {
            return;
        };
        self.last += 1;
        match step {
            Step::Fail(_) => {
                leader.fail(Arc::new(self.last));
                self.end(flight, State::Failed(self.last));
            }
            Step::Finish(_) => {
                leader.finish(self.last);
                self.end(flight, State::Done(self.last));
            }
            _ => {
                drop(leader);
                self.flights[flight].state = State::Vacant;
                self.forget_if_empty(flight);
            }
        }
    }

    fn end(&mut self, flight: usize, state: State) {
        self.flights[flight].state = state;
        self.flights[flight].is_current = false;
    }

    fn poll(&mut self, number: usize) {
        let Some(mut waiting) = pick(&mut self.waiters, number) else {
            return;
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        match waiting.waiter.poll(&Context::from_waker(&waker)) {
            Poll::Ready(waited) => self.ends(waited, waiting.flight, None),
            Poll::Pending => {
                assert_eq!(self.flights[waiting.flight].state, State::Computing);
                waiting.woken = Some(woken);
                self.waiters.push(waiting);
            }
        }
    }

    /// Asks for the next value of an entry that this caller saw: one that expires at another time is another one.
    fn refresh(&mut self, key: usize) {
        let Some(expires_at) = self.cache.expires_at(KEYS[key], &self.clock) else {
            let refresh = self.cache.refresh(KEYS[key], Timestamp::from_unix_micros(-1));
            return assert!(matches!(refresh, Refresh::Changed));
        };
        match (self.cache.refresh(KEYS[key], expires_at), self.current(key)) {
            (Refresh::Leader(leader), None) => self.start(leader, key),
            (Refresh::InProgress, Some(_)) => {}
            (refresh, current) => panic!("{refresh:?}, but {current:?}"),
        }
    }

    /// Checks how a wait ended. `impatient` says that it could end although the leader computes, and whether it overtakes then.
    fn ends(&mut self, waited: Waited<'a, u64>, flight: usize, impatient: Option<bool>) {
        match (waited, self.flights[flight].state) {
            (Waited::Value(value), State::Done(expected)) => assert_eq!(value, expected),
            (Waited::Failed(error), State::Failed(expected)) => {
                assert_eq!(error.downcast_ref(), Some(&expected));
            }
            (Waited::Leader(leader), State::Vacant) => {
                self.flights[flight].state = State::Computing;
                self.leaders.push((leader, flight));
            }
            (Waited::Leader(leader), State::Computing) => {
                let overtakes = impatient.expect("the caller waits on");
                self.flights[flight].is_current &= !overtakes;
                self.start(leader, self.flights[flight].key);
            }
            (waited, state) => panic!("{waited:?}, but the flight is {state:?}"),
        }
    }

    fn overtake(&mut self, key: Option<usize>) {
        for flight in &mut self.flights {
            flight.is_current &= key.is_some_and(|key| key != flight.key);
        }
    }

    /// A flight without leader and waiters does not exist any more.
    fn forget_if_empty(&mut self, flight: usize) {
        let has_members = self.leaders.iter().any(|(_, its)| *its == flight)
            || self.waiters.iter().any(|waiting| waiting.flight == flight);
        self.flights[flight].is_current &= has_members;
    }

    fn check(&self) {
        self.cache.validate().unwrap();
        for (number, flight) in self.flights.iter().enumerate() {
            let mut waiters = self.waiters.iter().filter(|waiting| waiting.flight == number);
            let leaders = self.leaders.iter().filter(|(_, its)| *its == number).count();
            match flight.state {
                State::Computing => assert_eq!(leaders, 1),
                State::Vacant => {
                    assert_eq!(leaders, 0);
                    assert!(
                        waiters.clone().count() == 0 || waiters.any(is_awake),
                        "nobody was woken to lead"
                    );
                }
                State::Done(_) | State::Failed(_) => assert!(waiters.all(is_awake), "a waiter was not woken"),
            }
        }
    }
}

/// Returns whether a waiter does not sleep: it was woken, or has not been polled.
fn is_awake(waiting: &Waiting<'_>) -> bool {
    waiting
        .woken
        .as_ref()
        .is_none_or(|woken| woken.0.load(Ordering::SeqCst))
}

fn entry(value: u64, expires_at: Timestamp) -> NewEntry<u64> {
    NewEntry {
        value,
        weight: 1,
        expires_at,
    }
}

/// Takes an element out.
fn pick<T>(elements: &mut Vec<T>, number: usize) -> Option<T> {
    let len = elements.len();
    (len > 0).then(|| elements.swap_remove(number % len))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_follows_the_specification(steps in vec(step(), 1..200), shards in 1..3_usize) {
        let cache = RawCache::new(Eviction::default(), shards).unwrap();
        let mut run = Run {
            cache: &cache,
            clock: ManualClock::default(),
            leaders: vec![],
            waiters: vec![],
            flights: vec![],
            entries: HashMap::new(),
            last: 0,
        };
        for step in &steps {
            run.take(step);
        }
    }
}
