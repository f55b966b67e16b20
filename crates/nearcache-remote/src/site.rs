//! What all servers of a remote tier have in common, in one process.

use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::counters::Counts;

/// How many notes are kept.
const MAX_NOTES: usize = 16;

/// What all servers of a remote tier have in common, in one process.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) counts: Counts,
    notes: Mutex<Vec<String>>,
}

impl Site {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            counts: Counts::default(),
            notes: Mutex::new(Vec::new()),
        }
    }

    /// Keeps a note that is worth showing once.
    pub(crate) fn note(&self, note: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MAX_NOTES && !notes.iter().any(|known| known == note) {
            notes.push(note.to_owned());
        }
    }

    /// Returns the notes.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
