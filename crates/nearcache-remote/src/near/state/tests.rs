use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::near::boot;
use crate::near::clock::made_by_test::set as set_time;

const MAX_STALENESS: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(2);

fn state() -> NearState {
    NearState::private().unwrap()
}

fn time(millis: u64) -> BootTime {
    BootTime::from_millis(millis)
}

fn server(name: &str) -> ServerId {
    ServerId::from_run_id(name.as_bytes())
}

#[test]
fn a_stamp_ends_with_a_write_to_its_stripe_and_with_its_epoch() {
    let state = state();
    let (a, b) = (Stripe::of(b"a"), Stripe::of(b"b"));
    let (of_a, of_b) = (state.stamp(a), state.stamp(b));
    assert_eq!(Stamp::from_word(of_a.as_word()), of_a);
    state.invalidate(a);
    assert!(!state.is_current(a, of_a) && state.is_current(b, of_b));
    state.raise_epoch();
    assert!(!state.is_current(b, of_b));
}

#[test]
fn the_gate_is_open_for_the_bound_after_a_round_was_sent() {
    let state = state();
    set_time(5000);
    assert!(!state.is_open(MAX_STALENESS));
    let term = state.begin_term(Duration::ZERO).unwrap();
    state.confirm(term, time(4500));
    for (now, is_open) in [
        (4499, false),
        (4500, true),
        (5499, true),
        (5500, false),
        (90_000, false),
    ] {
        set_time(now);
        assert_eq!(state.is_open(MAX_STALENESS), is_open, "{now}");
    }
    set_time(5000);
    state.confirm(term, time(4000));
    assert_eq!(state.confirmation_age(), Some(Duration::from_millis(500)));
}

#[test]
fn a_copy_is_served_while_its_stamp_is_current() {
    let state = state();
    let stripe = Stripe::of(b"a");
    set_time(5000);
    let term = state.begin_term(Duration::ZERO).unwrap();
    state.confirm(term, time(5000));
    let (gate, stamp) = (state.open_gate(MAX_STALENESS).unwrap(), state.stamp(stripe));
    assert_eq!(gate.time(), time(5000));
    assert!(state.may_serve(gate, stripe, stamp));
    state.invalidate(stripe);
    assert!(!state.may_serve(gate, stripe, stamp));
}

#[test]
fn an_outage_serves_what_was_not_invalidated_or_flushed() {
    let state = state();
    let (a, b) = (Stripe::of(b"a"), Stripe::of(b"b"));
    let (of_a, of_b) = (state.stamp(a), state.stamp(b));
    let term = state.begin_term(Duration::ZERO).unwrap();
    state.apply_loss(term);
    assert!(!state.is_current(a, of_a) && state.may_serve_in_outage(a, of_a));
    state.apply_invalidation(b"a");
    assert!(!state.may_serve_in_outage(a, of_a) && state.may_serve_in_outage(b, of_b));
    state.apply_flush();
    assert!(!state.may_serve_in_outage(b, of_b));
    assert!(state.may_serve_in_outage(b, state.stamp(b)));
    let counters = state.counters();
    assert_eq!(
        (counters.invalidations, counters.flushes, counters.losses),
        (1, 1, 1)
    );
}

#[test]
fn a_listener_is_armed_on_its_servers_until_it_loses_one() {
    let state = state();
    let (a, b) = (server("a"), server("b"));
    let term = state.begin_term(Duration::ZERO).unwrap();
    let before = state.stamp(Stripe::of(b"k"));
    assert!(!state.is_armed(a));
    state.arm(term, &[a, b]);
    assert!(state.is_armed(a) && state.is_armed(b) && !state.is_armed(server("c")));
    assert!(!state.is_armed(ServerId::UNKNOWN));
    assert!(!state.is_current(Stripe::of(b"k"), before));
    state.arm(term, &[b]);
    assert!(!state.is_armed(a) && state.is_armed(b));
    state.apply_loss(term);
    assert!(!state.is_armed(b));
    let many: Vec<_> = (0..=MAX_SERVERS)
        .map(|number| server(&number.to_string()))
        .collect();
    state.arm(term, &many[1..]);
    assert!(state.is_armed(many[1]) && state.is_armed(many[MAX_SERVERS]));
    state.arm(term, &many);
    assert!(!state.is_armed(many[0]) && !state.is_armed(many[1]));
}

#[test]
fn a_silent_listener_is_succeeded_after_its_lease() {
    let state = state();
    set_time(10_000);
    let first = state.begin_term(LEASE).unwrap();
    set_time(11_999);
    assert_eq!(state.begin_term(LEASE), None);
    assert!(state.beat(first));
    set_time(13_998);
    assert_eq!(state.begin_term(LEASE), None);
    set_time(13_999);
    let second = state.begin_term(LEASE).unwrap();
    assert!(!state.beat(first) && state.beat(second));
    state.end_term(first);
    assert_eq!(state.begin_term(LEASE), None);
    state.end_term(second);
    assert!(state.begin_term(LEASE).is_some());
}

