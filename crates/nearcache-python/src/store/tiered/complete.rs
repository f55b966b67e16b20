//! Storing what a leader has computed.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nearcache::Condition;
use nearcache_remote::near::BootTime;
use nearcache_remote::{Cmd, Request, Route, cmd};
use pyo3::prelude::*;

use super::costs::Cost;
use super::names::Beside;
use super::plan::Step;
use super::requests::{Reader, single};
use super::stale_value::Header;
use super::tiered_store::TieredStore;
use super::wire;
use super::writes::set_command;
use crate::context::CallContext;
use crate::expiry::Lifetime;
use crate::memory::concat;
use crate::store::entry_store::SetOutcome;
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

/// What is stored beside the entry, and for how many milliseconds.
struct SideKey {
    header: Header,
    millis: u64,
}

/// 100,000 years. Servers refuse much longer times.
const MOST_MILLIS: u64 = 3_200_000_000_000_000;

impl TieredStore {
    /// Returns the plan of storing what a leader has computed; the result is whether it was stored. The flight goes on.
    pub(crate) fn plan_complete(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        computed: &Computed<'_, '_>,
    ) -> PyResult<Step<bool>> {
        let key = &*flight.key;
        let terms = flight.with_lead(context.py(), |lead| Terms {
            leads: self.flights.leads(key, lead),
            replaces: lead.remote.replaces,
            token: lead
                .remote
                .lock
                .as_ref()
                .map_or_else(Vec::new, |lock| lock.token().to_vec()),
        })?;
        if !terms.leads {
            return Ok(Step::Done(false));
        }
        let condition = if terms.replaces {
            Condition::Always
        } else {
            Condition::IfAbsent
        };
        let stored = wire::encode(computed.value, context.settings.pickle_protocol)?;
        let millis = match context.lifetime(computed.timeout, computed.jitter)? {
            Lifetime::Expired => return self.plan_complete_expired(context, key, condition),
            Lifetime::Forever => None,
            Lifetime::Millis(millis) => Some(millis),
        };
        let side = millis.and_then(|millis| SideKey::of(computed, millis));
        if side.is_some() {
            self.has_side_keys.store(true, Relaxed);
        }
        let request = if side.is_none() && terms.token.is_empty() && !self.has_side_keys.load(Relaxed) {
            single(set_command(key, &stored, millis, condition), key, false)
        } else {
            let command = self.store_command(key, &stored, millis, &terms, side.as_ref())?;
            single(command, key, false)
        };
        let cost = Cost {
            micros: computed.timing().cost_micros(),
            end: BootTime::now().after(millis.map(Duration::from_millis)),
        };
        let owned = concat([key])?;
        let read = move |_: Python<'_>, reader: &mut Reader| {
            let is_stored = reader.is_stored()?;
            if is_stored {
                self.counts.sets.fetch_add(1, Relaxed);
                self.costs.note(&owned, cost);
            }
            Ok(is_stored)
        };
        Ok(self
            .plan_flight_write(concat([key])?, request, read, || Ok(false))
            .into())
    }

    /// A value that expires at once is not stored. It replaces a live one.
    fn plan_complete_expired(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        condition: Condition,
    ) -> PyResult<Step<bool>> {
        let step = self.plan_set_expired(context.py(), key, condition)?;
        step.map(context.py(), |_, outcome| Ok(outcome == SetOutcome::Stored))
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

    /// Ends a flight whose value the server has stored, or not; returns whether it is stored.
    ///
    /// If this machine has written the key meanwhile, the value is deleted again: it may have come after that write.
    pub(crate) fn end_flight(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        value: &Bound<'_, PyAny>,
        is_stored: bool,
    ) -> PyResult<bool> {
        let (py, protocol) = (context.py(), context.settings.pickle_protocol);
        let mut lead = flight.take(py)?;
        if let Some(lock) = lead.remote.lock.as_mut().filter(|_| is_stored) {
            lock.end();
        }
        let is_late = is_stored && !self.flights.leads(&flight.key, &lead);
        if is_late {
            self.take_back(&flight.key, &wire::encode(value, protocol)?)?;
        }
        lead.finish(value, protocol)?;
        Ok(is_stored && !is_late)
    }

    /// Deletes a value without waiting for it.
    fn take_back(&'static self, key: &[u8], stored: &[u8]) -> PyResult<()> {
        let mut command = cmd("EVAL");
        command.arg(TAKE_BACK).arg(2).arg(key);
        command.arg(self.name(key, Beside::Stale)?).arg(stored);
        let mut request = Request::default();
        request.add(command, Route::key(key), true);
        let key = concat([key])?;
        self.invalidate(&key);
        self.costs.forget(&key);
        self.remote
            .start(request, Box::new(move |_| self.invalidate(&key)));
        Ok(())
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
