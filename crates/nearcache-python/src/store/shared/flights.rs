//! Single flight for the entries of a file: one caller of all processes computes.
//!
//! The flight is in the key's own record. So whatever writes or deletes the key, in any process, ends it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nearcache::shared::{Claim, ClaimRequest, Event, FlightId, NewEntry, SharedCache};
use nearcache::{Clock, Timestamp};
use pyo3::prelude::*;

use super::super::flights::{
    Computed, EarlyRead, Flight, HeldFlight, Joined, Lead, MachineLead, Wait, is_due, name_of,
};
use super::access::{SharedStore, WriteFailure};
use crate::clock::Now;
use crate::context::CallContext;
use crate::expiry::later;
use crate::memory::{no_memory, owned};
use crate::values::bytes::{Decoder, EncodedBytes};

/// How often a caller asks again because the flight or the entry has changed between two steps.
const ATTEMPTS: u32 = 16;

/// Returns a number that no other flight of this process has.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

impl SharedStore {
    pub(super) fn read_early(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        beta: f64,
    ) -> PyResult<EarlyRead> {
        let Some((value, entry)) = self.get_entry(context, key)? else {
            return Ok(EarlyRead::Missing);
        };
        let now = context.now()?;
        let cost = u32::try_from(entry.cost.as_micros()).unwrap_or(u32::MAX);
        if !is_due(now.now(), entry.expires_at, cost, beta) {
            return Ok(EarlyRead::Value(value));
        }
        let number = next_number();
        let claimed = self.claim(context, key, now, ClaimRequest::new(number).refresh())?;
        if claimed != Claim::Leader {
            return Ok(EarlyRead::Value(value));
        }
        let lead = self.lead(key, number, now)?;
        // If another caller has computed it since, this claim is for the next value: it is dropped.
        let is_same = self
            .peek(context, key, now)
            .is_some_and(|now| now.expires_at == entry.expires_at);
        Ok(if is_same {
            EarlyRead::Due(value, lead)
        } else {
            EarlyRead::Value(value)
        })
    }

