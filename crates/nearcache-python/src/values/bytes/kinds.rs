//! The kinds of values in a shared file: what the bytes of a record mean. Part of the file format.

/// The bytes of a `bytes`. 0, so that values that a Rust program stores without a kind are `bytes` here.
pub(super) const BYTES: u8 = 0;
pub(super) const NONE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const TRUE: u8 = 3;
/// An `i64` in native byte order. The engine adds to it in place.
pub(crate) const INT: u8 = 4;
/// An `int` outside the range of `i64`, in two's complement, little-endian.
pub(super) const LARGE_INT: u8 = 5;
/// An `f64` in native byte order.
pub(super) const FLOAT: u8 = 6;
pub(super) const ASCII: u8 = 7;
/// Text with at least one character from U+0080 to U+00FF, and none above.
pub(super) const LATIN_1: u8 = 8;
pub(super) const UTF_8: u8 = 9;
pub(super) const PICKLE: u8 = 10;
/// A lock: the holder's process, 8 bytes, and the token in UTF-8.
pub(super) const LOCK: u8 = 11;
/// A tree of built-in types: see `tree`.
pub(super) const TREE: u8 = 12;
/// A bit added to a text's kind: the text is a `SafeString`.
pub(super) const SAFE: u8 = 0x40;
/// A bit added to the kind of a near copy: two words precede the value.
pub(crate) const NEAR: u8 = 0x20;

/// The length of an `INT` and a `FLOAT`.
pub(super) const NUMBER_LEN: usize = 8;

/// How a value of some kind is read again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rereading {
    /// As quickly as its object would be found in the object cache.
    Cheap,
    /// Its object is immutable, so that one object can be returned several times. Reading it costs a copy.
    Immutable,
    /// Reading it builds many objects.
    Expensive,
}

/// The length from which a copy costs more than finding the object.
const LONG: usize = 256;
/// The same for a tree: one with an item or two.
const LARGE_TREE: usize = 8;

/// Returns how a value of this kind and length is read again.
#[inline]
pub(crate) const fn rereading(kind: u8, len: usize) -> Rereading {
    match kind {
        PICKLE => Rereading::Expensive,
        TREE if len >= LARGE_TREE => Rereading::Expensive,
        BYTES | LARGE_INT if len >= LONG => Rereading::Immutable,
        _ if len >= LONG && is_text(kind & !SAFE) => Rereading::Immutable,
        _ => Rereading::Cheap,
    }
}

/// Returns whether a value of this kind is a pickle.
#[inline]
pub(crate) const fn is_pickle(kind: u8) -> bool {
    kind == PICKLE
}

/// Returns whether a kind, without the bit `SAFE`, is a text.
#[inline]
pub(super) const fn is_text(kind: u8) -> bool {
    matches!(kind, ASCII | LATIN_1 | UTF_8)
}
