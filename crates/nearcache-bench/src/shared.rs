//! The shared cache over a trace, beside static S3-FIFO in as much memory.

use std::error::Error;
use std::path::Path;

use nearcache::shared::{MIN_BYTES, SharedCache};

use crate::table::hit_ratio;

/// A record's own bytes, and those of the key.
const RECORD: u64 = 32 + 8;
/// The bytes of a value, unless there are too few entries for the smallest file.
const VALUE: u64 = 216;

/// What came of replaying a trace.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Hit ratio of the shared cache.
    pub shared: f64,
    /// Hit ratio of static S3-FIFO with as many entries as there are records in the file's bytes.
    pub s3_fifo: f64,
    /// Bytes moved within the file per byte written.
    pub moved: f64,
}

/// Replays a trace through a file whose bytes are those of so many records: its index and its table of processes are at
/// the shared cache's expense. Values are of one length.
///
/// # Errors
///
/// If the file cannot be made at this path, or cannot be written to.
#[allow(clippy::cast_precision_loss)] // ratios
pub fn replay(path: &Path, keys: &[u64], entries: u64) -> Result<Replayed, Box<dyn Error>> {
    let value = VALUE.max((MIN_BYTES / entries.max(1)).next_multiple_of(8));
    let cache = SharedCache::open(path, entries * (RECORD + value))?;
    let (value, mut room) = (vec![0; usize::try_from(value)?], Vec::new());
    for key in keys.iter().map(|key| key.to_ne_bytes()) {
        if !matches!(cache.get_into(&key, &mut room), Ok(Some(_))) {
            cache.insert(&key, &value, None)?;
        }
    }
    let stats = cache.stats();
    std::fs::remove_file(path)?;
    Ok(Replayed {
        shared: stats.counts.hit_ratio().unwrap_or_default(),
        s3_fifo: hit_ratio("s3-fifo", keys, entries).unwrap_or_default(),
        moved: stats.moved_bytes as f64 / stats.written_bytes.max(1) as f64,
    })
}
