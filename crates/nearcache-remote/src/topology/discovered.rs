//! Knowledge that is asked for, and asked for again when it seems to be outdated.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::breaker::Breaker;
use crate::error::Error;
use crate::site::Site;

/// Knowledge this young is not asked for again: it cannot be better yet.
const FRESH: Duration = Duration::from_millis(20);

/// Knowledge that is replaced as a whole. Many requests may find at once that it is outdated; it is asked for once.
pub(super) struct Discovered<T> {
    current: ArcSwapOption<Version<T>>,
    asking: Mutex<()>,
    breaker: Breaker,
}

/// One version of the knowledge.
pub(super) struct Version<T> {
    number: u64,
    since: Instant,
    pub(super) value: T,
}

impl<T> Discovered<T> {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            asking: Mutex::new(()),
            breaker: Breaker::new(site),
        }
    }

    pub(super) fn get(&self) -> Option<Arc<Version<T>>> {
        self.current.load_full()
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.current.load().as_ref().map(|version| version.number)
    }

    /// Refreshes the map by `load`, unless it was refreshed since version `seen`. Fails only if there is no map.
    pub(super) fn refresh(
        &self,
        seen: Option<u64>,
        load: impl FnOnce(Option<&T>) -> Result<T, Error>,
    ) -> Result<(), Error> {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.get();
        let is_current =
            |version: &Version<T>| Some(version.number) != seen || version.since.elapsed() < FRESH;
        if current.as_deref().is_some_and(is_current) {
            return Ok(());
        }
        let result = self.try_load(current.as_deref(), load);
        drop(asking);
        match current {
            Some(_) => Ok(()),
            None => result,
        }
    }

    fn try_load(
        &self,
        current: Option<&Version<T>>,
        load: impl FnOnce(Option<&T>) -> Result<T, Error>,
    ) -> Result<(), Error> {
        let permit = self.breaker.admit(Instant::now())?;
        match load(current.map(|version| &version.value)) {
            Ok(value) => {
                permit.succeed();
                self.current.store(Some(Arc::new(Version {
                    number: current.map_or(0, |version| version.number + 1),
                    since: Instant::now(),
                    value,
                })));
                Ok(())
            }
            Err(error) if error.is_outage() => {
                permit.fail(Instant::now(), &error);
                Err(error)
            }
            Err(error) => {
                permit.succeed();
                Err(error)
            }
        }
    }
}
