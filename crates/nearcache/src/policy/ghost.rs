//! The ghost: fingerprints of entries evicted lately, in the order they went.
//!
//! 4 bytes for the fingerprint and about 8 for its place in the table. The table holds positions, not fingerprints, so
//! that a fingerprint taken out and put back again is forgotten when its own time comes, not its predecessor's.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::key::spread;

#[derive(Debug, Default)]
pub(super) struct Ghost {
    /// Fingerprints, oldest first; some are in no position of the table any more.
    ring: VecDeque<u32>,
    /// The position of the ring's front; positions count up and wrap.
    base: u32,
    /// Positions of the fingerprints that are remembered.
    table: HashTable<u32>,
}

impl Ghost {
    /// How many fingerprints are remembered.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Remembers a fingerprint, and forgets the oldest while there are more than `capacity`.
    pub(super) fn remember(&mut self, fingerprint: u32, capacity: usize) {
        self.take(fingerprint);
        #[allow(clippy::cast_possible_truncation)]
        // a shard has fewer than 2^32 slots, and the ghost no more than it
        let position = self.base.wrapping_add(self.ring.len() as u32);
        self.ring.push_back(fingerprint);
        let (ring, base) = (&self.ring, self.base);
        self.table
            .insert_unique(spread(fingerprint), position, |&position| {
                spread(ring[position.wrapping_sub(base) as usize])
            });
        while self.ring.len() > capacity {
            self.forget_oldest();
        }
    }

    /// Whether the fingerprint was remembered; it is not any more.
    pub(super) fn take(&mut self, fingerprint: u32) -> bool {
        let (ring, base) = (&self.ring, self.base);
        let found = self.table.find_entry(spread(fingerprint), |&position| {
            ring[position.wrapping_sub(base) as usize] == fingerprint
        });
        found.is_ok_and(|entry| {
            entry.remove();
            true
        })
    }

    fn forget_oldest(&mut self) {
        let Some(fingerprint) = self.ring.pop_front() else {
            return;
        };
        let position = self.base;
        self.base = position.wrapping_add(1);
        if let Ok(entry) = self
            .table
            .find_entry(spread(fingerprint), |&other| other == position)
        {
            entry.remove();
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        for &position in &self.table {
            let offset = position.wrapping_sub(self.base) as usize;
            if offset >= self.ring.len() {
                return Err(format!("ghost position {position} is outside of the ring"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_is_forgotten_first() {
        let mut ghost = Ghost::default();
        for fingerprint in 0..5 {
            ghost.remember(fingerprint, 3);
        }
        assert!(!ghost.take(1));
        assert!(ghost.take(2));
        assert!(!ghost.take(2));
        assert!(ghost.take(4));
    }

    #[test]
    fn a_fingerprint_that_came_back_keeps_its_later_place() {
        let mut ghost = Ghost::default();
        ghost.remember(7, 3);
        assert!(ghost.take(7));
        ghost.remember(8, 3);
        ghost.remember(7, 3);
        ghost.remember(9, 3); // pushes out the first place of 7, which is empty
        assert!(ghost.take(7));
        ghost.validate().unwrap();
    }

    #[test]
    fn positions_wrap() {
        let mut ghost = Ghost {
            base: u32::MAX - 2,
            ..Ghost::default()
        };
        for fingerprint in 0..100 {
            ghost.remember(fingerprint, 10);
            ghost.validate().unwrap();
        }
        assert!((90..100).all(|fingerprint| ghost.take(fingerprint)));
    }
}
