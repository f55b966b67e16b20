//! Finds circles of waits: a computation that needs a key whose flight, directly or by way of others, waits for that computation.
//!
//! The nodes are flights, so that circles of threads, of tasks and of both are found alike. While a leader computes, its flight is the
//! thread's [`current`] one. A flight that is started or awaited meanwhile is *needed* by it: an edge. Callers outside of any computation
//! cannot close a circle and touch nothing here.
//!
//! The edges of all caches of the process are in one fixed table of atomics. It needs neither a lock that a child of `fork` could find
//! locked, nor memory.
//!
//! **Why no circle is missed.** A caller first adds its edge and then searches. All accesses are sequentially consistent, so of the callers
//! that close a circle together, the one whose edge is added last sees the edges of all others. Two may both see the circle; then both
//! compute, which is correct. Edges of flights that have ended, or two flights whose numbers agree in their low 32 bits, can only
//! make a caller compute that could have waited.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::leader::FlightId;

/// How many computations may need others at the same time. A caller for which there is no room computes for itself: it neither waits nor
/// leads a flight that others could wait for.
const EDGES: usize = 4096;

static TABLE: [AtomicU64; EDGES] = [const { AtomicU64::new(0) }; EDGES];
/// No edge is at this place or after it.
static END: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The flight whose computation this thread is running.
    static CURRENT: Cell<FlightId> = const { Cell::new(FlightId::NONE) };
}

/// Returns the flight whose computation this thread is running.
pub(super) fn current() -> FlightId {
    CURRENT.get()
}

/// Runs `work` as part of a flight's computation.
pub(super) fn within<T>(flight: FlightId, work: impl FnOnce() -> T) -> T {
    struct Restore(FlightId);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(flight));
    work()
}

/// An edge in the table, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Edge {
    at: usize,
    packed: u64,
}

impl Edge {
    /// Adds the edge from a flight to one that it needs, or returns `None` if the table is full.
    pub(super) fn add(from: FlightId, to: FlightId) -> Option<Self> {
        let packed = u64::from(from.low()) << 32 | u64::from(to.low());
        let at = (0..EDGES).find(|&at| put(at, packed))?;
        Some(Self { at, packed })
    }
}

/// Puts an edge in a place if that is free, and returns whether it is.
fn put(at: usize, packed: u64) -> bool {
    let place = &TABLE[at];
    if place.load(Ordering::Relaxed) != 0 {
        return false;
    }
    // Before the edge is there, so that no search ends too early.
    END.fetch_max(at + 1, Ordering::SeqCst);
    place
        .compare_exchange(0, packed, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

impl Drop for Edge {
    fn drop(&mut self) {
        // In a child of `fork`, the place may have another edge.
        let _ = TABLE[self.at].compare_exchange(self.packed, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Returns whether a flight is the `needed` one or needs it, directly or by way of others. Returns `true` if there is no memory for the search.
pub(super) fn needs(flight: FlightId, needed: FlightId) -> bool {
    let mut met = Vec::new();
    let mut next = 0;
    let mut from = flight.low();
    loop {
        if from == needed.low() {
            return true;
        }
        for place in &TABLE[..END.load(Ordering::SeqCst)] {
            let packed = place.load(Ordering::SeqCst);
            #[allow(clippy::cast_possible_truncation)] // the halves are wanted
            let (start, to) = ((packed >> 32) as u32, packed as u32);
            if start == from && packed != 0 && !met.contains(&to) {
                if met.try_reserve(1).is_err() {
                    return true;
                }
                met.push(to);
            }
        }
        let Some(&to) = met.get(next) else {
            return false;
        };
        from = to;
        next += 1;
    }
}

/// Removes all edges, in a child of `fork`: the computations are its parent's.
pub(in crate::local) fn forget_all() {
    for place in &TABLE[..END.load(Ordering::SeqCst)] {
        place.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>() -> [FlightId; N] {
        std::array::from_fn(|_| FlightId::next())
    }

    #[test]
    fn a_flight_needs_itself() {
        let [flight, other] = ids();
        assert!(needs(flight, flight));
        assert!(!needs(flight, other));
    }

    #[test]
    fn edges_are_followed_in_their_direction() {
        let [a, b, c, d] = ids();
        let edges = [Edge::add(a, b), Edge::add(b, c), Edge::add(a, d), Edge::add(c, b)];
        assert!(edges.iter().all(Option::is_some));
        assert!(needs(a, c) && needs(a, d) && needs(c, b));
        assert!(!needs(c, a) && !needs(d, a) && !needs(b, d));
        drop(edges);
        assert!(!needs(a, b));
    }

    #[test]
    fn the_current_flight_is_restored_after_a_panic() {
        let [outer, inner] = ids();
        within(outer, || {
            let panicking =
                std::panic::catch_unwind(|| within(inner, || std::panic::resume_unwind(Box::new(()))));
            assert!(panicking.is_err());
            assert_eq!(current(), outer);
        });
        assert_eq!(current(), FlightId::NONE);
    }
}
