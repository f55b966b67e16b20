//! Single flight while there is no room for another edge in the search for circles of waits.
//!
//! A file of its own, because the edges are those of the process: other tests would find no room, either.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use nearcache::local::{Joined, Leader, RawCache};
use nearcache::{Eviction, SystemClock};

/// How many edges there is room for.
const EDGES: usize = 4096;

fn lead<'a>(cache: &'a RawCache<u64>, key: &[u8]) -> Leader<'a, u64> {
    match cache.join(key, &SystemClock) {
        Joined::Leader(leader) => leader,
        other => panic!("{other:?}"),
    }
}

fn waits(joined: &Joined<'_, u64>) -> bool {
    matches!(joined, Joined::Waiter(_))
}

/// Lets waiters use all edges, as part of a flight.
fn fill<'a>(cache: &'a RawCache<u64>, flight: &Leader<'_, u64>) -> Vec<Joined<'a, u64>> {
    let ask = || flight.id().within(|| cache.join(b"other", &SystemClock));
    let waiters: Vec<_> = std::iter::repeat_with(ask).take_while(waits).collect();
    assert!(waiters.len() <= EDGES);
    waiters
}

#[test]
fn circles_are_found_through_flights_for_which_there_was_no_room() {
    let cache = RawCache::new(Eviction::default(), 1).unwrap();
    let _other = lead(&cache, b"other");
    let join = |flight: &Leader<'_, u64>, key: &[u8]| flight.id().within(|| cache.join(key, &SystemClock));

    // The computation of `a` needs `b`, while there is no room for that edge.
    let a = lead(&cache, b"a");
    let all = fill(&cache, &a);
    let b = a.run(|| lead(&cache, b"b"));
    assert!(b.is_alone() && !b.is_current());
    drop(all);
    assert!(!waits(&cache.join(b"b", &SystemClock)), "nobody waits for it");
    // It needs `x`, whose computation needs `a`.
    let x = lead(&cache, b"x");
    let b_waits = join(&b, b"x");
    assert!(waits(&b_waits) && !waits(&join(&x, b"a")));
    drop((b_waits, b, x));

    // Values that are computed together.
    let (together, mut with) = (lead(&cache, b"together"), lead(&cache, b"with"));
    let all = fill(&cache, &together);
    with.compute_with(together.id());
    assert!(with.is_alone() && !with.is_current());
    drop(all);
    assert!(!waits(&join(&together, b"with")));
    cache.validate().unwrap();
}
