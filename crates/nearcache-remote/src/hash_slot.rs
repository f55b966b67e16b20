//! The hash slots of a Cluster.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crc16::{State, XMODEM};

/// The number of hash slots of a Cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// For each slot the smallest number whose digits have it, and 1; 0 if it is not known yet.
static NUMBERS: [AtomicU32; SLOTS as usize] = [const { AtomicU32::new(0) }; SLOTS as usize];
/// All smaller numbers are in `NUMBERS`.
static UNTRIED: AtomicU32 = AtomicU32::new(0);

/// Returns the hash slot of a key.
pub(crate) fn hash_slot(key: &[u8]) -> u16 {
    slot(hash_tag(key))
}

/// Returns the smallest number whose digits have the hash slot of a key, so that they can be the hash tag of another key.
///
/// A call goes on where the last one stopped, so all calls together try 110,000 numbers, which takes a few milliseconds. There
/// is no lock that a child of `fork` could inherit.
#[must_use]
pub fn number_with_slot_of(key: &[u8]) -> u32 {
    let wanted = usize::from(hash_slot(key));
    let mut number = UNTRIED.load(Acquire);
    loop {
        if let Some(found) = NUMBERS[wanted].load(Relaxed).checked_sub(1) {
            UNTRIED.fetch_max(number, Release);
            return found;
        }
        let slot = slot(number.to_string().as_bytes());
        number += 1;
        // If another thread has found one, it is the same: both try all numbers in order.
        let _ = NUMBERS[usize::from(slot)].compare_exchange(0, number, Relaxed, Relaxed);
    }
}

fn slot(hashed: &[u8]) -> u16 {
    State::<XMODEM>::calculate(hashed) % SLOTS
}

/// Returns the part of a key that a Cluster hashes: between the first `{` and the next `}`, unless that is empty.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else {
        return key;
    };
    let after = &key[open + 1..];
    match after.iter().position(|&byte| byte == b'}') {
        Some(len) if len > 0 => &after[..len],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_the_same_hash_tag_have_the_same_slot() {
        assert_eq!(hash_slot(b"123456789"), 0x31c3);
        assert_eq!(hash_slot(b"{user}.a"), hash_slot(b"x{user}y{b}"));
        assert_eq!(hash_slot(b"a{}b{c}"), slot(b"a{}b{c}"));
    }

    #[test]
    fn numbers_for_all_slots_are_found_in_one_search() {
        let mut smallest = vec![None; usize::from(SLOTS)];
        for number in (0..120_000_u32).rev() {
            smallest[usize::from(slot(number.to_string().as_bytes()))] = Some(number);
        }
        // Twice, so that each is looked up after it was found.
        for key in (0..200_000_u32)
            .rev()
            .chain(0..200_000)
            .map(|key| key.to_string())
        {
            let number = number_with_slot_of(key.as_bytes());
            assert_eq!(Some(number), smallest[usize::from(hash_slot(key.as_bytes()))]);
        }
        assert_eq!(UNTRIED.load(Relaxed), 109_758);
    }
}
