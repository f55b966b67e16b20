//! The flights of a shard. Everything here runs under the shard's lock; what is to be woken or dropped is returned to the caller.
//!
//! The table is a vector, because there are few flights at a time. A search compares hashes first.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use super::leader::FlightId;
use super::sleeper::Sleeper;
use crate::error::OutOfMemory;
use crate::key::{Key, KeyHash};
use crate::memory::try_copy;

/// A leader's error, which its waiters get too.
pub(super) type Failure = Arc<dyn Any + Send + Sync>;

#[derive(Debug)]
enum State<V> {
    /// The leader computes.
    Computing,
    /// The leader gave up. The next caller leads.
    Vacant,
    Done(V),
    Failed(Failure),
}

/// Identifies a waiter of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat(u64);

/// One computation for one key.
#[derive(Debug)]
pub(super) struct Flight<V> {
    id: FlightId,
    hash: KeyHash,
    key: Box<[u8]>,
    /// Whether new callers join, and the value is to be stored.
    is_current: bool,
    state: State<V>,
    /// The leader and the waiters. The last one to leave removes the flight.
    members: usize,
    /// The number of seats given so far.
    seats: u64,
    /// The waiters that have not been woken, oldest first.
    sleepers: Vec<(Seat, Sleeper)>,
}

impl<V> Flight<V> {
    fn is_current_for(&self, key: Key<'_>) -> bool {
        self.is_current && self.hash.bits() == key.hash.bits() && *self.key == *key.bytes
    }

    /// Takes the oldest waiter, to be woken.
    fn next_sleeper(&mut self) -> Option<Sleeper> {
        (!self.sleepers.is_empty()).then(|| self.sleepers.remove(0).1)
    }

    /// Takes the sleeper of a waiter.
    fn take_sleeper(&mut self, seat: Seat) -> Option<Sleeper> {
        let at = self.sleepers.iter().position(|(sleeping, _)| *sleeping == seat)?;
        Some(self.sleepers.remove(at).1)
    }
}

/// The part of a caller in the current flight of its key.
pub(super) enum Role {
    Leader(FlightId),
    Waiter(FlightId, Seat),
}

/// What a waiter finds whose leader does not compute any more.
pub(super) enum Found<V> {
    Value(V),
    Failed(Failure),
    /// The flight has no leader any more: the caller leads it. Its sleeper, if it is registered, is to be dropped.
    Vacant(Option<Sleeper>),
    /// The flight does not exist, because this is a child of `fork`.
    Gone,
}

/// What is left to do after unlocking. Dropping this does it, so that it is done even if a panic unwinds: wakes the waiters, and drops the
/// rest.
#[must_use = "the waiters are woken when this is dropped, which must be after unlocking"]
pub(super) struct Aftermath<V> {
    _wake_ups: WakeUps,
    /// The sleeper of the waiter that left, to be dropped.
    _left: Option<Sleeper>,
    /// The flight, if nobody is left in it, to be dropped.
    _removed: Option<Flight<V>>,
}

impl<V> Aftermath<V> {
    pub(super) const NOTHING: Self = Self {
        _wake_ups: WakeUps {
            all: Vec::new(),
            successor: None,
        },
        _left: None,
        _removed: None,
    };
}

/// The waiters to wake.
struct WakeUps {
    /// Those of a flight that has ended.
    all: Vec<(Seat, Sleeper)>,
    /// The one that takes the lead.
    successor: Option<Sleeper>,
}

impl Drop for WakeUps {
    /// Wakes all, even if wakers panic; then panics, too.
    fn drop(&mut self) {
        let all = self.all.drain(..).map(|(_, sleeper)| sleeper);
        let mut panicked = None;
        for sleeper in all.chain(self.successor.take()) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| sleeper.wake())) {
                panicked = Some(payload);
            }
        }
        // A second panic at once would end the process.
        if let Some(payload) = panicked
            && !thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

