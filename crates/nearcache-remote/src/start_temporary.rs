//! Temporary.
use crate::{Error, Remote, Replies, Request};
/// Temporary.
pub type Done = Box<dyn FnOnce(Result<Replies, Error>) + Send>;
impl Remote {
    /// Temporary.
    pub fn start(&self, request: Request, done: Done) {
        done(self.execute(&request));
    }
}
