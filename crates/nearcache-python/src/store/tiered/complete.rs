//! Storing what a leader has computed.

use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nearcache::Condition;
use nearcache_remote::near::BootTime;
use nearcache_remote::{Cmd, Request, Route, cmd};
use pyo3::prelude::*;

use super::costs::Cost;
use super::names::Beside;
use super::plan::{Plan, Step};
use super::requests::{Reader, single};
use super::stale_value::Header;
use super::tiered_store::TieredStore;
use super::wire;
use super::writes::set_command;
use crate::context::CallContext;
use crate::expiry::Lifetime;
use crate::memory::concat;
use crate::store::flights::{Computed, Flight};

/// Stores an entry and its side key, or none; with a token, only if the lock has it, and the lock is released.
///
/// The side key is first. So its stale time begins no later than the entry's expiry.
const STORE: &str = "\
if ARGV[1] ~= '' then \
  if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end \
  redis.call('UNLINK', KEYS[3]) \
end \
if ARGV[2] == 'NX' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
if ARGV[5] == '' then redis.call('UNLINK', KEYS[2]) \
elseif ARGV[7] == '' then redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6]) \
else redis.call('SET', KEYS[2], ARGV[5] .. ARGV[3], 'PX', ARGV[6]) end \
if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3]) \
else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end \
return 1";

/// Deletes an entry and its side key, if the entry has this value.
const TAKE_BACK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1], KEYS[2]) end return 0";

/// What the flight of a leader says about storing its value.
struct Terms {
    /// Whether the flight is still in progress.
    leads: bool,
    replaces: bool,
    token: Vec<u8>,
}

/// A value on its way to the server. When it is dropped, the near copies of its key are invalidated, and the value is taken
/// back unless it may stay: a leader that was cancelled has given its flight up.
struct Storing {
    store: &'static TieredStore,
    key: Vec<u8>,
    /// The name of the side key.
    side: Vec<u8>,
    /// What the server is sent: a second pickle of the value might have other bytes.
    stored: Vec<u8>,
    flight: Py<Flight>,
    may_stay: bool,
}

/// What is stored beside the entry, and for how many milliseconds.
struct SideKey {
    header: Header,
    millis: u64,
}

/// 100,000 years. Servers refuse much longer times.
const MOST_MILLIS: u64 = 3_200_000_000_000_000;

impl TieredStore {
    /// Returns the plan of storing what a leader has computed, and of ending its flight; the result is whether it was stored.
    ///
    /// If this machine writes the key before the server has answered, the value is deleted again: it may have come after
    /// that write. If the request fails, the flight goes on.
    pub(crate) fn plan_complete(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Bound<'_, Flight>,
        computed: &Computed<'_, '_>,
    ) -> PyResult<Step<bool>> {
        let (py, protocol) = (context.py(), context.settings.pickle_protocol);
        let key = &*flight.get().key;
        let terms = self.terms(py, flight.get())?;
        if !terms.leads {
            flight.get().take(py)?.finish(computed.value, protocol)?;
            return Ok(Step::Done(false));
        }
        let stored = wire::encode(computed.value, protocol)?;
        let millis = match context.lifetime(computed.timeout, computed.jitter)? {
            Lifetime::Expired => return self.plan_complete_expired(context, flight, computed.value, &terms),
            Lifetime::Forever => None,
            Lifetime::Millis(millis) => Some(millis),
        };
        let side = millis.and_then(|millis| SideKey::of(computed, millis));
        if side.is_some() {
            self.has_side_keys.store(true, Relaxed);
        }
        let command = if side.is_none() && terms.token.is_empty() && !self.has_side_keys.load(Relaxed) {
            set_command(key, &stored, millis, terms.condition())
        } else {
            self.store_command(key, &stored, millis, &terms, side.as_ref())?
        };
        let request = single(command, key, false);
        let cost = Cost {
            micros: computed.timing().cost_micros(),
            end: BootTime::now().after(millis.map(Duration::from_millis)),
        };
        let value = computed.value.clone().unbind();
        let mut storing = Storing::new(self, flight, stored)?;
        self.invalidate(key);
        Ok(Plan::new(request, move |py, outcome| {
            let answer = outcome.and_then(|replies| Reader::new(replies).is_stored());
            let leads = self
                .terms(py, storing.flight.get())
                .is_ok_and(|terms| terms.leads);
            storing.may_stay = leads || matches!(answer, Ok(false));
            let flight = storing.flight.clone_ref(py);
            drop(storing);
            let is_stored = answer.or_else(|error| self.on_failure(py, &error, || Ok(false)))?;
            let (flight, is_kept) = (flight.get(), is_stored && leads);
            let mut lead = flight.take(py)?;
            if let Some(lock) = lead.remote.lock.as_mut().filter(|_| is_stored) {
                // The script that stored the value has released it.
                lock.end();
            }
            if is_kept {
                self.counts.sets.fetch_add(1, Relaxed);
                self.costs.note(&flight.key, cost);
            }
            lead.finish(value.bind(py), protocol)?;
            Ok(is_kept)
        })
        .into())
    }

