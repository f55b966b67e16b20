//! Runs any sequence of operations on a shared cache and on a naive map, which must agree after each of them.
#![no_main]

#[path = "../../crates/nearcache/tests/pair/mod.rs"]
mod pair;

use libfuzzer_sys::fuzz_target;
use nearcache::Condition;
use nearcache_fuzz::Input;
use pair::{BYTES, Step, TOO_LARGE, agree};

const KEYS: u8 = 24;
const MOST_STEPS: usize = 200;

fn key(input: &mut Input<'_>) -> u8 {
    input.byte() % KEYS
}

fn len(input: &mut Input<'_>) -> usize {
    let len = input.word(2) as usize;
    match len % 16 {
        0..10 => len % 64,
        10..14 => len % 5000,
        14 => (len * 3).min(BYTES as usize / 7),
        _ => TOO_LARGE,
    }
}

fn ttl(input: &mut Input<'_>) -> Option<u64> {
    Some(input.word(2)).filter(|ttl| ttl % 2 == 1)
}

fn step(input: &mut Input<'_>) -> Step {
    match input.byte() % 22 {
        0 | 1 => Step::Get(key(input)),
        2 => Step::Insert(key(input), len(input), Condition::Always, ttl(input)),
        3 | 4 => Step::InsertKind(key(input), len(input), input.byte(), ttl(input)),
        5 => Step::Insert(key(input), len(input), Condition::IfAbsent, ttl(input)),
        6 => Step::Insert(key(input), len(input), Condition::IfPresent, ttl(input)),
        7 => Step::Integer(key(input), i64::MAX - i64::from(input.byte())),
        8 => Step::Incr(key(input), i64::from(input.byte()) - 128),
        9 => Step::Update(key(input), len(input)),
        10 => Step::Remove(key(input)),
        11 => Step::Touch(key(input), ttl(input)),
        12 => Step::Clear,
        13 => Step::Advance(input.word(2) / 2),
        14 => Step::StepBack(input.word(2) / 2),
        15 => Step::InsertStale(key(input), len(input), input.word(2), input.word(2)),
        16 => Step::GetStale(key(input)),
        17 => Step::Claim(key(input), input.byte().is_multiple_of(2)),
        18 => Step::Complete(key(input), len(input), input.word(2), input.word(2)),
        19 => Step::Release(key(input)),
        20 => Step::IncrOrInit(key(input), i64::from(input.byte()) - 128, ttl(input)),
        _ => Step::Keys,
    }
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let mut steps = Vec::new();
    while !input.is_at_end() && steps.len() < MOST_STEPS {
        steps.push(step(&mut input));
    }
    agree(&steps);
});
