//! What a parser makes its objects with.

use std::vec::Drain;

use super::reader::Result;

/// The width of a text's characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Ascii,
    Latin1,
    Utf8,
}

/// A text that is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) bytes: &'a [u8],
}

/// A date that is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
}

/// A time of day that is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) micro: u32,
    pub(crate) fold: bool,
}

/// A `timedelta`, normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) days: i32,
    pub(crate) seconds: u32,
    pub(crate) micros: u32,
}

/// A value that is neither a text nor an `i64` and has no parts, except that a time may have a zone.
pub(crate) enum Scalar<'a, Object> {
    None,
    Bool(bool),
    LargeInt(&'a [u8]),
    Float(f64),
    Complex(f64, f64),
    Safe(Text<'a>),
    Bytes(&'a [u8]),
    ByteArray(&'a [u8]),
    Date(Date),
    Time(Time, Option<Object>),
    DateTime(Date, Time, Option<Object>),
    Delta(Delta),
    Utc,
    Offset(Delta, Option<Text<'a>>),
    ZoneInfo(Text<'a>),
    Decimal(&'a [u8]),
    Uuid {
        /// `is_safe`: 0 for unknown, 1 for safe, 2 for unsafe.
        safety: u8,
        bytes: [u8; 16],
    },
}

/// Makes the objects of a tree.
///
/// An object may be refused: because a text is not in its encoding, a date does not exist, or a key cannot be hashed. The error is then `ParseError::Refused`, and only the builder knows the reason.
pub(crate) trait Builder {
    type Object: Clone;

    fn text(&mut self, text: Text<'_>) -> Result<Self::Object>;
    fn int(&mut self, number: i64) -> Result<Self::Object>;
    fn scalar(&mut self, scalar: Scalar<'_, Self::Object>) -> Result<Self::Object>;
    fn list(&mut self) -> Result<Self::Object>;
    fn append(&mut self, list: &Self::Object, item: Self::Object) -> Result<()>;
    fn list_of(&mut self, items: Drain<'_, Self::Object>) -> Result<Self::Object>;
    fn tuple(&mut self, items: Drain<'_, Self::Object>) -> Result<Self::Object>;
    fn set(&mut self) -> Result<Self::Object>;
    fn add(&mut self, set: &Self::Object, item: Self::Object) -> Result<()>;
    /// Fails if an item occurs twice.
    fn frozenset(&mut self, items: Drain<'_, Self::Object>) -> Result<Self::Object>;
    fn dict(&mut self) -> Result<Self::Object>;
    /// Sets the value of a key.
    fn insert(&mut self, dict: &Self::Object, key: &Self::Object, value: Self::Object) -> Result<()>;
    /// Returns whether a dict or set has this number of entries: whether all keys differed.
    fn has_len(&mut self, container: &Self::Object, len: usize) -> Result<bool>;
    /// Returns a dict with these keys and any values.
    fn template(&mut self, names: &[Self::Object]) -> Result<Self::Object>;
    fn copy(&mut self, template: &Self::Object) -> Result<Self::Object>;
}
