//! A doubly linked list threaded through the entries' nodes. Youngest at the head, oldest at the tail.

use super::{NIL, Nodes, Pressure, Queue};

#[derive(Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: usize,
    weight: u64,
}

impl Default for List {
    fn default() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            len: 0,
            weight: 0,
        }
    }
}

impl List {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The oldest entry.
    pub(super) fn tail(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }

    /// How much it holds, in the unit that is short.
    pub(super) const fn size(&self, pressure: Pressure) -> u64 {
        match pressure {
            Pressure::Entries => self.len as u64,
            Pressure::Weight => self.weight,
        }
    }

    pub(super) fn push_head(&mut self, nodes: &mut impl Nodes, slot: u32) {
        let old = std::mem::replace(&mut self.head, slot);
        let node = nodes.node_mut(slot);
        (node.prev, node.next) = (NIL, old);
        self.weight += u64::from(node.weight);
        self.len += 1;
        if old == NIL {
            self.tail = slot;
        } else {
            nodes.node_mut(old).prev = slot;
        }
    }

    /// Takes out the oldest entry, which is in `slot`.
    pub(super) fn pop_tail(&mut self, nodes: &mut impl Nodes, slot: u32) {
        let node = nodes.node(slot);
        self.weight -= u64::from(node.weight);
        self.len -= 1;
        self.tail = node.prev;
        if self.tail == NIL {
            self.head = NIL;
        } else {
            nodes.node_mut(self.tail).next = NIL;
        }
    }

    pub(super) fn remove(&mut self, nodes: &mut impl Nodes, slot: u32) {
        let node = nodes.node(slot);
        let (prev, next) = (node.prev, node.next);
        self.weight -= u64::from(node.weight);
        self.len -= 1;
        if prev == NIL {
            self.head = next;
        } else {
            nodes.node_mut(prev).next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            nodes.node_mut(next).prev = prev;
        }
    }

    pub(super) fn move_to_head(&mut self, nodes: &mut impl Nodes, slot: u32) {
        if self.head != slot {
            self.remove(nodes, slot);
            self.push_head(nodes, slot);
        }
    }

    /// Walks the list both ways round; returns its length.
    pub(super) fn validate(&self, nodes: &impl Nodes, queue: Queue) -> Result<usize, String> {
        let (mut slot, mut prev, mut len, mut weight) = (self.head, NIL, 0, 0);
        while slot != NIL {
            let node = nodes.node(slot);
            if node.prev != prev {
                return Err(format!("slot {slot}: prev is {}, not {prev}", node.prev));
            }
            if node.queue() != queue {
                return Err(format!(
                    "slot {slot} of queue {:?} is linked in queue {queue:?}",
                    node.queue()
                ));
            }
            len += 1;
            weight += u64::from(node.weight);
            if len > self.len {
                return Err(format!(
                    "queue {queue:?} is longer than its count of {}",
                    self.len
                ));
            }
            (prev, slot) = (slot, node.next);
        }
        if (prev, len, weight) != (self.tail, self.len, self.weight) {
            return Err(format!(
                "queue {queue:?}: tail, length, weight are {prev}, {len}, {weight}, counted as {self:?}"
            ));
        }
        Ok(len)
    }
}