    /// Returns the plan of ending a flight whose value expires at once. It is not stored, but a live one that it would
    /// replace is deleted. The server's lock is still held then, and is released when the leader is dropped.
    fn plan_complete_expired(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Bound<'_, Flight>,
        value: &Bound<'_, PyAny>,
        terms: &Terms,
    ) -> PyResult<Step<bool>> {
        let (py, protocol) = (context.py(), context.settings.pickle_protocol);
        if !terms.replaces {
            flight.get().take(py)?.finish(value, protocol)?;
            return Ok(Step::Done(false));
        }
        let step = self.plan_delete(py, &flight.get().key)?;
        let (flight, value) = (flight.clone().unbind(), value.clone().unbind());
        step.map(py, move |py, _| {
            flight.get().take(py)?.finish(value.bind(py), protocol)?;
            Ok(false)
        })
    }

    /// Fails with `RuntimeError` if the flight is over.
    fn terms(&self, py: Python<'_>, flight: &Flight) -> PyResult<Terms> {
        flight.with_lead(py, |lead| Terms {
            leads: self.flights.leads(&flight.key, lead),
            replaces: lead.remote.replaces,
            token: lead
                .remote
                .lock
                .as_ref()
                .map_or_else(Vec::new, |lock| lock.token().to_vec()),
        })
    }

    fn store_command(
        &self,
        key: &[u8],
        stored: &[u8],
        millis: Option<u64>,
        terms: &Terms,
        side: Option<&SideKey>,
    ) -> PyResult<Cmd> {
        let mut command = cmd("EVAL");
        command.arg(STORE).arg(3).arg(key);
        command
            .arg(self.name(key, Beside::Stale)?)
            .arg(self.name(key, Beside::Lock)?);
        command
            .arg(&terms.token)
            .arg(if terms.replaces { "" } else { "NX" })
            .arg(stored);
        match millis {
            Some(millis) => command.arg(millis),
            None => command.arg(""),
        };
        match side {
            Some(side) => command
                .arg(&side.header.encode())
                .arg(side.millis)
                .arg(if side.header.stale_millis > 0 { "value" } else { "" }),
            None => command.arg("").arg("").arg(""),
        };
        Ok(command)
    }
}

impl Terms {
    const fn condition(&self) -> Condition {
        if self.replaces {
            Condition::Always
        } else {
            Condition::IfAbsent
        }
    }
}

impl Storing {
    fn new(store: &'static TieredStore, flight: &Bound<'_, Flight>, stored: Vec<u8>) -> PyResult<Self> {
        let key = &*flight.get().key;
        Ok(Self {
            store,
            key: concat([key])?,
            side: store.name(key, Beside::Stale)?,
            stored,
            flight: flight.clone().unbind(),
            may_stay: false,
        })
    }

    /// Deletes the value, without waiting for that.
    fn take_back(&mut self) {
        let mut command = cmd("EVAL");
        command.arg(TAKE_BACK).arg(2).arg(&self.key);
        command.arg(&self.side).arg(&self.stored);
        let mut request = Request::default();
        request.add(command, Route::key(&self.key), true);
        let (store, key) = (self.store, mem::take(&mut self.key));
        store.costs.forget(&key);
        store
            .remote
            .start(request, Box::new(move |_| store.invalidate(&key)));
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.store.invalidate(&self.key);
        if !self.may_stay {
            self.take_back();
        }
    }
}

impl SideKey {
    /// Returns what is to be kept beside a value that lives for some milliseconds.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    fn of(computed: &Computed<'_, '_>, millis: u64) -> Option<Self> {
        if computed.stale <= 0.0 && computed.early <= 0.0 {
            return None;
        }
        let stale_millis = ((computed.stale * 1e3).ceil() as u64).min(MOST_MILLIS);
        Some(Self {
            header: Header {
                cost_micros: computed.timing().cost_micros(),
                stale_millis,
            },
            millis: millis.saturating_add(stale_millis).min(2 * MOST_MILLIS),
        })
    }
}
