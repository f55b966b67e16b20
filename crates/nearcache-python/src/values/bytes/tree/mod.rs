//! Trees as bytes: values of exact built-in types, nested in each other, without pickle.
//!
//! `docs/design/shared-values.md` draws the format. [`format`](mod@format), `reader`, `builder` and `parser` know nothing of
//! Python, and `fuzz/` runs them alone; `build` makes Python objects of what they parse. `encode` walks a value, with
//! `encode_scalar`, and notes in `marks` and `names` what it has written.
//!
//! - Reading a tree runs no code but that of the types in it, whatever the bytes are.
//! - An object that occurs several times in a value does so in the value that is read, at least if it can be changed.
//! - The order of a dict is kept. One value gives the same bytes each time within a process; sets are written in the order
//!   in which Python iterates over them, which differs between processes.

mod build;
mod builder;
mod encode;
mod encode_scalar;
mod format;
mod marks;
mod names;
mod parser;
mod reader;
mod types;
mod writer;

pub(super) use build::{BuildError, decode};
pub(super) use encode::{NoTree, encode};
