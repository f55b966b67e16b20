//! The codes of the tree format. `docs/design/shared-values.md` describes the format.
//!
//! A node begins with a byte, its tag. Counts, lengths and numbers of names, shapes and marks are *numbers*: 7 bits in each
//! byte, the lowest first, with bit 7 set in all bytes but the last, and no byte more than needed. All fixed widths are
//! little-endian.

/// The version of the format, the first byte of a tree. A tree of another version is unreadable.
pub(super) const VERSION: u8 = 1;

/// How deep nodes may be nested.
pub(super) const MAX_DEPTH: usize = 64;
/// The most keys of a `NAMED` dict.
pub(super) const MAX_NAMES: usize = 1024;

pub(super) const NONE: u8 = 0x00;
pub(super) const FALSE: u8 = 0x01;
pub(super) const TRUE: u8 = 0x02;
/// An `i8`; `INT_16`, `INT_32` and `INT_64` are wider. The narrowest that holds the number is used.
pub(super) const INT_8: u8 = 0x03;
pub(super) const INT_16: u8 = 0x04;
pub(super) const INT_32: u8 = 0x05;
pub(super) const INT_64: u8 = 0x06;
/// Length, and two's complement of as few bytes as possible: an `int` beyond 64 bits.
pub(super) const LARGE_INT: u8 = 0x07;
/// The 8 bytes of an `f64`.
pub(super) const FLOAT: u8 = 0x08;
/// Two `f64`: the real part, and the imaginary part.
pub(super) const COMPLEX: u8 = 0x09;
/// Length and characters, one byte each. Shorter ASCII text is in the tag [`SHORT_ASCII`].
pub(super) const ASCII: u8 = 0x0a;
/// Length and characters, one byte each, at least one of them above U+007F.
pub(super) const LATIN_1: u8 = 0x0b;
/// Length and bytes.
pub(super) const UTF_8: u8 = 0x0c;
/// Before a text: it is a `SafeString` of Django.
pub(super) const SAFE: u8 = 0x0d;
/// Length and bytes.
pub(super) const BYTES: u8 = 0x0e;
pub(super) const BYTEARRAY: u8 = 0x0f;

/// Year (2 bytes), month, day.
pub(super) const DATE: u8 = 0x10;
/// Hour, minute, second, and 3 bytes: microseconds, and [`FOLD`].
pub(super) const TIME: u8 = 0x11;
/// As `TIME`, then a zone.
pub(super) const TIME_IN_ZONE: u8 = 0x12;
/// A date and a time.
pub(super) const DATETIME: u8 = 0x13;
pub(super) const DATETIME_IN_ZONE: u8 = 0x14;
/// Days (an `i32`), seconds and microseconds (3 bytes each).
pub(super) const TIMEDELTA: u8 = 0x15;
/// The zone `timezone.utc`.
pub(super) const UTC: u8 = 0x16;
/// A `timezone`: its offset, as in `TIMEDELTA`.
pub(super) const OFFSET: u8 = 0x17;
/// A `timezone` with a name: its offset and a text.
pub(super) const NAMED_OFFSET: u8 = 0x18;
/// A `ZoneInfo`: its key, a text.
pub(super) const ZONE_INFO: u8 = 0x19;
/// Its text, with a length.
pub(super) const DECIMAL: u8 = 0x1a;
/// [`SAFETY`](super::builder::Scalar::Uuid) and 16 bytes, big-endian.
pub(super) const UUID: u8 = 0x1b;

/// Count and nodes; so do `TUPLE`, `SET` and `FROZENSET`. The nodes of the latter two are keys.
pub(super) const LIST: u8 = 0x20;
pub(super) const TUPLE: u8 = 0x21;
pub(super) const SET: u8 = 0x22;
pub(super) const FROZENSET: u8 = 0x23;
/// Count, and for each entry a key and a node.
pub(super) const DICT: u8 = 0x24;
/// A dict whose keys are all texts, the next shape: count, the keys, the values. A key is a text, the next name, or `NAME`.
pub(super) const NAMED: u8 = 0x25;
/// A dict with the keys of an earlier one: the number of its shape, and the values.
pub(super) const NAMED_AGAIN: u8 = 0x26;
/// In the keys of `NAMED`: the number of a name.
pub(super) const NAME: u8 = 0x27;
/// Before a node that may occur again: the next mark.
pub(super) const MARK: u8 = 0x28;
/// The node with this mark, once more.
pub(super) const AGAIN: u8 = 0x29;

/// And the numbers up to 63 above it: an `int` from 0 to 63.
pub(super) const SMALL_INT: u8 = 0x40;
pub(super) const MAX_SMALL_INT: i64 = 0x3f;
/// And the numbers up to 127 above it: ASCII text of that length.
pub(super) const SHORT_ASCII: u8 = 0x80;
pub(super) const MAX_SHORT: usize = 0x7f;

/// In the microseconds of a time: its `fold` is 1.
pub(super) const FOLD: u32 = 1 << 23;

pub(super) const MAX_DAYS: i32 = 999_999_999;
pub(super) const DAY_SECONDS: u32 = 86_400;
pub(super) const SECOND_MICROS: u32 = 1_000_000;
