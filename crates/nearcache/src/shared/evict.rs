//! Making room at a ring's tail: S3-FIFO over records of any size.

use super::index::{Kind, Slot};
use super::record::{LEAD, Record, is_torn};
use super::ring::Ring;
use super::shard::Entry;
use super::store::Counter;
use super::words::put;
use super::writer::Writer;
use crate::clock::Clock;
use std::sync::atomic::Ordering;

/// What was asked for more often than this earns a place in main.
const EARNED_ABOVE: u64 = 1;
/// A record larger than this share of the small ring goes straight to main.
const LARGE_SHARE: u64 = 4;
/// Main has room if this share of it is free.
const FREE_SHARE: u64 = 32;
/// Main is open to what has yet to earn a place, if less than one of so many parts of it is earned.
const OPEN_SHARE: u64 = 2;

impl<C: Clock> Writer<'_, C> {
    /// Where a record begins that nothing is known of: in small; or on trial in main, if that is free, or open.
    ///
    /// As long as few have earned a place in main, what is on trial may have the rest of it. Both rings take as large a part of
    /// what is new as they have room for it, so that a trial is as long in the one as in the other. Else main would keep
    /// what it was first filled with, and all that is new would have to earn its place within a tenth of the room.
    pub(super) fn entrance(&self, words: usize) -> Kind {
        let (small, main) = (self.shard.small, self.shard.main);
        if words as u64 > small.limit() / LARGE_SHARE {
            return Kind::Trial;
        }
        let on_trial = main.limit().saturating_sub(main.earned());
        let draw = self.shard.hashing.draw(small.head(), main.head());
        let is_smalls = !self.main_is_open() || (draw * (small.limit() + on_trial)) >> 16 < small.limit();
        if is_smalls && (small.has_room(words) || !self.main_has_room(words)) {
            Kind::Small
        } else {
            Kind::Trial
        }
    }

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
            } else if entry.kind == Kind::Small {
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
    pub(super) fn entry_of(&self, ring: &Ring<'_>, record: &Record) -> Option<Entry> {
        if record.slot >= self.shard.index.len() {
            return None;
        }
        let entry = self.entry_at(record.slot)?;
        let is_it = entry.kind.is_in(ring.kind) && entry.record.position == record.position;
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

    /// Whether there is so little in main that earned its place that all of it can be kept, by moving it on.
    fn main_is_open(&self) -> bool {
        let main = self.shard.main;
        main.earned() < main.limit() / OPEN_SHARE
    }

    /// Small's oldest goes to main, if it earned it; else its ghost stays.
    fn leave_small(&mut self, entry: &Entry) {
        let words = entry.record.allotted;
        if entry.slot.frequency() <= EARNED_ABOVE || !self.may_move(words) {
            self.count(Counter::Evictions, 1);
            self.haunt(entry);
            return;
        }
        let main = self.shard.main;
        self.make_room(&main, words);
        self.pay(words);
        self.carry(entry, &main, 0);
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
        self.shift_live(entry.kind, entry.record.allotted, false);
        self.shift_live(Kind::Main, entry.record.allotted, true);
    }

    /// Whether main has room beside what lives there; dead records at its tail are passed over.
    fn main_has_room(&self, words: usize) -> bool {
        let main = self.shard.main;
        let wanted = main.limit() / FREE_SHARE + words as u64;
        while main.used().saturating_add(wanted) > main.limit() {
            let tail = main.tail();
            let Some(record) = main.record(tail).filter(|record| record.allotted >= LEAD) else {
                return false;
            };
            let kept = self.entry_of(&main, &record).filter(|entry| !self.bury(entry));
            if kept.is_some() || main.used() < record.allotted as u64 {
                return false;
            }
            main.move_tail(tail.wrapping_add(record.allotted as u64));
        }
        true
    }

    /// Main's oldest goes to its head again if it earned that, by being asked for more than once while on trial, and later
    /// by any credit it has; else it is evicted. Returns whether the tail has been moved already.
    fn leave_main(&mut self, entry: &Entry) -> bool {
        let (words, frequency) = (entry.record.allotted, entry.slot.frequency());
        let on_trial = entry.kind == Kind::Trial;
        let left = if on_trial {
            (frequency > EARNED_ABOVE).then_some(0)
        } else {
            frequency
                .checked_sub(1)
                .or_else(|| self.main_is_open().then_some(0))
        };
        let Some(left) = left.filter(|_| self.may_move(words)) else {
            self.count(Counter::Evictions, 1);
            if on_trial {
                self.haunt(entry);
            } else {
                self.vacate(entry.at);
            }
            return false;
        };
        self.pay(words);
        let main = self.shard.main;
        let free = main.capacity().saturating_sub(main.used());
        let over_itself = free < words as u64;
        if over_itself {
            main.move_tail(entry.record.position.wrapping_add(words as u64));
        }
        self.carry(entry, &main, left);
        over_itself
    }
}
