//! The context of one method call: the backend instance, its clock, and its settings at the beginning of the call.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use nearcache::{Clock, Timestamp};
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

use crate::arguments::{Any, Argument};
use crate::clock::{BackendClock, Now};
use crate::django::base_cache;
#[cfg(unix)]
use crate::expiry::Lifetime;
use crate::expiry::later;
use crate::keys::KeyMaker;
use crate::objects::text;
use crate::random::random;
use crate::settings::Settings;

/// How long all reads of one call wait, in total, for writes of other processes.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// What one call of a method needs to know about its backend instance.
pub(crate) struct CallContext<'a, 'py> {
    pub(crate) backend: Any<'a, 'py>,
    pub(crate) settings: Guard<Arc<Settings>>,
    clock: &'a BackendClock,
    /// How much of [`READ_TIMEOUT`] is left. A call that reads many keys of a stopped process waits once, not for each key.
    #[cfg_attr(not(shared), allow(dead_code))]
    pub(crate) read_timeout: Cell<Duration>,
}

impl<'a, 'py> CallContext<'a, 'py> {
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(crate) fn new(
        backend: Any<'a, 'py>,
        clock: &'a BackendClock,
        settings: &'a ArcSwap<Settings>,
    ) -> Self {
        Self {
            backend,
            settings: settings.load(),
            clock,
            read_timeout: Cell::new(READ_TIMEOUT),
        }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.backend.py()
    }

    pub(crate) fn keys(&self) -> KeyMaker<'_, 'py> {
        KeyMaker::new(self.backend, &self.settings.keys.rule)
    }

    pub(crate) fn now(&self) -> PyResult<Now> {
        self.clock.now(self.py())
    }

    /// Returns when an entry expires that is written now with this `timeout` argument, and the clock this was computed
    /// with.
    pub(crate) fn expires_at(&self, timeout: Argument<'_, 'py>) -> PyResult<(Timestamp, Now)> {
        let now = self.now()?;
        let expires_at = self.settings.timeouts.expires_at(self.backend, timeout, now)?;
        Ok((expires_at, now))
    }

    /// Returns when an entry expires that is written now with this `timeout` argument, shortened by up to the fraction
    /// `jitter` at random, and the clock this was computed with.
    pub(crate) fn expires_early(
        &self,
        timeout: Argument<'_, 'py>,
        jitter: f64,
    ) -> PyResult<(Timestamp, Now)> {
        let (expires_at, now) = self.expires_at(timeout)?;
        if jitter <= 0.0 || expires_at == Timestamp::NEVER {
            return Ok((expires_at, now));
        }
        let seconds = now.time_left(expires_at).as_secs_f64();
        Ok((later(expires_at, -seconds * jitter * random()), now))
    }

    /// Returns how long an entry lives that is written now with this `timeout` argument, shortened by up to the fraction
    /// `jitter` at random.
    #[cfg(unix)]
    pub(crate) fn lifetime(&self, timeout: Argument<'_, 'py>, jitter: f64) -> PyResult<Lifetime> {
        let now = self.now()?;
        let lifetime = self.settings.timeouts.lifetime(self.backend, timeout, now)?;
        Ok(if jitter > 0.0 {
            lifetime.shortened(jitter * random())
        } else {
            lifetime
        })
    }

    /// Calls Django's implementation of a method, which calls this instance's `get`, `set` or `delete` for each key.
    pub(crate) fn call_django<A: PyCallArgs<'py>>(
        &self,
        method: &str,
        arguments: A,
    ) -> PyResult<Bound<'py, PyAny>> {
        let method = text(self.py(), method)?;
        base_cache(self.py())?.getattr(method)?.call1(arguments)
    }
}
