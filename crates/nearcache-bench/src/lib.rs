//! Comparisons of nearcache with other caches. Rivals are dependencies of this crate only.

pub mod trace;
