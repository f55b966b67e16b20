//! Room of dead records amid main, to be used again before the tail comes by.
//!
//! A shard remembers a few such places, in words of its own: `words 20 | position 44`, 0 for none. They are hints: what is
//! there is looked at before it is used, so a stale one, or one that was never right, costs nothing but the look.

use std::sync::atomic::Ordering;

use super::index::{POSITION_BITS, POSITION_MASK, Slot};
use super::layout::{HOLES, SHARD, WORD};
use super::record::{MAX_SLACK, Record, is_torn};
use super::words::put;
use super::writer::Writer;
use crate::clock::Clock;

/// A record may leave one of so many parts of a hole unused.
const WASTE_SHARE: usize = 8;

impl<C: Clock> Writer<'_, C> {
    /// Remembers the place of a record in main that no slot points to any longer. If all hints are taken, one is forgotten,
    /// whichever.
    pub(super) fn remember_hole(&self, record: &Record) {
        let words = record.allotted as u64;
        // What is at the tail is about to be passed.
        if words >> (u64::BITS - POSITION_BITS) != 0 || record.position == self.shard.main.tail() {
            return;
        }
        let hints = &self.shard.control[HOLES..SHARD];
        let free = hints.iter().find(|hint| hint.load(Ordering::Relaxed) == 0);
        let number = usize::try_from(record.position.to_u64() >> 3).unwrap_or_default() % hints.len();
        let hint = (words << POSITION_BITS) | record.position.low_bits();
        put(free.unwrap_or(&hints[number]), hint, Ordering::Relaxed);
    }

    /// A dead record in main whose room fits one of so many words. It is forgotten as a hole.
    pub(super) fn take_hole(&self, words: usize) -> Option<Record> {
        let hints = &self.shard.control[HOLES..SHARD];
        let size = |hint: u64| usize::try_from(hint >> POSITION_BITS).unwrap_or_default();
        let fits = |hint: u64| {
            let unused = size(hint).checked_sub(words);
            unused.is_some_and(|unused| unused <= size(hint) / WASTE_SHARE && unused < MAX_SLACK / WORD)
        };
        for hint in hints {
            let found = hint.load(Ordering::Relaxed);
            if !fits(found) {
                continue;
            }
            put(hint, 0, Ordering::Relaxed);
            if let Some(hole) = self
                .hole_at(found & POSITION_MASK)
                .filter(|hole| hole.allotted == size(found))
            {
                return Some(hole);
            }
        }
        None
    }

    fn hole_at(&self, position: u64) -> Option<Record> {
        let main = self.shard.main;
        let record = main.record(main.position(Slot(position))?)?;
        // What a dead record says of its length is not believed everywhere.
        let is_within =
            !main.is_suspect(record.position) && main.room_at(record.position) >= record.allotted as u64;
        let is_dead = !is_torn(record.first) && self.entry_of(&main, &record).is_none();
        (is_within && is_dead).then_some(record)
    }
}
