//! Parsing a tree: structure, marks, names and shapes. Objects are made by a [`Builder`].
//!
//! The bytes may be anything. What is allocated is bounded by a small multiple of their number, the depth of the recursion
//! by `MAX_DEPTH`, and the time by both, because a key cannot refer to an earlier object: hashing an object that contains
//! another one twice, which contains another one twice, would take for ever.

use std::mem;
use std::ops::{Range, RangeInclusive};

use super::builder::{Builder, Date, Delta, Encoding, Scalar, Text, Time};
use super::format::{
    AGAIN, ASCII, BYTEARRAY, BYTES, COMPLEX, DATE, DATETIME, DATETIME_IN_ZONE, DAY_SECONDS, DECIMAL, DICT,
    FALSE, FLOAT, FOLD, FROZENSET, INT_8, INT_16, INT_32, INT_64, LARGE_INT, LATIN_1, LIST, MARK, MAX_DAYS,
    MAX_DEPTH, MAX_NAMES, MAX_SHORT, MAX_SMALL_INT, NAME, NAMED, NAMED_AGAIN, NAMED_OFFSET, NONE, OFFSET,
    SAFE, SECOND_MICROS, SET, SHORT_ASCII, SMALL_INT, TIME, TIME_IN_ZONE, TIMEDELTA, TRUE, TUPLE, UTC, UTF_8,
    UUID, VERSION, ZONE_INFO,
};
use super::reader::{ParseError, Reader, Result};

/// Parses a tree. Every byte belongs to it.
pub(crate) fn parse<B: Builder>(bytes: &[u8], builder: &mut B) -> Result<B::Object> {
    let mut reader = Reader(bytes);
    if reader.byte()? != VERSION {
        return Err(ParseError::Malformed);
    }
    let mut parser = Parser {
        reader,
        builder,
        marked: Vec::new(),
        names: Vec::new(),
        shapes: Vec::new(),
        shape_names: Vec::new(),
        stack: Vec::new(),
        depth: 0,
        is_key: false,
    };
    let object = parser.node()?;
    if parser.reader.0.is_empty() {
        Ok(object)
    } else {
        Err(ParseError::Malformed)
    }
}

/// The state of parsing one tree.
struct Parser<'a, B: Builder> {
    reader: Reader<'a>,
    builder: &'a mut B,
    /// The objects that `AGAIN` refers to; `None` if one is not made yet.
    marked: Vec<Option<B::Object>>,
    names: Vec<B::Object>,
    shapes: Vec<Shape<B::Object>>,
    /// The names of all shapes, one after the other.
    shape_names: Vec<B::Object>,
    /// The parts of the objects that are being parsed.
    stack: Vec<B::Object>,
    depth: usize,
    /// Whether the node belongs to a key of a dict or a member of a set.
    is_key: bool,
}

/// The keys of a dict.
struct Shape<Object> {
    /// In `shape_names`.
    names: Range<usize>,
    /// A dict with these keys, made when the shape occurs again.
    template: Option<Object>,
}

// The numbers of the narrower types.
const I8: RangeInclusive<i64> = i8::MIN as i64..=i8::MAX as i64;
const I16: RangeInclusive<i64> = i16::MIN as i64..=i16::MAX as i64;
const I32: RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;

/// The number of a mark.
type Mark = Option<usize>;

impl<'a, B: Builder> Parser<'a, B> {
    fn node(&mut self) -> Result<B::Object> {
        let tag = self.reader.byte()?;
        self.tagged(tag)
    }

    #[inline]
    fn tagged(&mut self, tag: u8) -> Result<B::Object> {
        match tag {
            SHORT_ASCII.. => {
                let text = self.short_text(tag)?;
                self.builder.text(text)
            }
            SMALL_INT.. => self.builder.int(i64::from(tag - SMALL_INT)),
            MARK => self.marked(),
            AGAIN => self.again(),
            LIST.. => self.container(tag, None),
            INT_8..=INT_64 => {
                let number = self.int(tag)?;
                self.builder.int(number)
            }
            ASCII..=UTF_8 => {
                let text = self.text(tag)?;
                self.builder.text(text)
            }
            _ => self.scalar(tag),
        }
    }

