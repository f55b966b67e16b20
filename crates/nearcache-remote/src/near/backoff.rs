//! How long the listener waits before it tries again.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// After the password was refused, or the server is not what it is configured as. Somebody has to change that.
const AFTER_REFUSED_CONFIG: Duration = Duration::from_secs(2);
/// After the server turned out to lack what is needed, which takes an upgrade or other permissions.
const AFTER_UNSUPPORTED: Duration = Duration::from_secs(30);

/// The delay between attempts, which doubles until one succeeds.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// Returns how long to wait after this error.
    pub(super) fn next(&mut self, error: &Error) -> Duration {
        match error.kind {
            ErrorKind::Unsupported => AFTER_UNSUPPORTED,
            ErrorKind::Authentication | ErrorKind::Config => AFTER_REFUSED_CONFIG,
            _ => {
                let delay = self.0;
                self.0 = (delay * 2).min(LONGEST);
                delay
            }
        }
    }

    /// Starts from the shortest delay again: an attempt succeeded.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_until_an_attempt_succeeds() {
        let broken = Error::new(ErrorKind::Connection, "connection refused");
        let mut backoff = Backoff::default();
        let mut delays = || backoff.next(&broken).as_millis();
        let found: Vec<_> = (0..7).map(|_| delays()).collect();
        assert_eq!(found, [20, 40, 80, 160, 320, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.next(&broken), FIRST);
    }

    #[test]
    fn a_server_that_cannot_do_it_is_tried_rarely() {
        let unsupported = Error::new(ErrorKind::Unsupported, "too old");
        assert_eq!(Backoff::default().next(&unsupported), AFTER_UNSUPPORTED);
    }
}
