//! Identifies the boot that the times in a mapped state belong to.

use super::state::Words;
use std::sync::atomic::Ordering::SeqCst;

/// Returns a hash of the boot's id, which is not 0; where the system has none, always the same number.
pub(super) fn current() -> u64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    rapidhash::v3::rapidhash_v3(&id).max(1)
}

/// Resets the words if they were written before this boot.
///
/// Several processes may do that at once, and the slowest after a listener is armed again. Each step alone is safe: it
/// shuts the gate, disarms the listener until its next round, or invalidates copies. The boot is set last, so that a
/// process that is killed in between leaves the rest to the next one.
pub(super) fn reset_if_older(words: &Words, boot: u64) {
    if words.boot.load(SeqCst) == boot {
        return;
    }
    words.shut();
    words.boot.store(boot, SeqCst);
}
