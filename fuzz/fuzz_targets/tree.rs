//! Parses arbitrary bytes as a tree, the form of values without pickle. They are refused, or are a value of bounded size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearcache_fuzz::tree::check;

fuzz_target!(|input: &[u8]| check(input));