/// The flights of a shard.
#[derive(Debug)]
pub(in crate::local) struct Flights<V>(Vec<Flight<V>>);

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Flights<V> {
    /// Notes that a key was written or removed: its flight, if any, is current no more.
    #[inline]
    pub(in crate::local) fn overtake(&mut self, key: Key<'_>) {
        if !self.0.is_empty() {
            self.overtake_current(key);
        }
    }

    #[cold]
    fn overtake_current(&mut self, key: Key<'_>) {
        if let Some(flight) = self.0.iter_mut().find(|flight| flight.is_current_for(key)) {
            flight.is_current = false;
        }
    }

    /// Notes that all entries were removed.
    pub(in crate::local) fn overtake_all(&mut self) {
        for flight in &mut self.0 {
            flight.is_current = false;
        }
    }

    /// Joins the current flight of a key, if there is one.
    pub(super) fn join(&mut self, key: Key<'_>) -> Option<Role> {
        let flight = self.0.iter_mut().find(|flight| flight.is_current_for(key))?;
        flight.members += 1;
        if matches!(flight.state, State::Vacant) {
            flight.state = State::Computing;
            return Some(Role::Leader(flight.id));
        }
        flight.seats += 1;
        Some(Role::Waiter(flight.id, Seat(flight.seats)))
    }

    /// Starts a flight. It is current if the key has no other current one; returns whether it is.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none for the flight.
    pub(super) fn start(&mut self, key: Key<'_>, id: FlightId) -> Result<bool, OutOfMemory> {
        self.push(try_copy(key.bytes)?, key.hash, id)
    }

    fn push(&mut self, bytes: Box<[u8]>, hash: KeyHash, id: FlightId) -> Result<bool, OutOfMemory> {
        self.0.try_reserve(1)?;
        let key = Key { bytes: &bytes, hash };
        let is_current = !self.0.iter().any(|flight| flight.is_current_for(key));
        self.0.push(Flight {
            id,
            hash,
            key: bytes,
            is_current,
            state: State::Computing,
            members: 1,
            seats: 0,
            sleepers: Vec::new(),
        });
        Ok(is_current)
    }

    /// Takes a waiter's sleeper, to wake it later, and puts back the one that it had before. Returns false, and takes nothing, if the
    /// leader does not compute any more.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none to register it.
    pub(super) fn register(
        &mut self,
        id: FlightId,
        seat: Seat,
        sleeper: &mut Option<Sleeper>,
    ) -> Result<bool, OutOfMemory> {
        let Some(flight) = self.find(id) else {
            return Ok(false);
        };
        if !matches!(flight.state, State::Computing) {
            return Ok(false);
        }
        // A waiter that is registered keeps its place: the oldest one is woken to lead.
        if let Some((_, old)) = flight.sleepers.iter_mut().find(|(sleeping, _)| *sleeping == seat) {
            if let Some(new) = sleeper {
                std::mem::swap(old, new);
            }
            return Ok(true);
        }
        flight.sleepers.try_reserve(1)?;
        flight.sleepers.extend(sleeper.take().map(|new| (seat, new)));
        Ok(true)
    }

    /// Returns what a waiter waits for, or `None` if the leader still computes.
    pub(super) fn outcome(&mut self, id: FlightId, seat: Seat) -> Option<Found<V>>
    where
        V: Clone,
    {
        let Some(flight) = self.find(id) else {
            return Some(Found::Gone);
        };
        match &flight.state {
            State::Computing => None,
            State::Done(value) => Some(Found::Value(value.clone())),
            State::Failed(failure) => Some(Found::Failed(Arc::clone(failure))),
            State::Vacant => {
                flight.state = State::Computing;
                Some(Found::Vacant(flight.take_sleeper(seat)))
            }
        }
    }

    /// Takes a waiter out of a flight that has not ended, and starts one of its own for the key. `overtakes` ends the old one's being
    /// current. Returns what [`start`](Self::start) does.
    pub(super) fn start_instead(
        &mut self,
        id: FlightId,
        seat: Seat,
        own: FlightId,
        overtakes: bool,
    ) -> (Result<bool, OutOfMemory>, Aftermath<V>) {
        let key = self.find(id).map(|flight| (try_copy(&flight.key), flight.hash));
        let aftermath = self.resign(id, seat, overtakes);
        let started = match key {
            Some((Ok(bytes), hash)) => self.push(bytes, hash, own),
            Some((Err(OutOfMemory), _)) | None => Err(OutOfMemory),
        };
        (started, aftermath)
    }

    /// Returns whether a flight has waiters.
    pub(super) fn has_waiters(&self, id: FlightId) -> bool {
        let flight = self.0.iter().find(|flight| flight.id == id);
        flight.is_some_and(|flight| flight.members > 1)
    }

    /// Returns whether a flight is its key's current one.
    pub(super) fn is_current(&self, id: FlightId) -> bool {
        self.0.iter().any(|flight| flight.id == id && flight.is_current)
    }

    /// Takes the key of a flight that is current, for its value to be stored. The caller ends the flight next: after that, its waiters do
    /// not need the key.
    pub(super) fn take_key(&mut self, id: FlightId) -> Option<Box<[u8]>> {
        let flight = self.find(id).filter(|flight| flight.is_current)?;
        Some(std::mem::take(&mut flight.key))
    }

    /// Adds the keys of the current flights to `keys`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none for the copies.
    pub(in crate::local) fn copy_keys(&self, keys: &mut Vec<Box<[u8]>>) -> Result<(), OutOfMemory> {
        keys.try_reserve(self.0.len())?;
        for flight in self.0.iter().filter(|flight| flight.is_current) {
            keys.push(try_copy(&flight.key)?);
        }
        Ok(())
    }

    /// Returns whether a key has a current flight.
    pub(super) fn is_flying(&self, key: Key<'_>) -> bool {
        self.0.iter().any(|flight| flight.is_current_for(key))
    }

    /// Ends a flight with a value, if there are waiters for it, and takes the leader out of it.
    pub(super) fn complete(&mut self, id: FlightId, value: Option<V>) -> Aftermath<V> {
        self.end(id, value.map_or(State::Vacant, State::Done))
    }

    /// Ends a flight with an error, and takes the leader out of it.
    pub(super) fn fail(&mut self, id: FlightId, failure: Failure) -> Aftermath<V> {
        self.end(id, State::Failed(failure))
    }

    fn end(&mut self, id: FlightId, state: State<V>) -> Aftermath<V> {
        let Some(flight) = self.find(id) else {
            return Aftermath::NOTHING;
        };
        flight.state = state;
        flight.is_current = false;
        let wake_ups = WakeUps {
            all: std::mem::take(&mut flight.sleepers),
            successor: None,
        };
        Aftermath {
            _wake_ups: wake_ups,
            _left: None,
            _removed: self.leave(id),
        }
    }

    /// Takes a leader that does not finish out of its flight. The oldest waiter leads.
    pub(super) fn abandon(&mut self, id: FlightId) -> Aftermath<V> {
        let Some(flight) = self.find(id) else {
            return Aftermath::NOTHING;
        };
        flight.state = State::Vacant;
        let wake_ups = WakeUps {
            all: Vec::new(),
            successor: flight.next_sleeper(),
        };
        Aftermath {
            _wake_ups: wake_ups,
            _left: None,
            _removed: self.leave(id),
        }
    }

    /// Takes a waiter out of its flight. If it had been woken to lead, the next one is. `overtakes` ends the flight's being current.
    pub(super) fn resign(&mut self, id: FlightId, seat: Seat, overtakes: bool) -> Aftermath<V> {
        let Some(flight) = self.find(id) else {
            return Aftermath::NOTHING;
        };
        flight.is_current &= !overtakes;
        let left = flight.take_sleeper(seat);
        let may_have_been_woken = left.is_none() && matches!(flight.state, State::Vacant);
        let wake_ups = WakeUps {
            all: Vec::new(),
            successor: may_have_been_woken.then(|| flight.next_sleeper()).flatten(),
        };
        Aftermath {
            _wake_ups: wake_ups,
            _left: left,
            _removed: self.leave(id),
        }
    }

    /// Takes a member out of a flight, and the flight out of the table if it was the last one.
    fn leave(&mut self, id: FlightId) -> Option<Flight<V>> {
        let at = self.0.iter().position(|flight| flight.id == id)?;
        let flight = &mut self.0[at];
        flight.members -= 1;
        (flight.members == 0).then(|| self.0.swap_remove(at))
    }

    fn find(&mut self, id: FlightId) -> Option<&mut Flight<V>> {
        self.0.iter_mut().find(|flight| flight.id == id)
    }

    /// Checks that no key has two current flights, and that each flight has members, among them its sleepers.
    pub(in crate::local) fn validate(&self) -> Result<(), String> {
        for (at, flight) in self.0.iter().enumerate() {
            let is_same =
                |other: &Flight<V>| other.is_current && flight.is_current && other.key == flight.key;
            if self.0[..at].iter().any(is_same) {
                return Err(format!("two current flights for {:?}", flight.key));
            }
            if flight.members == 0 || flight.sleepers.len() > flight.members {
                return Err(format!("{} members in a flight", flight.members));
            }
        }
        Ok(())
    }
}