    fn marked(&mut self) -> Result<B::Object> {
        if self.is_key {
            return malformed();
        }
        let mark = self.marked.len();
        self.push_mark()?;
        let tag = self.reader.byte()?;
        let object = match tag {
            MARK | AGAIN | SMALL_INT..SHORT_ASCII => return malformed(),
            LIST..SMALL_INT => self.container(tag, Some(mark))?,
            _ => self.tagged(tag)?,
        };
        self.marked[mark] = Some(object.clone());
        Ok(object)
    }

    fn again(&mut self) -> Result<B::Object> {
        let mark = self.reader.number()?;
        match self.marked.get(mark) {
            Some(Some(object)) if !self.is_key => Ok(object.clone()),
            _ => malformed(),
        }
    }

    /// Parses a container, which exists before its parts if it can contain itself.
    fn container(&mut self, tag: u8, mark: Mark) -> Result<B::Object> {
        if self.depth == MAX_DEPTH || self.is_key && !matches!(tag, TUPLE | FROZENSET) {
            return malformed();
        }
        self.depth += 1;
        let object = match tag {
            LIST => self.list(mark),
            TUPLE => {
                let start = self.items()?;
                self.builder.tuple(self.stack.drain(start..))
            }
            SET => self.set(mark),
            FROZENSET => {
                let start = self.members()?;
                self.builder.frozenset(self.stack.drain(start..))
            }
            DICT => self.dict(mark),
            NAMED => self.named(mark),
            NAMED_AGAIN => self.named_again(mark),
            _ => malformed(),
        }?;
        self.depth -= 1;
        Ok(object)
    }

    fn list(&mut self, mark: Mark) -> Result<B::Object> {
        if mark.is_none() {
            let start = self.items()?;
            return self.builder.list_of(self.stack.drain(start..));
        }
        let list = self.builder.list()?;
        self.begin(mark, &list);
        for _ in 0..self.reader.count(1)? {
            let item = self.node()?;
            self.builder.append(&list, item)?;
        }
        Ok(list)
    }

    fn set(&mut self, mark: Mark) -> Result<B::Object> {
        let set = self.builder.set()?;
        self.begin(mark, &set);
        let start = self.members()?;
        let count = self.stack.len() - start;
        for item in self.stack.drain(start..) {
            self.builder.add(&set, item)?;
        }
        self.complete(set, count)
    }

    fn dict(&mut self, mark: Mark) -> Result<B::Object> {
        let dict = self.builder.dict()?;
        self.begin(mark, &dict);
        let count = self.reader.count(2)?;
        for _ in 0..count {
            let key = self.key()?;
            let value = self.node()?;
            self.builder.insert(&dict, &key, value)?;
        }
        self.complete(dict, count)
    }

    fn named(&mut self, mark: Mark) -> Result<B::Object> {
        let count = self.reader.count(2)?;
        if count == 0 || count > MAX_NAMES {
            return malformed();
        }
        let names = self.new_shape(count)?;
        let dict = self.builder.dict()?;
        self.begin(mark, &dict);
        let start = self.values(count)?;
        for (name, value) in self.shape_names[names].iter().zip(self.stack.drain(start..)) {
            self.builder.insert(&dict, name, value)?;
        }
        self.complete(dict, count)
    }

    /// Parses the names of a dict, which become a shape.
    fn new_shape(&mut self, count: usize) -> Result<Range<usize>> {
        let start = self.shape_names.len();
        self.shape_names.try_reserve(count)?;
        for _ in 0..count {
            let name = self.name()?;
            self.shape_names.push(name);
        }
        let names = start..self.shape_names.len();
        self.shapes.try_reserve(1)?;
        self.shapes.push(Shape {
            names: names.clone(),
            template: None,
        });
        Ok(names)
    }

    fn name(&mut self) -> Result<B::Object> {
        let tag = self.reader.byte()?;
        if tag == NAME {
            let number = self.reader.number()?;
            return match self.names.get(number) {
                Some(name) => Ok(name.clone()),
                None => malformed(),
            };
        }
        let text = self.text(tag)?;
        let name = self.builder.text(text)?;
        self.names.try_reserve(1)?;
        self.names.push(name.clone());
        Ok(name)
    }

