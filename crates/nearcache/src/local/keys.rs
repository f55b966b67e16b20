//! Iteration over keys, a slice at a time.

use std::vec;

use super::raw_cache::{Position, RawCache};
use crate::clock::Timestamp;
use crate::error::OutOfMemory;

/// How many slots are looked at under one lock.
const SLICE: usize = 256;

/// The keys of live entries; made by [`RawCache::keys`] and [`Cache::keys`](super::Cache::keys).
///
/// If there is no memory for the next keys, the iterator returns an error; the next call tries again.
#[derive(Debug)]
pub struct Keys<'a, V> {
    store: &'a RawCache<V>,
    now: Timestamp,
    /// Where the next slice begins.
    next: Position,
    slice: vec::IntoIter<Box<[u8]>>,
}

impl<'a, V> Keys<'a, V> {
    pub(super) fn new(store: &'a RawCache<V>, now: Timestamp) -> Self {
        Self {
            store,
            now,
            next: (0, 0),
            slice: Vec::new().into_iter(),
        }
    }
}

impl<V> Iterator for Keys<'_, V> {
    type Item = Result<Box<[u8]>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.slice.next() {
                return Some(Ok(key));
            }
            match self.store.some_keys(self.next, SLICE, self.now)? {
                Ok((slice, next)) => {
                    self.slice = slice.into_iter();
                    self.next = next;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
