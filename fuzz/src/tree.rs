//! The binding's parser of trees, with a builder that counts what it makes.

use std::vec::Drain;

// Modules of the binding that know nothing of Python.
#[allow(dead_code)]
#[path = "../../crates/nearcache-python/src/values/bytes/tree/builder.rs"]
mod builder;
#[allow(dead_code)]
#[path = "../../crates/nearcache-python/src/values/bytes/tree/format.rs"]
mod format;
#[path = "../../crates/nearcache-python/src/values/bytes/tree/parser.rs"]
mod parser;
#[path = "../../crates/nearcache-python/src/values/bytes/tree/reader.rs"]
mod reader;

use builder::{Builder, Scalar, Text};
use parser::parse;
use reader::{ParseError, Result};

/// How many objects may be made for a byte: a node, its copies on stacks, and a name of a template.
const OBJECTS_PER_BYTE: usize = 4;
/// The entries of a template are bounded by the names, each of which has taken a byte, and by the values that must follow.
const SLACK: usize = 64;

/// Parses bytes as a tree and checks what is made of them.
///
/// # Panics
///
/// If more is made than the bytes can justify, or something that can change is used as a key.
pub fn check(bytes: &[u8]) {
    let mut counter = Counter { made: 0 };
    let parsed = parse(bytes, &mut counter);
    assert!(parsed != Err(ParseError::Refused), "this builder refuses nothing");
    assert!(
        counter.made <= OBJECTS_PER_BYTE * bytes.len() + SLACK,
        "too many objects"
    );
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    is_hashable: bool,
    entries: usize,
}

/// Counts objects.
struct Counter {
    made: usize,
}

impl Counter {
    fn make(&mut self, is_hashable: bool, parts: &[Object]) -> Object {
        self.made += 1;
        Object {
            is_hashable: is_hashable && parts.iter().all(|part| part.is_hashable),
            entries: parts.len(),
        }
    }
}

impl Builder for Counter {
    type Object = Object;

    fn text(&mut self, _: Text<'_>) -> Result<Object> {
        Ok(self.make(true, &[]))
    }

    fn int(&mut self, _: i64) -> Result<Object> {
        Ok(self.make(true, &[]))
    }

    fn scalar(&mut self, scalar: Scalar<'_, Object>) -> Result<Object> {
        Ok(self.make(!matches!(scalar, Scalar::ByteArray(_)), &[]))
    }

    fn list(&mut self) -> Result<Object> {
        Ok(self.make(false, &[]))
    }

    fn append(&mut self, _: &Object, _: Object) -> Result<()> {
        Ok(())
    }

    fn list_of(&mut self, items: Drain<'_, Object>) -> Result<Object> {
        let items: Vec<_> = items.collect();
        Ok(self.make(false, &items))
    }

    fn tuple(&mut self, items: Drain<'_, Object>) -> Result<Object> {
        let items: Vec<_> = items.collect();
        Ok(self.make(true, &items))
    }

    fn set(&mut self) -> Result<Object> {
        Ok(self.make(false, &[]))
    }

    fn add(&mut self, _: &Object, item: Object) -> Result<()> {
        assert!(item.is_hashable, "a member that can change");
        Ok(())
    }

    fn frozenset(&mut self, items: Drain<'_, Object>) -> Result<Object> {
        let items: Vec<_> = items.collect();
        assert!(
            items.iter().all(|item| item.is_hashable),
            "a member that can change"
        );
        Ok(self.make(true, &items))
    }

    fn dict(&mut self) -> Result<Object> {
        Ok(self.make(false, &[]))
    }

    fn insert(&mut self, _: &Object, key: &Object, _: Object) -> Result<()> {
        assert!(key.is_hashable, "a key that can change");
        Ok(())
    }

    /// Returns what the parser wants to hear: keys are not compared here.
    fn has_len(&mut self, _: &Object, _: usize) -> Result<bool> {
        Ok(true)
    }

    fn template(&mut self, names: &[Object]) -> Result<Object> {
        Ok(self.make(false, names))
    }

    fn copy(&mut self, template: &Object) -> Result<Object> {
        assert!(template.entries > 0, "a shape without names");
        Ok(self.make(false, &[]))
    }
}