    fn named_again(&mut self, mark: Mark) -> Result<B::Object> {
        let number = self.reader.number()?;
        let Some(shape) = self.shapes.get_mut(number) else {
            return malformed();
        };
        let names = shape.names.clone();
        if names.len() > self.reader.0.len() {
            return malformed();
        }
        if shape.template.is_none() {
            shape.template = Some(self.builder.template(&self.shape_names[names.clone()])?);
        }
        let Some(template) = &shape.template else {
            return malformed();
        };
        let dict = self.builder.copy(template)?;
        self.begin(mark, &dict);
        let start = self.values(names.len())?;
        for (name, value) in self.shape_names[names].iter().zip(self.stack.drain(start..)) {
            self.builder.insert(&dict, name, value)?;
        }
        Ok(dict)
    }

    /// Returns a set or dict, unless a key occurred twice.
    fn complete(&mut self, container: B::Object, count: usize) -> Result<B::Object> {
        if self.builder.has_len(&container, count)? {
            Ok(container)
        } else {
            malformed()
        }
    }

    /// Makes an object known under its mark before its parts are parsed.
    fn begin(&mut self, mark: Mark, object: &B::Object) {
        if let Some(mark) = mark {
            self.marked[mark] = Some(object.clone());
        }
    }

    /// Parses a count and that many nodes; returns where they begin on the stack.
    fn items(&mut self) -> Result<usize> {
        let count = self.reader.count(1)?;
        self.values(count)
    }

    /// Parses nodes; returns where they begin on the stack.
    fn values(&mut self, count: usize) -> Result<usize> {
        let start = self.stack.len();
        self.stack.try_reserve(count)?;
        for _ in 0..count {
            let value = self.node()?;
            // There is room: what the node itself pushed is gone.
            self.stack.push(value);
        }
        Ok(start)
    }

    /// Parses a count and that many keys; returns where they begin on the stack.
    fn members(&mut self) -> Result<usize> {
        let was_key = mem::replace(&mut self.is_key, true);
        let start = self.items();
        self.is_key = was_key;
        start
    }

    fn key(&mut self) -> Result<B::Object> {
        let was_key = mem::replace(&mut self.is_key, true);
        let key = self.node();
        self.is_key = was_key;
        key
    }

    fn scalar(&mut self, tag: u8) -> Result<B::Object> {
        let scalar = match tag {
            NONE => Scalar::None,
            FALSE => Scalar::Bool(false),
            TRUE => Scalar::Bool(true),
            LARGE_INT => Scalar::LargeInt(self.large_int()?),
            FLOAT => Scalar::Float(self.float()?),
            COMPLEX => Scalar::Complex(self.float()?, self.float()?),
            SAFE => {
                let tag = self.reader.byte()?;
                Scalar::Safe(self.text(tag)?)
            }
            BYTES => Scalar::Bytes(self.reader.bytes()?),
            BYTEARRAY if !self.is_key => Scalar::ByteArray(self.reader.bytes()?),
            DATE => Scalar::Date(self.date()?),
            TIME => Scalar::Time(self.time()?, None),
            TIME_IN_ZONE => Scalar::Time(self.time()?, Some(self.zone()?)),
            DATETIME => Scalar::DateTime(self.date()?, self.time()?, None),
            DATETIME_IN_ZONE => Scalar::DateTime(self.date()?, self.time()?, Some(self.zone()?)),
            TIMEDELTA => Scalar::Delta(self.delta()?),
            UTC => Scalar::Utc,
            OFFSET => Scalar::Offset(self.delta()?, None),
            NAMED_OFFSET => {
                let offset = self.delta()?;
                let tag = self.reader.byte()?;
                Scalar::Offset(offset, Some(self.text(tag)?))
            }
            ZONE_INFO => {
                let tag = self.reader.byte()?;
                Scalar::ZoneInfo(self.text(tag)?)
            }
            DECIMAL => Scalar::Decimal(self.reader.bytes()?),
            UUID => Scalar::Uuid {
                safety: self.reader.byte()?,
                bytes: self.reader.array()?,
            },
            _ => return malformed(),
        };
        self.builder.scalar(scalar)
    }

