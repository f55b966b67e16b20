//! Requests that are sent again and again, in the thread of the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::client::Client;
use crate::request::Request;
use crate::runtime;
use crate::start::start;

/// A request that is sent repeatedly until this is dropped.
#[derive(Debug)]
pub struct Repeated {
    /// A flag, not the handle of the task: that may not be used in a child of `fork`.
    is_over: Arc<AtomicBool>,
}

impl Drop for Repeated {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

/// Sends a request each time that so much time has passed. Results are ignored, and so is that the runtime cannot be started:
/// the callers' own requests tell.
pub(crate) fn repeat(client: Arc<Client>, request: Request, pause: Duration) -> Repeated {
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&is_over);
    if let Ok(runtime) = runtime::handle() {
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if ended.load(Relaxed) {
                    return;
                }
                client.site.counts.count_request();
                start(Arc::clone(&client), request.clone(), Box::new(drop));
            }
        });
    }
    Repeated { is_over }
}
