//! Making room at a ring's tail: S3-FIFO over records of any size.

use super::index::{Kind, Slot};
use super::position::Position;
use super::record::{LEAD, Record, is_torn};
use super::recount::Change;
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
/// How many records a slice of the making of room passes.
const STEPS_A_SLICE: usize = 2048;
/// How many words that are no record one step passes over.
const SCANNED_WORDS: u64 = 4096;
/// How many dead records at main's tail are passed over to learn whether main has room.
const PASSED_RECORDS: usize = 256;

/// What lies at a position of a ring.
pub(super) enum Place {
    /// A record that a slot points to.
    Entry(Entry),
    /// A record of so many words that no slot points to.
    Unused(u64),
    /// Nothing that could be believed to be a record.
    Damage,
}

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
        // Of two steps at least one frees a record's words, or moves a record. After more of them the ring is damaged.
        let most = 2 * (ring.capacity() / LEAD as u64) + u64::from(self.records_left);
        for _ in 0..=most {
            if ring.has_room(words) {
                return;
            }
            self.step(ring);
        }
        self.give_up(ring);
    }

    /// Moves the tail by a few records at most; returns whether a record of `words` words fits.
    pub(super) fn make_some_room(&mut self, ring: &Ring<'_>, words: usize) -> bool {
        for _ in 0..STEPS_A_SLICE {
            if ring.has_room(words) {
                return true;
            }
            self.step(ring);
        }
        ring.has_room(words)
    }

    /// Moves the tail over what lies there: one record, or words that are none.
    fn step(&mut self, ring: &Ring<'_>) {
        let tail = ring.tail();
        match self.lies_at(ring, tail) {
            Place::Entry(entry) => {
                let words = entry.record.allotted as u64;
                if !self.leave(&entry) {
                    ring.move_tail(tail.advanced(words));
                }
            }
            Place::Unused(words) => ring.move_tail(tail.advanced(words)),
            Place::Damage => self.skip_damage(ring),
        }
    }

    /// What lies at a position between tail and head.
    pub(super) fn lies_at(&self, ring: &Ring<'_>, position: Position) -> Place {
        let left = ring.room_at(position);
        let record = ring
            .record(position)
            .filter(|record| record.allotted >= LEAD && record.allotted as u64 <= left);
        let Some(record) = record else {
            return Place::Damage;
        };
        match self.entry_of(ring, &record) {
            Some(entry) => Place::Entry(entry),
            None if ring.is_suspect(position) => Place::Damage,
            None => Place::Unused(record.allotted as u64),
        }
    }

    /// Moves the tail over words that are no record, up to the next record that a slot points to, but over no more than
    /// `SCANNED_WORDS`.
    #[cold]
    fn skip_damage(&self, ring: &Ring<'_>) {
        let tail = ring.tail();
        if !ring.is_suspect(tail) {
            self.count(Counter::Damages, 1);
            ring.suspect_before(ring.head());
        }
        // What comes after is believed again.
        let most = ring.room_at(tail).min(SCANNED_WORDS);
        let next =
            (1..most).find(|words| matches!(self.lies_at(ring, tail.advanced(*words)), Place::Entry(_)));
        ring.move_tail(tail.advanced(next.unwrap_or(most)));
    }

    /// Evicts, moves or removes the entry at a ring's tail; returns whether the tail has been moved already.
    fn leave(&mut self, entry: &Entry) -> bool {
        if self.bury(entry) {
            return false;
        }
        if entry.kind == Kind::Small {
            self.leave_small(entry);
            return false;
        }
        self.leave_main(entry)
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
        if self.is_scrubbing() {
            let start = main.index(position);
            main.clear_slack(&Record {
                position,
                start,
                ..entry.record
            });
        }
        main.move_head(position.advanced(entry.record.allotted as u64));
        let slot = Slot::pointing(entry.slot.fingerprint(), Kind::Main, frequency, position);
        put(&self.shard.index[entry.at], slot.0, Ordering::Release);
        self.tally(entry.at, entry.kind, &entry.record, Change::Removed);
        self.tally(entry.at, Kind::Main, &entry.record, Change::Added);
    }

    /// Whether main has room beside what lives there; a few dead records at its tail are passed over.
    fn main_has_room(&self, words: usize) -> bool {
        let main = self.shard.main;
        let wanted = main.limit() / FREE_SHARE + words as u64;
        for _ in 0..PASSED_RECORDS {
            if main.used().saturating_add(wanted) <= main.limit() {
                return true;
            }
            let tail = main.tail();
            let words = match self.lies_at(&main, tail) {
                Place::Entry(entry) if self.bury(&entry) => entry.record.allotted as u64,
                Place::Unused(words) => words,
                Place::Entry(_) | Place::Damage => return false,
            };
            main.move_tail(tail.advanced(words));
        }
        false
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
            self.set_moving(entry.slot);
            main.move_tail(entry.record.position.advanced(words as u64));
        }
        self.carry(entry, &main, left);
        if over_itself {
            self.set_moving(Slot(0));
        }
        over_itself
    }
}
