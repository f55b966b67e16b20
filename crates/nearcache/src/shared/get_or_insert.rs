//! `get_or_insert_with`: of all callers in all processes that miss a key at the same time, one computes the value.
//!
//! The protocol is in `flight.rs`. A waiter polls, because the leader may be in any process, and may be killed.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64 as ProcessLocal, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cache::SharedCache;
use super::counters::Event;
use super::entry::{FlightId, NewEntry};
use super::error::{ComputeError, SharedError};
use super::flight::{Claim, ClaimRequest};
use crate::clock::Clock;
use crate::error::OutOfMemory;

const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

thread_local! {
    /// The flights that this thread leads, the innermost last.
    static LED: RefCell<Vec<FlightId>> = const { RefCell::new(Vec::new()) };
}

/// Returns whether this thread leads a flight.
///
/// A child of `fork` inherits the flights of the thread that forked: to wait for them could take as long as the child
/// itself.
fn leads(flight: FlightId) -> bool {
    LED.try_with(|led| led.borrow().contains(&flight))
        .unwrap_or_default()
}

/// Makes sure that one more flight can be noted.
fn reserve() -> Result<(), OutOfMemory> {
    let reserved = LED.try_with(|led| led.borrow_mut().try_reserve(1));
    // The thread-local value of a thread that is ending has been destroyed.
    Ok(reserved.unwrap_or(Ok(()))?)
}

