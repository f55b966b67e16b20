//! Free space within the main ring: the words of records that no slot points to any longer. They are used again before the
//! tail reaches them.
//!
//! A shard remembers a few such records as hints in its control words: `words 20 | position 44`; 0 for none. A hint may be
//! out of date or wrong. Before it is used, the record is examined: it must be a whole one of the remembered size, and no
//! slot may point to it.

use std::sync::atomic::Ordering;

use super::layout::{FREE_SPACE, SHARD, WORD};
use super::mapped_words::{AtomicU64, store};
use super::record::{MAX_SLACK, Record, is_torn};
use super::slot::{POSITION_BITS, POSITION_MASK, Slot};
use super::writer::Writer;
use crate::clock::Clock;

/// A record may leave one of so many parts of the free space unused.
const WASTE_SHARE: usize = 8;

fn size(hint: u64) -> usize {
    usize::try_from(hint >> POSITION_BITS).unwrap_or_default()
}

/// Returns whether a record of `words` words may use the space of a hint.
fn fits(hint: u64, words: usize) -> bool {
    let unused = size(hint).checked_sub(words);
    unused.is_some_and(|unused| unused <= size(hint) / WASTE_SHARE && unused < MAX_SLACK / WORD)
}

impl<C: Clock> Writer<'_, C> {
    /// Remembers the space of a record in main that no slot points to any longer. If all hints are in use, replaces one of
    /// them, which the position determines.
    pub(super) fn remember_free_space(&self, record: &Record) {
        let words = record.allotted as u64;
        // The tail is about to pass a record that lies there.
        if words >> (u64::BITS - POSITION_BITS) != 0 || record.position == self.shard.main.tail() {
            return;
        }
        let hints = self.hints();
        let unused = hints.iter().find(|hint| hint.load(Ordering::Relaxed) == 0);
        let number = usize::try_from(record.position.to_u64() >> 3).unwrap_or_default() % hints.len();
        let hint = (words << POSITION_BITS) | record.position.low_bits();
        store(unused.unwrap_or(&hints[number]), hint, Ordering::Relaxed);
    }

    /// Returns a record in main whose space a record of `words` words may use, and forgets the hint to it.
    pub(super) fn take_free_space(&self, words: usize) -> Option<Record> {
        for hint in self.hints() {
            let found = hint.load(Ordering::Relaxed);
            if !fits(found, words) {
                continue;
            }
            store(hint, 0, Ordering::Relaxed);
            let free = self.unreferenced_record(found & POSITION_MASK);
            if let Some(free) = free.filter(|free| free.allotted == size(found)) {
                return Some(free);
            }
        }
        None
    }

    /// Returns the record at a position in main if no slot points to it.
    fn unreferenced_record(&self, position: u64) -> Option<Record> {
        let main = self.shard.main;
        let record = main.record(main.position(Slot(position))?)?;
        // In suspect words, the size of an unreferenced record is not reliable.
        let is_reliable =
            !main.is_suspect(record.position) && main.max_words_at(record.position) >= record.allotted as u64;
        let is_unreferenced = !is_torn(record.first) && self.entry_of(&main, &record).is_none();
        (is_reliable && is_unreferenced).then_some(record)
    }

    fn hints(&self) -> &[AtomicU64] {
        &self.shard.control[FREE_SPACE..SHARD]
    }
}
