//! Pushes: what a server sends to the listener without being asked.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::state::NearState;

/// Where a session learns that one of its connections broke.
#[derive(Debug, Default)]
pub(super) struct Lost {
    notify: Notify,
    server: OnceLock<String>,
}

impl Lost {
    fn report(&self, server: &str) {
        self.server.get_or_init(|| server.to_owned());
        self.notify.notify_one();
    }

    /// Waits until a connection broke, and returns its server. Returns at once if one broke before.
    pub(super) async fn server(&self) -> String {
        self.notify.notified().await;
        self.server.get().cloned().unwrap_or_default()
    }
}

/// Returns the function that a connection calls with each push.
///
/// The connection's task calls it while it reads, in the order of the stream. So when a reply arrives, all pushes before it
/// have been applied.
pub(super) fn handler(
    state: NearState,
    server: String,
    lost: Arc<Lost>,
) -> impl Fn(PushInfo) -> Result<(), Infallible> {
    move |push| {
        match push.kind {
            PushKind::Disconnection => lost.report(&server),
            kind => apply(state, &kind, &push.data),
        }
        Ok(())
    }
}

/// Applies an invalidation of keys, or of all keys. Ignores other pushes.
fn apply(state: NearState, kind: &PushKind, data: &[Value]) {
    if *kind != PushKind::Invalidate {
        return;
    }
    let Some(Value::Array(keys)) = data.first() else {
        // Nil: the keys of a database were deleted. Whatever else it is, invalidating everything is correct.
        return state.apply_flush();
    };
    for key in keys {
        match key {
            Value::BulkString(key) => state.apply_invalidation(key),
            Value::SimpleString(key) => state.apply_invalidation(key.as_bytes()),
            _ => state.apply_flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::near::Stripe;

    #[test]
    fn an_array_invalidates_its_keys_and_nil_everything() {
        let state = NearState::private().unwrap();
        let (a, b) = (Stripe::of(b"a"), Stripe::of(b"b"));
        let (of_a, of_b) = (state.stamp(a), state.stamp(b));
        let keys = Value::Array(vec![Value::BulkString(b"a".to_vec())]);
        apply(state, &PushKind::Invalidate, &[keys]);
        assert!(!state.is_current(a, of_a) && state.is_current(b, of_b));
        apply(state, &PushKind::Invalidate, &[Value::Nil]);
        assert!(!state.is_current(b, of_b));
        let counters = state.counters();
        assert_eq!((counters.invalidations, counters.flushes), (1, 1));
    }

    #[test]
    fn other_pushes_are_ignored() {
        let state = NearState::private().unwrap();
        let before = state.counters();
        apply(state, &PushKind::Message, &[Value::Nil]);
        apply(state, &PushKind::Other("new".to_owned()), &[Value::Nil]);
        assert_eq!(state.counters(), before);
    }
}
