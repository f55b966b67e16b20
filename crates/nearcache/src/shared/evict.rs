//! Making room at a ring's tail: S3-FIFO over records of any size.

use super::index::{Kind, MAX_FREQUENCY, Slot};
use super::record::{LEAD, Record, is_torn};
use super::ring::Ring;
use super::shard::Entry;
use super::store::Counter;
use super::words::put;
use super::writer::Writer;
use crate::clock::Clock;
use std::sync::atomic::Ordering;

/// What was asked for more often than this goes from small to main, whether or not there is room.
const PROMOTED_ABOVE: u64 = 1;
/// If more than one of so many words of main is dead, its tail is moved on to get at them.
const DEAD_SHARE: u64 = 16;

impl<C: Clock> Writer<'_, C> {
    /// Moves the tail until a record of `words` words fits. Ends: whatever is kept is paid for from what may be moved.
    pub(super) fn make_room(&mut self, ring: &Ring<'_>, words: usize) {
        // So many records can lie in the ring; more steps than that, and it is damaged.
        let most = ring.capacity() / LEAD as u64 + u64::from(self.records_left);
        for _ in 0..=most {
            if ring.has_room(words) {
                return;
            }
            self.step(ring);
        }
        self.give_up(ring);
    }

    /// Takes one record from the tail.
    fn step(&mut self, ring: &Ring<'_>) {
        let tail = ring.tail();
        let used = ring.used();
        let Some(record) = ring
            .record(tail)
            .filter(|record| record.allotted >= LEAD && record.allotted as u64 <= used)
        else {
            self.give_up(ring);
            return;
        };
        let moved_itself = self.entry_of(ring, &record).is_some_and(|entry| {
            if self.bury(&entry) {
                false
            } else if ring.kind == Kind::Small {
                self.leave_small(&entry);
                false
            } else {
                self.leave_main(&entry)
            }
        });
        if !moved_itself {
            ring.move_tail(tail.wrapping_add(record.allotted as u64));
        }
    }

    /// The entry that a record is, dead and torn ones included.
    fn entry_of(&self, ring: &Ring<'_>, record: &Record) -> Option<Entry> {
        if record.slot >= self.shard.index.len() {
            return None;
        }
        let entry = self.entry_at(record.slot)?;
        let is_it = entry.kind == ring.kind && entry.record.position == record.position;
        is_it.then_some(entry)
    }

    /// Removes an entry whose time is over, or that was torn by the death of its writer; returns whether it did. The
    /// tail never passes what a slot points to without that: else it would be counted for good.
    pub(super) fn bury(&self, entry: &Entry) -> bool {
        let torn = is_torn(entry.record.first);
        if !torn && !self.is_dead(&entry.record) {
            return false;
        }
        if !torn {
            self.count(Counter::Expirations, 1);
        }
        self.vacate(entry.at);
        true
    }

    fn may_move(&self, words: usize) -> bool {
        self.records_left > 0 && words <= self.words_left
    }

    fn pay(&mut self, words: usize) {
        self.records_left = self.records_left.saturating_sub(1);
        self.words_left = self.words_left.saturating_sub(words);
        self.count(Counter::Moved, words as u64);
    }

    /// Small's oldest goes to main, if it earned it or there is room; else its ghost stays.
    fn leave_small(&mut self, entry: &Entry) {
        let words = entry.record.allotted;
        let earned = entry.slot.frequency() > PROMOTED_ABOVE;
        if !self.may_move(words) || !(earned || self.main_has_room(words)) {
            self.count(Counter::Evictions, 1);
            self.haunt(entry);
            return;
        }
        let main = self.shard.main;
        self.make_room(&main, words);
        self.pay(words);
        self.carry(entry, &main, 0);
        self.shift_live(Kind::Small, words, false);
        self.shift_live(Kind::Main, words, true);
    }

    /// Copies a live record to the head of main and has its slot point there.
    fn carry(&self, entry: &Entry, main: &Ring<'_>, frequency: u64) {
        let Some(from) = self.shard.ring(entry.kind) else {
            return;
        };
        let position = main.head();
        main.copy_in(from, &entry.record, position);
        main.move_head(position.wrapping_add(entry.record.allotted as u64));
        let slot = Slot::new(entry.slot.tag(), Kind::Main, frequency, position);
        put(&self.shard.index[entry.at], slot.0, Ordering::Release);
    }

    /// Whether what nobody has earned a place for may go to main: there is room, or much of it is dead.
    fn main_has_room(&mut self, words: usize) -> bool {
        let main = self.shard.main;
        while !main.has_room(words) {
            let tail = main.tail();
            let Some(record) = main.record(tail).filter(|record| record.allotted >= LEAD) else {
                break;
            };
            let kept = self.entry_of(&main, &record).filter(|entry| !self.bury(entry));
            if kept.is_some() {
                break;
            }
            main.move_tail(tail.wrapping_add(record.allotted as u64));
        }
        let dead = main.used().saturating_sub(main.live());
        main.has_room(words) || dead > main.capacity() / DEAD_SHARE
    }

    /// Main's oldest goes to its head again if it was asked for, once less; else it is evicted. Returns whether the
    /// tail has been moved already.
    fn leave_main(&mut self, entry: &Entry) -> bool {
        let (words, frequency) = (entry.record.allotted, entry.slot.frequency());
        if frequency == 0 || !self.may_move(words) {
            self.count(Counter::Evictions, 1);
            self.vacate(entry.at);
            return false;
        }
        self.pay(words);
        let main = self.shard.main;
        let free = main.capacity().saturating_sub(main.used());
        let over_itself = free < words as u64;
        if over_itself {
            main.move_tail(entry.record.position.wrapping_add(words as u64));
        }
        self.carry(entry, &main, (frequency - 1).min(MAX_FREQUENCY));
        over_itself
    }
}