#[test]
fn a_resumed_listener_of_an_old_term_changes_nothing_that_counts() {
    let state = state();
    set_time(10_000);
    let old = state.begin_term(LEASE).unwrap();
    state.arm(old, &[server("old")]);
    state.confirm(old, time(10_000));
    set_time(13_000);
    let new = state.begin_term(LEASE).unwrap();
    assert!(!state.is_armed(server("old")));
    state.confirm(old, time(13_000));
    assert!(!state.is_open(MAX_STALENESS));
    state.arm(new, &[server("new")]);
    state.mark_armed(old, &[server("old")]);
    let stamp = state.stamp(Stripe::of(b"k"));
    state.apply_loss(old);
    assert!(state.is_current(Stripe::of(b"k"), stamp));
    assert!(state.is_armed(server("new")) && !state.is_armed(server("old")));
    // As if it had been stopped after it compared the term: its marks mean nothing, and the next round writes the new ones.
    for (word, mark) in state
        .words
        .servers
        .iter()
        .zip([Words::mark(old.0, server("old")), 0])
    {
        word.store(mark, SeqCst);
    }
    assert!(!state.is_armed(server("old")) && !state.is_armed(server("new")));
    state.mark_armed(new, &[server("new")]);
    assert!(state.is_armed(server("new")));
}

/// While writes, fills and losses go on, a current copy is never older than a write that was counted before it was read.
#[test]
fn a_current_copy_is_as_new_as_what_was_counted() {
    let state = state();
    let (value, counted) = (AtomicU64::new(0), AtomicU64::new(0));
    let copy = Mutex::new((0, state.stamp(Stripe::of(b"k"))));
    let is_over = AtomicBool::new(false);
    let stripe = Stripe::of(b"k");
    let write = || {
        for version in 1..=5_000 {
            value.store(version, SeqCst);
            state.apply_invalidation(b"k");
            counted.store(version, SeqCst);
            // Time for a copy to be found.
            thread::sleep(Duration::from_micros(version % 3));
        }
        is_over.store(true, SeqCst);
    };
    let fill = || {
        while !is_over.load(SeqCst) {
            let stamp = state.stamp(stripe);
            let found = value.load(SeqCst);
            *copy.lock().unwrap() = (found, stamp);
        }
    };
    let lose = || {
        while !is_over.load(SeqCst) {
            let term = state.begin_term(Duration::ZERO);
            term.inspect(|&term| state.apply_loss(term));
            thread::sleep(Duration::from_micros(200));
        }
    };
    let read = || {
        while !is_over.load(SeqCst) {
            let at_least = counted.load(SeqCst);
            let (found, stamp) = *copy.lock().unwrap();
            assert!(!state.is_current(stripe, stamp) || found >= at_least);
        }
    };
    thread::scope(|scope| {
        let threads: [&(dyn Fn() + Sync); 5] = [&fill, &fill, &lose, &read, &write];
        for thread in threads {
            scope.spawn(thread);
        }
    });
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("nearcache-state-{name}-{}", std::process::id()));
    fs::remove_file(&path).ok();
    path
}

#[test]
fn a_file_is_created_for_its_user_and_mapped_once() {
    let path = path("new");
    let state = NearState::open_mapped(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&path).unwrap().len(), size_of::<Words>() as u64);
    let same = NearState::open_mapped(&path).unwrap();
    assert!(std::ptr::eq(state.words, same.words));
    fs::remove_file(&path).unwrap();
    let other = NearState::open_mapped(&path).unwrap();
    assert!(!std::ptr::eq(state.words, other.words));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_of_an_earlier_boot_serves_nothing() {
    let path = path("boot");
    let state = NearState::open_mapped(&path).unwrap();
    let term = state.begin_term(Duration::ZERO).unwrap();
    state.arm(term, &[server("a")]);
    state.confirm(term, BootTime::now());
    let stripe = Stripe::of(b"k");
    let stamp = state.stamp(stripe);
    boot::reset_if_older(state.words, boot::current());
    assert!(state.is_current(stripe, stamp) && state.is_armed(server("a")));
    boot::reset_if_older(state.words, boot::current() ^ 1);
    assert!(!state.is_current(stripe, stamp) && !state.is_armed(server("a")));
    assert_eq!((state.confirmation_age(), state.heartbeat_age()), (None, None));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_short_file_is_extended_and_a_foreign_one_is_left_alone() {
    let path = path("foreign");
    fs::write(&path, [0; 3]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(NearState::open_mapped(&path).is_ok());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "hello").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = NearState::open_mapped(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(
        error.to_string().contains(path.to_str().unwrap()) && error.to_string().contains("can be removed")
    );
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_is_no_file_of_this_user_alone_is_refused() {
    let (path, link) = (path("open"), path("link"));
    fs::write(&path, []).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    let error = NearState::open_mapped(&path).unwrap_err();
    assert!(error.to_string().contains("expected mode 0600"), "{error}");
    symlink(&path, &link).unwrap();
    assert!(NearState::open_mapped(&link).is_err());
    assert!(NearState::open_mapped(&std::env::temp_dir()).is_err());
    fs::remove_file(&link).unwrap();
    fs::remove_file(&path).unwrap();
}