/// Returns a number that no other flight of this process has. Other callers of `claim` use the lower half.
fn next_number() -> u64 {
    static NEXT: ProcessLocal = ProcessLocal::new(1 << 63);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a caller that missed does.
enum Turn<'a, C: Clock> {
    /// It has the value now.
    Hit,
    /// It computes the value.
    Lead(Leader<'a, C>),
    /// It computes the value for itself, because it would wait for itself.
    Recurse,
}

impl<C: Clock> SharedCache<C> {
    /// Returns the value of a live entry, or computes and stores one, which expires after `ttl`, or never if that is `None`.
    ///
    /// Of all threads in all processes that miss the key at the same time, one runs `compute`, the leader; the others wait
    /// until its value is stored.
    ///
    /// ```
    /// use nearcache::shared::SharedCache;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::time::Duration;
    ///
    /// # let directory = std::env::temp_dir().join(format!("nearcache-flight-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let cache = SharedCache::open(directory.join("pages"), 1 << 20)?;
    /// let computed = AtomicU32::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..8 {
    ///         scope.spawn(|| {
    ///             let page = cache.get_or_insert_with(b"/", Some(Duration::from_secs(60)), || {
    ///                 computed.fetch_add(1, Ordering::Relaxed);
    ///                 b"<h1>Hello</h1>".to_vec()
    ///             });
    ///             assert_eq!(page.unwrap(), b"<h1>Hello</h1>");
    ///         });
    ///     }
    /// });
    /// assert_eq!(computed.into_inner(), 1);
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// - If the key is written or removed meanwhile, the leader returns its value, but does not store it.
    /// - If the leader panics, or its process dies, a waiter leads.
    /// - A waiter that has waited for one flight for [`flight_timeout`](Self::flight_timeout) leads a new one. The value of
    ///   the old one will not be stored.
    /// - If `compute` asks for the same key again, that call computes at once. It must not ask for a key whose computation
    ///   in another thread or process needs this one: both would wait until the timeout.
    /// - A value that cannot be stored, for example because it is too large, is returned all the same.
    ///
    /// The time of computing is stored with the value: see [`SharedStats::saved`](super::SharedStats::saved). A hit costs
    /// what [`get`](Self::get) costs. A miss takes the lock of one shard twice. Waiters sleep for 0.1 to 5 ms at a time.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if the computation could not be claimed, or there is no memory for a value that is there. Nothing was
    /// computed then.
    pub fn get_or_insert_with(
        &self,
        key: &[u8],
        ttl: Option<Duration>,
        compute: impl FnOnce() -> Vec<u8>,
    ) -> Result<Vec<u8>, SharedError> {
        let computed = self.try_get_or_insert_with(key, ttl, || Ok::<_, Infallible>(compute()));
        computed.map_err(|error| match error {
            ComputeError::Cache(error) => error,
            ComputeError::Function(never) => match never {},
        })
    }

    /// Returns the value of a live entry, or computes and stores one, as [`get_or_insert_with`](Self::get_or_insert_with)
    /// does.
    ///
    /// If `compute` fails, nothing is stored, and one of the waiters leads next.
    ///
    /// # Errors
    ///
    /// [`ComputeError::Function`] if `compute` failed. [`ComputeError::Cache`] as
    /// [`get_or_insert_with`](Self::get_or_insert_with).
    pub fn try_get_or_insert_with<E>(
        &self,
        key: &[u8],
        ttl: Option<Duration>,
        compute: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, ComputeError<E>> {
        let mut value = Vec::new();
        let found = self.get_into(key, &mut value).map_err(SharedError::from)?;
        if found.is_some() {
            return Ok(value);
        }
        match self.wait_for_turn(key, &mut value)? {
            Turn::Hit => Ok(value),
            Turn::Lead(leader) => leader.run(ttl, compute).map_err(ComputeError::Function),
            Turn::Recurse => compute().map_err(ComputeError::Function),
        }
    }

    /// Waits until there is a value, which is copied to `value`, or until the caller is the leader.
    fn wait_for_turn<'a>(&'a self, key: &'a [u8], value: &mut Vec<u8>) -> Result<Turn<'a, C>, SharedError> {
        reserve()?;
        let own = self.own_flight(next_number())?;
        let mut request = ClaimRequest::new(own.number);
        let mut wait: Option<Wait> = None;
        loop {
            match self.claim(key, request)? {
                Claim::Hit if self.peek_into(key, value)?.is_some() => return Ok(Turn::Hit),
                // It was removed since, or its value is damaged: then this replaces it.
                Claim::Hit => request = request.refresh(),
                Claim::Leader => return Ok(Turn::Lead(Leader::new(self, key, own))),
                Claim::Held(flight) if leads(flight) => return Ok(Turn::Recurse),
                Claim::Held(flight) => {
                    // The next look is for the value of that flight, also if this caller came to replace one.
                    request = ClaimRequest::new(own.number);
                    if wait.is_none() {
                        self.count(Event::Wait);
                    }
                    let wait = wait.get_or_insert_with(|| Wait::new(flight));
                    if !wait.pause(flight, self.flight_timeout()) {
                        request = request.overtake(flight);
                    }
                }
            }
        }
    }
}

/// The wait for a flight.
struct Wait {
    flight: FlightId,
    since: Instant,
    next_pause: Duration,
}

impl Wait {
    fn new(flight: FlightId) -> Self {
        Self {
            flight,
            since: Instant::now(),
            next_pause: FIRST_PAUSE,
        }
    }

    /// Sleeps for a while; returns `false` if the caller has waited for this flight long enough.
    fn pause(&mut self, flight: FlightId, timeout: Duration) -> bool {
        if flight != self.flight {
            *self = Self::new(flight);
        }
        let left = timeout.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return false;
        }
        thread::sleep(self.next_pause.min(left));
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// The lead of a flight. Dropping it ends the flight.
struct Leader<'a, C: Clock> {
    cache: &'a SharedCache<C>,
    key: &'a [u8],
    flight: FlightId,
    is_over: bool,
}

impl<'a, C: Clock> Leader<'a, C> {
    fn new(cache: &'a SharedCache<C>, key: &'a [u8], flight: FlightId) -> Self {
        LED.try_with(|led| led.borrow_mut().push(flight)).ok();
        Self {
            cache,
            key,
            flight,
            is_over: false,
        }
    }

    /// Computes the value and stores it.
    fn run<E>(
        mut self,
        ttl: Option<Duration>,
        compute: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let start = Instant::now();
        let value = compute()?;
        let entry = NewEntry::new(&value)
            .expires_at(self.cache.expiry(ttl))
            .cost(start.elapsed());
        // If the value is not stored, it is returned all the same, and the statistics count why.
        let completed = self.cache.complete(self.key, self.flight.number, entry);
        self.is_over = completed.is_ok();
        Ok(value)
    }
}

impl<C: Clock> Drop for Leader<'_, C> {
    fn drop(&mut self) {
        LED.try_with(|led| led.borrow_mut().retain(|flight| *flight != self.flight))
            .ok();
        if !self.is_over {
            // If this fails, too, waiters overtake the flight after their timeout.
            self.cache.release(self.key, self.flight.number).ok();
        }
    }
}
