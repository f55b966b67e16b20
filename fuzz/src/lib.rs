//! What the fuzz targets share: reading an input, making files, operations and their results.

mod image;
mod input;
mod steps;

// The engine's own modules, so that files can be made whose records it believes.
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/hashing.rs"]
mod hashing;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/slot.rs"]
mod slot;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/layout.rs"]
mod layout;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/position.rs"]
mod position;
#[allow(dead_code)]
#[path = "../../crates/nearcache/src/shared/record.rs"]
mod record;

pub use image::Image;
pub use input::Input;
pub use steps::{INTEGER, KEYS, Known, key, run, value};