    pub(crate) fn join_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        stale: f64,
    ) -> PyResult<Joined> {
        let now = context.now()?;
        let number = next_number();
        let mut request = ClaimRequest::new(number);
        for _ in 0..ATTEMPTS {
            match self.claim(context, key, now, request)? {
                Claim::Hit => {
                    if let Some(value) = self.get(context, key)? {
                        return Ok(Joined::Hit(value));
                    }
                    // It has expired since, or this process cannot read it.
                    request = request.refresh();
                }
                Claim::Leader => {
                    let lead = self.lead(key, number, now)?;
                    return Ok(Joined::Leader(lead, self.stale_value(context, key, now, stale)?));
                }
                Claim::Held(flight) => {
                    if let Some(old) = self.stale_value(context, key, now, stale)? {
                        return Ok(Joined::Stale(old));
                    }
                    return self.wait_for(key, flight, now);
                }
            }
        }
        Ok(Joined::Leader(self.lead_alone(key)?, None))
    }

    /// Starts a flight even if the key has a value or a flight.
    pub(crate) fn overtake_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
    ) -> PyResult<Lead> {
        let now = context.now()?;
        let number = next_number();
        let request = ClaimRequest::new(number).refresh();
        for _ in 0..ATTEMPTS {
            let held = self.with(now, |cache| cache.flight(key));
            let request = held.map_or(request, |held| request.overtake(held));
            match self.claim(context, key, now, request)? {
                Claim::Leader => return self.lead(key, number, now),
                Claim::Held(_) => {}
                Claim::Hit => break,
            }
        }
        self.lead_alone(key)
    }

    /// Starts a flight in place of the one that a waiter has waited for long enough. If that has ended, returns what it has left,
    /// or lets the caller ask again; if another one is in progress, the caller computes for itself.
    pub(crate) fn overtake_held_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        held: FlightId,
    ) -> PyResult<Joined> {
        let now = context.now()?;
        let number = next_number();
        let mut request = ClaimRequest::new(number).overtake(held);
        for _ in 0..ATTEMPTS {
            if self.with(now, |cache| cache.flight(key)).is_none() {
                return Ok(Joined::Again);
            }
            match self.claim(context, key, now, request)? {
                Claim::Hit => {
                    if let Some(value) = self.get(context, key)? {
                        return Ok(Joined::Hit(value));
                    }
                    // It has expired since, or this process cannot read it.
                    request = request.refresh();
                }
                Claim::Leader => return Ok(Joined::Leader(self.lead(key, number, now)?, None)),
                Claim::Held(_) => break,
            }
        }
        Ok(Joined::Leader(self.lead_alone(key)?, None))
    }

    pub(super) fn complete_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        computed: &Computed<'_, '_>,
    ) -> PyResult<bool> {
        let (py, key) = (context.py(), &flight.key);
        let value = EncodedBytes::new(computed.value, context.settings.pickling())?;
        let (expires_at, now) = context.expires_early(computed.timeout, computed.jitter)?;
        let mut entry = NewEntry::new(value.bytes())
            .kind(value.kind)
            .expires_at(expires_at)
            .cost(Duration::try_from_secs_f64(computed.cost).unwrap_or_default());
        // A value that has expired at once is never used, as if it was deleted.
        if computed.stale > 0.0 && expires_at != Timestamp::NEVER && !now.has_passed(expires_at) {
            entry = entry.stale_until(later(expires_at, computed.stale));
        }
        let mut lead = flight.take(py)?;
        let Some(machine) = lead.take_machine() else {
            lead.finish(computed.value, context.settings.pickle_protocol)?;
            return Ok(false);
        };
        let number = machine.number();
        let stored = match self.write(py, now, |cache| cache.complete(key, number, entry)) {
            Ok(stored) => stored,
            Err(WriteFailure::Rejected(_)) => {
                self.log_rejection(py, key, entry.value.len())?;
                false
            }
            Err(WriteFailure::Raised(raised)) => return Err(raised),
        };
        machine.end();
        lead.finish(computed.value, context.settings.pickle_protocol)?;
        Ok(stored)
    }

    fn claim(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
        request: ClaimRequest,
    ) -> PyResult<Claim> {
        self.write(context.py(), now, |cache| cache.claim(key, request))
            .map_err(|failure| failure.into_exception(context.py()))
    }

    /// Returns the leader of a flight that was claimed.
    fn lead(&'static self, key: &[u8], number: u64, now: Now) -> PyResult<Lead> {
        let machine = MachineLead::new(self, owned(key)?, number, now);
        let flight = self.with(Now::System, |cache| cache.own_flight(number));
        let name = match flight {
            Ok(flight) => name_of(key, flight)?,
            // Others wait until their timeout, or for the process's end.
            Err(_) => key.to_vec(),
        };
        Ok(self.flights.overtake(&name).with_machine(machine))
    }

    /// Returns a leader that computes for itself: nobody waits for it, and its value is not stored.
    fn lead_alone(&'static self, key: &[u8]) -> PyResult<Lead> {
        let flight = FlightId {
            process: nearcache::shared::ProcessId::from_u64(0),
            number: next_number(),
        };
        Ok(self.flights.overtake(&name_of(key, flight)?))
    }

    /// Waits for a flight by way of this process's flight of that name.
    fn wait_for(&'static self, key: &[u8], flight: FlightId, now: Now) -> PyResult<Joined> {
        let own = self.with(Now::System, |cache| cache.own_flight(flight.number));
        let is_led_elsewhere = own.is_ok_and(|own| own != flight);
        let held = HeldFlight::new(self, owned(key)?, flight, now, is_led_elsewhere);
        Ok(match self.flights.join(&name_of(key, flight)?) {
            // Not one whose flight is not current any more: the real leader overtakes it here if it has claimed the file only just
            // before.
            Joined::Leader(lead, _) if lead.is_alone() => Joined::Leader(lead, None),
            joined => {
                self.with(Now::System, |cache| cache.count(Event::Wait));
                match joined {
                    Joined::Leader(lead, _) => Joined::Waiter(Wait::watcher(lead, held)),
                    Joined::Waiter(wait) => Joined::Waiter(wait.with_file(held)),
                    other => other,
                }
            }
        })
    }

    /// Returns the value of a key that has expired at most `stale` seconds ago, and was stored to be used so.
    fn stale_value(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
        stale: f64,
    ) -> PyResult<Option<Py<PyAny>>> {
        if stale <= 0.0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let found = context.py().detach(|| {
            self.with(now, |cache: &SharedCache<Now>| {
                cache.get_stale_into(key, &mut bytes)
            })
        });
        let Some(entry) = found.map_err(no_memory)? else {
            return Ok(None);
        };
        if now.now() >= later(entry.expires_at, stale) {
            return Ok(None);
        }
        let decoder = Decoder::with_bytes(context.py(), context.settings.shared.pickles, entry.kind, &bytes)?;
        self.decode(context.py(), key, decoder, now)
    }
}