    /// Parses the zone of a time. Not any node, because times would nest without end.
    fn zone(&mut self) -> Result<B::Object> {
        let tag = self.reader.byte()?;
        let is_marked = tag == MARK;
        match if is_marked {
            self.reader.0.first()
        } else {
            Some(&tag)
        } {
            Some(UTC..=ZONE_INFO) if is_marked => self.marked(),
            Some(UTC..=ZONE_INFO) => self.scalar(tag),
            Some(&AGAIN) if !is_marked => self.again(),
            _ => malformed(),
        }
    }

    fn int(&mut self, tag: u8) -> Result<i64> {
        let (number, narrower) = match tag {
            INT_8 => (
                i64::from(i8::from_le_bytes(self.reader.array()?)),
                0..=MAX_SMALL_INT,
            ),
            INT_16 => (i64::from(i16::from_le_bytes(self.reader.array()?)), I8),
            INT_32 => (i64::from(i32::from_le_bytes(self.reader.array()?)), I16),
            _ => (i64::from_le_bytes(self.reader.array()?), I32),
        };
        if narrower.contains(&number) {
            return Err(ParseError::Malformed);
        }
        Ok(number)
    }

    fn large_int(&mut self) -> Result<&'a [u8]> {
        let bytes = self.reader.bytes()?;
        // The highest byte must be needed, if only for the sign.
        match bytes {
            [.., below, highest] if bytes.len() > 8 => {
                let sign = if below & 0x80 == 0 { 0 } else { 0xff };
                if *highest == sign {
                    Err(ParseError::Malformed)
                } else {
                    Ok(bytes)
                }
            }
            _ => Err(ParseError::Malformed),
        }
    }

    fn float(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.reader.array()?))
    }

    fn date(&mut self) -> Result<Date> {
        let [low, high, month, day] = self.reader.array()?;
        Ok(Date {
            year: u16::from_le_bytes([low, high]),
            month,
            day,
        })
    }

    fn time(&mut self) -> Result<Time> {
        let [hour, minute, second, low, middle, high] = self.reader.array()?;
        let micro = u32::from_le_bytes([low, middle, high, 0]);
        Ok(Time {
            hour,
            minute,
            second,
            micro: micro & !FOLD,
            fold: micro & FOLD != 0,
        })
    }

    fn delta(&mut self) -> Result<Delta> {
        let days = i32::from_le_bytes(self.reader.array()?);
        let [s0, s1, s2, m0, m1, m2] = self.reader.array()?;
        let seconds = u32::from_le_bytes([s0, s1, s2, 0]);
        let micros = u32::from_le_bytes([m0, m1, m2, 0]);
        // Python relies on all three.
        if !(-MAX_DAYS..=MAX_DAYS).contains(&days) || seconds >= DAY_SECONDS || micros >= SECOND_MICROS {
            return Err(ParseError::Malformed);
        }
        Ok(Delta {
            days,
            seconds,
            micros,
        })
    }

    /// Parses the rest of a text.
    fn text(&mut self, tag: u8) -> Result<Text<'a>> {
        let encoding = match tag {
            SHORT_ASCII.. => return self.short_text(tag),
            ASCII => Encoding::Ascii,
            LATIN_1 => Encoding::Latin1,
            UTF_8 => Encoding::Utf8,
            _ => return Err(ParseError::Malformed),
        };
        let bytes = self.reader.bytes()?;
        if encoding == Encoding::Ascii && bytes.len() <= MAX_SHORT {
            return Err(ParseError::Malformed);
        }
        Ok(Text { encoding, bytes })
    }

    #[inline]
    fn short_text(&mut self, tag: u8) -> Result<Text<'a>> {
        Ok(Text {
            encoding: Encoding::Ascii,
            bytes: self.reader.take(usize::from(tag - SHORT_ASCII))?,
        })
    }

    fn push_mark(&mut self) -> Result<()> {
        self.marked.try_reserve(1)?;
        self.marked.push(None);
        Ok(())
    }
}

#[cold]
fn malformed<T>() -> Result<T> {
    Err(ParseError::Malformed)
}
