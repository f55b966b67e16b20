//! Any sequence of operations, on a shared cache and on a naive map: they agree after every one.
#![no_main]

#[path = "../../crates/nearcache/tests/pair/mod.rs"]
mod pair;

use libfuzzer_sys::fuzz_target;
use pair::{BYTES, Step, TOO_LARGE, agree};

const KEYS: u8 = 24;
const MOST_STEPS: usize = 200;

/// Reads numbers off the input; zeros when it is at its end.
struct Input<'a>(std::slice::Iter<'a, u8>);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn word(&mut self) -> u64 {
        u64::from(self.byte()) | u64::from(self.byte()) << 8
    }

    fn key(&mut self) -> u8 {
        self.byte() % KEYS
    }

    fn len(&mut self) -> usize {
        let len = usize::try_from(self.word()).unwrap_or_default();
        match len % 16 {
            0..10 => len % 64,
            10..14 => len % 5000,
            14 => (len * 3).min(BYTES as usize / 7),
            _ => TOO_LARGE,
        }
    }

    fn ttl(&mut self) -> Option<u64> {
        Some(self.word()).filter(|ttl| ttl % 2 == 1)
    }

    fn step(&mut self) -> Step {
        match self.byte() % 16 {
            0 | 1 => Step::Get(self.key()),
            2..5 => Step::Set(self.key(), self.len(), self.byte(), self.ttl()),
            5 => Step::Add(self.key(), self.len()),
            6 => Step::SetIfPresent(self.key(), self.len()),
            7 => Step::Integer(self.key(), i64::MAX - i64::from(self.byte())),
            8 => Step::Incr(self.key(), i64::from(self.byte()) - 128),
            9 => Step::Update(self.key(), self.len()),
            10 => Step::Delete(self.key()),
            11 => Step::Touch(self.key(), self.ttl()),
            12 => Step::Clear,
            13 => Step::Advance(self.word() / 2),
            14 => Step::StepBack(self.word() / 2),
            _ => Step::Keys,
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input.iter());
    let mut steps = Vec::new();
    while !input.0.as_slice().is_empty() && steps.len() < MOST_STEPS {
        steps.push(input.step());
    }
    agree(&steps);
});
