//! A list that only grows, for code that may take no lock: any thread can push while others, or a handler in a child of
//! `fork`, walk it.
//!
//! Elements are never removed or moved before the list is dropped, so a reference to one is valid as long as the list. A
//! static array of atomics would need no unsafe code, but would limit how many files a process can open.
#![allow(unsafe_code)]

use std::iter;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::error::OutOfMemory;
use crate::memory::try_box;

/// A singly linked list. The element that was pushed last is the first.
#[derive(Debug)]
pub(super) struct PushList<T> {
    first: AtomicPtr<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    value: T,
    next: *const Node<T>,
}

// SAFETY: the list owns its nodes, so sending it sends the values.
unsafe impl<T: Send> Send for PushList<T> {}
// SAFETY: a shared list gives out `&T` to all threads, for which `T: Sync`, and accepts values from all threads, which
// another one may drop, for which `T: Send`. `next` is written only before its node is published, with release.
unsafe impl<T: Send + Sync> Sync for PushList<T> {}

impl<T> PushList<T> {
    pub(super) const fn new() -> Self {
        Self {
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds an element at the front of the list and returns it.
    pub(super) fn push(&self, value: T) -> Result<&T, OutOfMemory> {
        let node = Box::into_raw(try_box(Node {
            value,
            next: ptr::null(),
        })?);
        let mut first = self.first.load(Ordering::Acquire);
        loop {
            // SAFETY: `node` comes from `Box::into_raw` above and is not published yet, so nobody else accesses it.
            unsafe { (*node).next = first };
            let pushed = self
                .first
                .compare_exchange_weak(first, node, Ordering::AcqRel, Ordering::Acquire);
            match pushed {
                // SAFETY: `node` comes from `Box::into_raw`, is not changed any more, and is freed only when `self` is
                // dropped, which the result borrows.
                Ok(_) => return Ok(unsafe { &(*node).value }),
                Err(now) => first = now,
            }
        }
    }

    /// Returns the element that was pushed last.
    #[inline]
    pub(super) fn first(&self) -> Option<&T> {
        let node: *const Node<T> = self.first.load(Ordering::Acquire);
        // SAFETY: null, or a node that `push` has published with release after it was complete. It is freed only when
        // `self` is dropped, which the result borrows.
        unsafe { node.as_ref() }.map(|node| &node.value)
    }

    /// Iterates over the elements, beginning with the one that was pushed last. Allocates nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next: *const Node<T> = self.first.load(Ordering::Acquire);
        iter::from_fn(move || {
            // SAFETY: as in `first`; `next` of a published node is null or a node that was published before it.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(&node.value)
        })
    }
}

impl<T> Drop for PushList<T> {
    fn drop(&mut self) {
        let mut next = *self.first.get_mut();
        while !next.is_null() {
            // SAFETY: every node comes from `Box::into_raw` and is in the list once; `&mut self` means that no reference to
            // one is left.
            let node = unsafe { Box::from_raw(next) };
            next = node.next.cast_mut();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn elements_are_listed_from_the_last_to_the_first() {
        let list = PushList::new();
        assert_eq!(list.first(), None);
        for number in 0..3 {
            assert_eq!(list.push(number), Ok(&number));
            assert_eq!(list.first(), Some(&number));
        }
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn elements_that_threads_push_are_all_there_and_freed_at_the_end() {
        let (list, value) = (PushList::new(), Arc::new(()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| assert!(list.push(Arc::clone(&value)).is_ok())));
            }
        });
        assert_eq!(list.iter().count(), 400);
        drop(list);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
