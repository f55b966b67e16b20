//! Comparisons of nearcache with other caches. Rivals are dependencies of this crate only.

pub mod contender;
pub mod opt;
pub mod plot;
#[cfg(target_os = "linux")]
pub mod shared;
pub mod table;
pub mod trace;
