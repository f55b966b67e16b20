//! The circuit breaker: after an outage, requests fail at once until one that is let through succeeds.
//!
//! The first outage opens the breaker. While it is open, one caller at a time tries again, first after [`FIRST_PAUSE`], then
//! after pauses that double up to [`LONGEST_PAUSE`]. Its success closes the breaker. So a dead server costs one timeout,
//! not one a call, and all callers are back soon after the server is.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::site::Site;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Decides whether a server may be tried.
pub(crate) struct Breaker {
    /// Whether `outage` is there: then alone the lock is needed.
    is_open: AtomicBool,
    outage: Mutex<Option<Outage>>,
    site: Arc<Site>,
}

struct Outage {
    since: Instant,
    error: Error,
    pause: Duration,
    next_try: Instant,
    /// Whether a caller is trying.
    is_tried: bool,
    tries: u32,
}

/// Permission to try a server. Dropped without a result, it lets the next caller try.
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    /// The number of this try since the breaker opened; `None` if it was closed.
    pub(crate) probe: Option<u32>,
    is_settled: bool,
}

impl Breaker {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            is_open: AtomicBool::new(false),
            outage: Mutex::new(None),
            site,
        }
    }

    /// Returns permission to try, or the error of the outage.
    pub(crate) fn admit(&self, now: Instant) -> Result<Permit<'_>, Error> {
        if !self.is_open.load(SeqCst) {
            return Ok(self.permit(None));
        }
        let mut outage = self.lock();
        let Some(outage) = outage.as_mut() else {
            return Ok(self.permit(None));
        };
        if outage.is_tried || now < outage.next_try {
            return Err(outage.refusal(now));
        }
        outage.is_tried = true;
        outage.tries += 1;
        Ok(self.permit(Some(outage.tries)))
    }

    fn permit(&self, probe: Option<u32>) -> Permit<'_> {
        Permit {
            breaker: self,
            probe,
            is_settled: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        if self.lock().take().is_some() {
            self.is_open.store(false, SeqCst);
            self.site.counts.breaker_closed();
        }
    }

    fn open(&self, now: Instant, error: &Error) {
        let mut outage = self.lock();
        // Others that were let through before may fail later than the first.
        if outage.is_none() {
            *outage = Some(Outage {
                since: now,
                error: error.clone(),
                pause: FIRST_PAUSE,
                next_try: now + FIRST_PAUSE,
                is_tried: false,
                tries: 0,
            });
            self.is_open.store(true, SeqCst);
            self.site.counts.breaker_opened();
        }
    }

    fn fail_probe(&self, now: Instant, error: Option<&Error>) {
        if let Some(outage) = self.lock().as_mut() {
            outage.is_tried = false;
            if let Some(error) = error {
                outage.error = error.clone();
                outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
                outage.next_try = now + outage.pause;
            }
        }
    }
}

/// A server that left the Cluster is not out of order any more.
impl Drop for Breaker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Outage {
    fn refusal(&self, now: Instant) -> Error {
        let since = now.saturating_duration_since(self.since);
        let next = match self.next_try.saturating_duration_since(now) {
            _ if self.is_tried => "a try is under way".to_owned(),
            pause => format!("the next try is in {} ms", pause.as_millis()),
        };
        let message = format!(
            "{} (out of order for {:.1} s; {next})",
            self.error,
            since.as_secs_f64()
        );
        Error::new(self.error.kind, message)
    }
}

impl Permit<'_> {
    /// Reports that the server answered.
    pub(crate) fn succeed(mut self) {
        self.is_settled = true;
        if self.probe.is_some() {
            self.breaker.close();
        }
    }

    /// Reports an outage.
    pub(crate) fn fail(mut self, now: Instant, error: &Error) {
        self.is_settled = true;
        match self.probe {
            Some(_) => self.breaker.fail_probe(now, Some(error)),
            None => self.breaker.open(now, error),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_settled && self.probe.is_some() {
            self.breaker.fail_probe(Instant::now(), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn breaker() -> (Breaker, Arc<Site>) {
        let site = Arc::new(Site::new(crate::config::Config::new(
            crate::config::Endpoints::Cluster(Vec::new()),
        )));
        (Breaker::new(Arc::clone(&site)), site)
    }

    fn outage() -> Error {
        Error::new(ErrorKind::Timeout, "no reply from h:1 within 1s")
    }

    #[test]
    fn after_an_outage_one_caller_at_a_time_tries_again() {
        let (breaker, site) = breaker();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        breaker.admit(start).unwrap().fail(start, &outage());
        let refused = breaker.admit(after(10)).err().unwrap();
        assert_eq!(refused.kind, ErrorKind::Timeout);
        let expected = "no reply from h:1 within 1s (out of order for 0.0 s; the next try is in 40 ms)";
        assert_eq!(refused.to_string(), expected);

        let probe = breaker.admit(after(50)).unwrap();
        assert_eq!(probe.probe, Some(1));
        let refused = breaker.admit(after(1060)).err().unwrap();
        assert!(
            refused
                .to_string()
                .ends_with("(out of order for 1.1 s; a try is under way)"),
            "{refused}"
        );
        probe.succeed();
        assert!(breaker.admit(after(1070)).unwrap().probe.is_none());
        assert_eq!(
            (site.counts.read().breaker_trips, site.counts.read().breaker_open),
            (1, false)
        );
    }

    #[test]
    fn pauses_double_up_to_half_a_second() {
        let (breaker, _) = breaker();
        let mut now = Instant::now();
        breaker.admit(now).unwrap().fail(now, &outage());
        for pause in [50, 100, 200, 400, 500, 500] {
            assert!(breaker.admit(now + Duration::from_millis(pause - 1)).is_err());
            now += Duration::from_millis(pause);
            breaker.admit(now).unwrap().fail(now, &outage());
        }
    }

    #[test]
    fn a_try_without_a_result_lets_the_next_caller_try() {
        let (breaker, site) = breaker();
        let now = Instant::now();
        breaker.admit(now).unwrap().fail(now, &outage());
        let later = now + FIRST_PAUSE;
        drop(breaker.admit(later).unwrap());
        assert_eq!(breaker.admit(later).unwrap().probe, Some(2));
        assert!(site.counts.read().breaker_open);
    }

    #[test]
    fn requests_that_were_under_way_open_it_once() {
        let (breaker, site) = breaker();
        let now = Instant::now();
        let permits = [breaker.admit(now).unwrap(), breaker.admit(now).unwrap()];
        for permit in permits {
            permit.fail(now, &outage());
        }
        assert_eq!(site.counts.read().breaker_trips, 1);
    }
}
