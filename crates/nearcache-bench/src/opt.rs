//! The bound: hits of the clairvoyant policy.

use std::collections::{BTreeSet, HashMap};

/// How many requests hit under Belady's policy with bypass (Belady, "A study of replacement algorithms for a virtual-storage
/// computer", IBM Systems Journal, 1966): the entry requested farthest in the future is evicted, even if it is the new one.
#[must_use]
pub fn hits(keys: &[u64], capacity: usize) -> u64 {
    let next = next_uses(keys);
    // Ordered by the time of the next request, which also identifies the entry.
    let mut held = BTreeSet::new();
    let mut hits = 0;
    for (now, &next) in next.iter().enumerate() {
        hits += u64::from(held.remove(&now));
        if next < keys.len() {
            held.insert(next);
            if held.len() > capacity {
                held.pop_last();
            }
        }
    }
    hits
}

/// For each request, the position of the next one for the same key; the trace's length if there is none.
fn next_uses(keys: &[u64]) -> Vec<usize> {
    let mut seen = HashMap::new();
    let backwards = keys.iter().enumerate().rev();
    let mut next: Vec<_> = backwards
        .map(|(now, &key)| seen.insert(key, now).unwrap_or(keys.len()))
        .collect();
    next.reverse();
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most hits there can be, by trying every choice.
    fn by_trying(keys: &[u64], held: &[u64], capacity: usize) -> u64 {
        let Some((key, rest)) = keys.split_first() else {
            return 0;
        };
        if held.contains(key) {
            return 1 + by_trying(rest, held, capacity);
        }
        let mut best = by_trying(rest, held, capacity);
        let with = |held: &[u64]| [held, &[*key]].concat();
        if held.len() < capacity {
            return best.max(by_trying(rest, &with(held), capacity));
        }
        for victim in 0..held.len() {
            let mut others = held.to_vec();
            others.remove(victim);
            best = best.max(by_trying(rest, &with(&others), capacity));
        }
        best
    }

    #[test]
    fn no_choice_of_victims_hits_more() {
        let mut state = 1_u64;
        for _ in 0..200 {
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % 5
            };
            let keys: Vec<_> = (0..10).map(|_| draw()).collect();
            for capacity in 1..=3 {
                assert_eq!(hits(&keys, capacity), by_trying(&keys, &[], capacity), "{keys:?}");
            }
        }
    }
}
