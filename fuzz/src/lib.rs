//! Code that the fuzz targets share: reading an input, making files, running operations and checking their results.

mod image;
mod input;
mod steps;
pub mod tree;

// Modules of the engine, so that files can be made whose records are valid.
/// What `hashing` and `record` use of the module of this name, which itself uses half of the cache.
#[allow(dead_code)]
mod extension {
    pub(super) const EXTENSION: usize = 3;

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Extension(pub(super) [u64; EXTENSION]);
}
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/hashing.rs"]
mod hashing;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/layout.rs"]
mod layout;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/position.rs"]
mod position;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/record.rs"]
mod record;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/slot.rs"]
mod slot;

pub use image::Image;
pub use input::Input;
pub use steps::{INTEGER, KEYS, Known, key, run, value};
