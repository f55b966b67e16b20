//! Values as bytes, with a kind that says what they mean, for a file that several processes share.
//!
//! `None`, `bool`, `int`, `float`, `bytes` and `str` of exactly these types, and Django's `SafeString`, are stored as they
//! are and rebuilt without pickle. ASCII, Latin-1 and `bytes` are copied once, from the mapped file into the object that
//! the caller gets. Other values of built-in types are stored as [`tree`]s. Everything else is pickled, unless that is
//! refused.
//!
//! The bytes that are read may be anything: written by another program, or damaged. Before they become an object, whatever
//! Python relies on is checked. A pickle is not checked: who can write the file can run code in every process that loads
//! pickles.

mod decode;
mod encode;
mod kinds;
mod large_int;
mod lock;
pub(crate) mod testing;
mod text;
mod tree;

pub(crate) use decode::{Decoder, Undecodable};
pub(crate) use encode::{EncodedBytes, Pickling};
pub(crate) use kinds::{INT, NEAR, Rereading, is_pickle, rereading};
pub(crate) use lock::{decode_lock, encode_lock};
