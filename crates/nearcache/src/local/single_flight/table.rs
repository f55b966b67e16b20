//! The flights of a shard. Everything here runs under the shard's lock; what is to be woken or dropped is returned to the caller.
//!
//! The table is a vector, because there are few flights at a time. A search compares hashes first.

use std::any::Any;
use std::sync::Arc;

use super::leader::FlightId;
use super::sleeper::Sleeper;
use crate::error::OutOfMemory;
use crate::key::Key;
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
    hash: u64,
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
        self.is_current && self.hash == key.hash.bits() && *self.key == *key.bytes
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

/// What a waiter finds.
pub(super) enum Found<V> {
    Value(V),
    Failed(Failure),
    /// The flight has no leader any more: the caller leads it. Its sleeper, if it is registered, is to be dropped.
    Vacant(Option<Sleeper>),
    /// The flight does not exist, because this is a child of `fork`.
    Gone,
    /// The leader computes, and the waiter is registered.
    Registered,
}

/// What is left to do after unlocking.
pub(super) struct Aftermath<V> {
    /// The waiters to wake.
    pub(super) woken: Vec<(Seat, Sleeper)>,
    /// The waiter to wake, which takes the lead.
    pub(super) successor: Option<Sleeper>,
    /// The sleeper of the waiter that left, to be dropped.
    pub(super) left: Option<Sleeper>,
    /// The flight, if nobody is left in it, to be dropped.
    pub(super) removed: Option<Flight<V>>,
}

impl<V> Aftermath<V> {
    const NOTHING: Self = Self {
        woken: Vec::new(),
        successor: None,
        left: None,
        removed: None,
    };

    /// Wakes and drops. Nothing may be locked.
    pub(super) fn run(self) {
        let Self {
            woken,
            successor,
            left,
            removed,
        } = self;
        let woken = woken.into_iter().map(|(_, sleeper)| sleeper);
        woken.chain(successor).for_each(Sleeper::wake);
        drop((left, removed));
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
        self.0.try_reserve(1)?;
        let is_current = !self.0.iter().any(|flight| flight.is_current_for(key));
        self.0.push(Flight {
            id,
            hash: key.hash.bits(),
            key: try_copy(key.bytes)?,
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
        flight.sleepers.try_reserve(1)?;
        let old = flight.take_sleeper(seat);
        let new = std::mem::replace(sleeper, old);
        flight.sleepers.extend(new.map(|sleeper| (seat, sleeper)));
        Ok(true)
    }

    /// Returns what a waiter waits for, or [registers](Self::register) it.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none to register it.
    pub(super) fn check(
        &mut self,
        id: FlightId,
        seat: Seat,
        sleeper: &mut Option<Sleeper>,
    ) -> Result<Found<V>, OutOfMemory>
    where
        V: Clone,
    {
        if self.register(id, seat, sleeper)? {
            return Ok(Found::Registered);
        }
        let Some(flight) = self.find(id) else {
            return Ok(Found::Gone);
        };
        Ok(match &flight.state {
            State::Done(value) => Found::Value(value.clone()),
            State::Failed(failure) => Found::Failed(Arc::clone(failure)),
            State::Vacant => {
                flight.state = State::Computing;
                Found::Vacant(flight.take_sleeper(seat))
            }
            State::Computing => Found::Registered,
        })
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

    /// Takes the key of a flight that is current, for its value to be stored.
    pub(super) fn take_key(&mut self, id: FlightId) -> Option<Box<[u8]>> {
        let flight = self.find(id).filter(|flight| flight.is_current)?;
        Some(std::mem::take(&mut flight.key))
    }

    /// Returns a copy of a flight's key, or `None` if the flight does not exist.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none for the copy.
    pub(super) fn copy_key(&self, id: FlightId) -> Result<Option<Box<[u8]>>, OutOfMemory> {
        let flight = self.0.iter().find(|flight| flight.id == id);
        flight.map(|flight| try_copy(&flight.key)).transpose()
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
        Aftermath {
            woken: std::mem::take(&mut flight.sleepers),
            removed: self.leave(id),
            ..Aftermath::NOTHING
        }
    }

    /// Takes a leader that does not finish out of its flight. The oldest waiter leads.
    pub(super) fn abandon(&mut self, id: FlightId) -> Aftermath<V> {
        let Some(flight) = self.find(id) else {
            return Aftermath::NOTHING;
        };
        flight.state = State::Vacant;
        Aftermath {
            successor: flight.next_sleeper(),
            removed: self.leave(id),
            ..Aftermath::NOTHING
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
        let successor = may_have_been_woken.then(|| flight.next_sleeper()).flatten();
        Aftermath {
            left,
            successor,
            removed: self.leave(id),
            ..Aftermath::NOTHING
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
