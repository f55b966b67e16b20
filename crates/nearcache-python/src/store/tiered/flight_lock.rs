//! The lock on the server by which one of all machines computes the value of a key (`distributed=True`).
//!
//! Its value is the holder's token. While the holder computes, the runtime's thread extends it, so that it does not end before
//! the computation, and ends soon if the machine dies. The value is stored by a script that looks for the token in the
//! same step. So if the lock has been deleted, as by a `delete` of the key on any machine, the value is not stored.

use std::process;
use std::time::Duration;

use nearcache_remote::{Repeated, Request, Route};

use super::requests::{on_key, script, single};
use super::tiered_store::TieredStore;
use crate::store::flights::HeldLock;

/// The shortest time that a lock has to live, whatever the timeout of the waiters is.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often a lock is extended in the time that it lives.
const EXTENSIONS: u32 = 3;

const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end return 0";
const EXTEND: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";

/// A lock that this process has asked for. The server may have given it. Dropping it releases it.
pub(super) struct FlightLock {
    store: &'static TieredStore,
    /// The name of the lock.
    name: Vec<u8>,
    token: Vec<u8>,
    lifetime: Duration,
    is_over: bool,
    /// The copy in a child of `fork` is not the child's.
    process: u32,
    extension: Option<Repeated>,
}

impl FlightLock {
    pub(super) fn new(store: &'static TieredStore, name: Vec<u8>, token: &str, timeout: Duration) -> Self {
        Self {
            store,
            name,
            token: token.as_bytes().to_vec(),
            lifetime: timeout.clamp(SHORTEST, Duration::from_secs(u64::from(u32::MAX))),
            is_over: false,
            process: process::id(),
            extension: None,
        }
    }

    /// Returns the request for the lock. `overtakes` takes it from its holder.
    pub(super) fn request(&self, overtakes: bool) -> Request {
        let mut command = on_key("SET", &self.name);
        command.arg(&self.token).arg("PX").arg(self.millis());
        if !overtakes {
            command.arg("NX");
        }
        single(command, &self.name, overtakes)
    }

    /// Keeps the lock from now on until it is dropped.
    pub(super) fn keep(&mut self) {
        let mut command = script(EXTEND, &self.name);
        command.arg(&self.token).arg(self.millis());
        let request = single(command, &self.name, true);
        self.extension = Some(self.store.remote.repeat(request, self.lifetime / EXTENSIONS));
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX)
    }
}

impl HeldLock for FlightLock {
    fn token(&self) -> &[u8] {
        &self.token
    }

    fn end(&mut self) {
        self.is_over = true;
        self.extension = None;
    }
}

impl Drop for FlightLock {
    fn drop(&mut self) {
        if self.is_over || self.process != process::id() {
            return;
        }
        let mut command = script(RELEASE, &self.name);
        command.arg(&self.token);
        let mut request = Request::default();
        request.add(command, Route::key(&self.name), true);
        // If that fails, the lock ends by its time.
        self.store.remote.start(request, Box::new(drop));
    }
}
