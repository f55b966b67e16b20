//! From a Python value to the bytes of a tree.
//!
//! Nothing here calls Python code, except that an allocation may start the garbage collector, and so finalizers. They may
//! change a container that is being written, in which case the result is one of the states that it had, or an exception.

use std::fmt;

use nearcache::OutOfMemory;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType,
};

use super::super::kinds;
use super::super::text::text_bytes;
use super::format::{
    AGAIN, ASCII, BYTES, DICT, FALSE, FLOAT, FROZENSET, LATIN_1, LIST, MARK, MAX_DEPTH, MAX_NAMES, NAME,
    NAMED, NAMED_AGAIN, NONE, SET, SHORT_ASCII, TRUE, TUPLE, UTF_8, VERSION,
};
use super::marks::{Marks, Occurrence};
use super::names::{Name, Names};
use super::writer::Writer;
use crate::errors::error;
use crate::memory::no_memory;
use crate::objects::{items, list_copy, set_copy};

/// From this length on, a text or `bytes` that has several references is written once. A shorter one may be written again:
/// a mark takes about as much.
const LONG: usize = 64;
/// The most containers inside of keys. A key cannot refer to an earlier object, so one that contains a tuple many times is
/// written many times.
const MAX_CONTAINERS_IN_KEYS: u32 = 1 << 20;

/// Encodes a tree; returns why if the value is not one.
pub(crate) fn encode<'py>(value: &Bound<'py, PyAny>) -> PyResult<Result<Vec<u8>, NoTree<'py>>> {
    let mut encoder = Encoder {
        py: value.py(),
        out: Writer(Vec::new()),
        marks: Marks::default(),
        names: Names::default(),
        depth: 0,
        is_key: false,
        containers_in_keys: 0,
    };
    let written = encoder.out.byte(VERSION).map_err(Failure::from);
    match written.and_then(|()| encoder.node(value)) {
        Ok(()) => Ok(Ok(encoder.out.0)),
        Err(Failure::NoTree(reason)) => Ok(Err(reason)),
        Err(Failure::Raised(raised)) => Err(raised),
    }
}

/// Why a value is not a tree.
pub(crate) enum NoTree<'py> {
    /// It contains an object of this type.
    Type(Bound<'py, PyType>),
    TooDeep,
    /// A tuple or frozenset contains itself.
    InItself,
    /// A text has lone surrogates.
    LoneSurrogate,
    TooManyKeys,
    TooLong,
}

impl fmt::Display for NoTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(class) => match class.fully_qualified_name() {
                Ok(name) => write!(f, "it is or contains an object of type {name}"),
                Err(_) => f.write_str("it is or contains an object of another type"),
            },
            Self::TooDeep => write!(f, "its containers are nested more than {MAX_DEPTH} deep"),
            Self::InItself => f.write_str("a tuple in it contains itself"),
            Self::LoneSurrogate => f.write_str("a str in it has lone surrogates"),
            Self::TooManyKeys => f.write_str("its keys contain too many tuples"),
            Self::TooLong => f.write_str("a part of it is longer than 4 GB"),
        }
    }
}

pub(super) enum Failure<'py> {
    NoTree(NoTree<'py>),
    Raised(PyErr),
}

impl From<PyErr> for Failure<'_> {
    fn from(raised: PyErr) -> Self {
        Self::Raised(raised)
    }
}

impl From<OutOfMemory> for Failure<'_> {
    fn from(short: OutOfMemory) -> Self {
        Self::Raised(no_memory(short))
    }
}

impl<'py> From<NoTree<'py>> for Failure<'py> {
    fn from(reason: NoTree<'py>) -> Self {
        Self::NoTree(reason)
    }
}

pub(super) type Written<'py> = Result<(), Failure<'py>>;

/// What is still to be written of an object.
enum Rest {
    Nothing,
    Object,
    /// The object, whose mark is complete then.
    Marked(u32),
}

/// The state of encoding one tree.
pub(super) struct Encoder<'py> {
    pub(super) py: Python<'py>,
    pub(super) out: Writer,
    marks: Marks<'py>,
    names: Names<'py>,
    depth: usize,
    /// Whether the node belongs to a key of a dict or a member of a set.
    pub(super) is_key: bool,
    containers_in_keys: u32,
}

impl<'py> Encoder<'py> {
    fn node(&mut self, value: &Bound<'py, PyAny>) -> Written<'py> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            self.text_or_mark(value, text)
        } else if let Ok(number) = value.cast_exact::<PyInt>() {
            self.int(number)
        } else if value.is_none() {
            Ok(self.out.byte(NONE)?)
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            Ok(self.out.byte(if truth.is_true() { TRUE } else { FALSE })?)
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            Ok(self.out.tagged(FLOAT, number.value().to_le_bytes())?)
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            let bytes = bytes.as_bytes();
            if self.is_written_before(value, bytes.len())? {
                return Ok(());
            }
            self.bytes(BYTES, bytes)
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.container(value, |encoder| encoder.dict(dict))
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.container(value, |encoder| encoder.list(list))
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.container(value, |encoder| encoder.tuple(tuple))
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            self.container(value, |encoder| encoder.set(set))
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.container(value, |encoder| {
                encoder.members(FROZENSET, set.len(), set.try_iter()?)
            })
        } else {
            self.rare(value)
        }
    }

    /// Writes a container, its mark, or a reference to its mark.
    fn container(
        &mut self,
        value: &Bound<'py, PyAny>,
        write: impl FnOnce(&mut Self) -> Written<'py>,
    ) -> Written<'py> {
        if self.depth == MAX_DEPTH {
            return Err(NoTree::TooDeep.into());
        }
        let mark = if self.is_key {
            if !value.is_exact_instance_of::<PyTuple>() && !value.is_exact_instance_of::<PyFrozenSet>() {
                return Err(NoTree::Type(value.get_type()).into());
            }
            self.containers_in_keys += 1;
            if self.containers_in_keys > MAX_CONTAINERS_IN_KEYS {
                return Err(NoTree::TooManyKeys.into());
            }
            None
        } else {
            match self.occurrence(value)? {
                Rest::Nothing => return Ok(()),
                Rest::Object => None,
                Rest::Marked(mark) => Some(mark),
            }
        };
        self.depth += 1;
        write(self)?;
        self.depth -= 1;
        if let Some(mark) = mark {
            self.marks.complete(mark);
        }
        Ok(())
    }

    /// Writes the mark of an object if it needs one, or a reference to its mark if it occurred before.
    fn occurrence(&mut self, value: &Bound<'py, PyAny>) -> Result<Rest, Failure<'py>> {
        // The whole value has no reference from a container, unless it contains itself.
        let occurrence = if self.depth == 0 {
            self.marks.shared(value)?
        } else {
            self.marks.part(value)?
        };
        match occurrence {
            Occurrence::Only => Ok(Rest::Object),
            Occurrence::First(mark) => {
                self.out.byte(MARK)?;
                if !value.is_exact_instance_of::<PyTuple>() && !value.is_exact_instance_of::<PyFrozenSet>() {
                    self.marks.complete(mark);
                }
                Ok(Rest::Marked(mark))
            }
            Occurrence::Again(mark) => {
                self.out.byte(AGAIN)?;
                self.out.number(mark)?;
                Ok(Rest::Nothing)
            }
            Occurrence::Inside => Err(NoTree::InItself.into()),
        }
    }

    fn count(&mut self, tag: u8, count: usize) -> Written<'py> {
        self.out.byte(tag)?;
        let count = u32::try_from(count).map_err(|_| NoTree::TooLong)?;
        Ok(self.out.number(count)?)
    }

    fn list(&mut self, list: &Bound<'py, PyList>) -> Written<'py> {
        // Without the GIL another thread may be changing it.
        let copy = if cfg!(Py_GIL_DISABLED) {
            Some(list_copy(list)?)
        } else {
            None
        };
        let list = copy.as_ref().unwrap_or(list);
        let len = list.len();
        self.count(LIST, len)?;
        for index in 0..len {
            let item = list.get_item(index)?;
            self.node(&item)?;
        }
        if list.len() == len {
            Ok(())
        } else {
            self.changed("list")
        }
    }

    fn tuple(&mut self, tuple: &Bound<'py, PyTuple>) -> Written<'py> {
        self.count(TUPLE, tuple.len())?;
        for item in tuple {
            self.node(&item)?;
        }
        Ok(())
    }

    fn set(&mut self, set: &Bound<'py, PySet>) -> Written<'py> {
        let copy = if cfg!(Py_GIL_DISABLED) {
            Some(set_copy(set)?)
        } else {
            None
        };
        let set = copy.as_ref().unwrap_or(set);
        self.members(SET, set.len(), set.try_iter()?)
    }

    fn members(
        &mut self,
        tag: u8,
        len: usize,
        members: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> Written<'py> {
        self.count(tag, len)?;
        let was_key = std::mem::replace(&mut self.is_key, true);
        for member in members {
            self.node(&member?)?;
        }
        self.is_key = was_key;
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> Written<'py> {
        let copy = if cfg!(Py_GIL_DISABLED) {
            Some(dict.copy()?)
        } else {
            None
        };
        let dict = copy.as_ref().unwrap_or(dict);
        let first = items(dict).next().filter(|_| dict.len() <= MAX_NAMES);
        let Some((first, _)) = first else {
            return self.any_dict(dict);
        };
        if let Some(shape) = self.names.find(dict, &first) {
            self.out.byte(NAMED_AGAIN)?;
            self.out.number(shape)?;
            return self.values(dict, shape);
        }
        match self.names.add(dict)? {
            None => self.any_dict(dict),
            Some(shape) => {
                self.new_shape(shape)?;
                self.values(dict, shape)
            }
        }
    }

    fn new_shape(&mut self, shape: u32) -> Written<'py> {
        let len = self.names.keys(shape).len();
        self.count(NAMED, len)?;
        for index in 0..len {
            let name = self.names.keys(shape)[index].clone();
            match self.names.name(&name)? {
                Name::New => self.text(name.cast_exact::<PyString>().map_err(PyErr::from)?)?,
                Name::Again(number) => {
                    self.out.byte(NAME)?;
                    self.out.number(number)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the values of a dict whose keys are written.
    fn values(&mut self, dict: &Bound<'py, PyDict>, shape: u32) -> Written<'py> {
        let mut index = 0;
        for (key, value) in items(dict) {
            if !self
                .names
                .keys(shape)
                .get(index)
                .is_some_and(|name| name.is(&key))
            {
                return self.changed("dictionary");
            }
            self.node(&value)?;
            index += 1;
        }
        if index == self.names.keys(shape).len() {
            Ok(())
        } else {
            self.changed("dictionary")
        }
    }

    fn any_dict(&mut self, dict: &Bound<'py, PyDict>) -> Written<'py> {
        let len = dict.len();
        self.count(DICT, len)?;
        let mut written = 0;
        for (key, value) in items(dict) {
            let was_key = std::mem::replace(&mut self.is_key, true);
            self.node(&key)?;
            self.is_key = was_key;
            self.node(&value)?;
            written += 1;
        }
        if written == len {
            Ok(())
        } else {
            self.changed("dictionary")
        }
    }

    #[cold]
    fn changed(&self, what: &str) -> Written<'py> {
        let raised = error::<PyRuntimeError>(self.py, format_args!("{what} changed size during iteration"));
        Err(raised.into())
    }

    fn text_or_mark(&mut self, value: &Bound<'py, PyAny>, text: &Bound<'py, PyString>) -> Written<'py> {
        let (kind, bytes) = text_bytes(text).ok_or(NoTree::LoneSurrogate)?;
        if self.is_written_before(value, bytes.len())? {
            return Ok(());
        }
        self.text_of_kind(kind, bytes)
    }

    pub(super) fn text(&mut self, text: &Bound<'py, PyString>) -> Written<'py> {
        let (kind, bytes) = text_bytes(text).ok_or(NoTree::LoneSurrogate)?;
        self.text_of_kind(kind, bytes)
    }

    #[inline]
    fn text_of_kind(&mut self, kind: u8, bytes: &[u8]) -> Written<'py> {
        match (kind, u8::try_from(bytes.len())) {
            (kinds::ASCII, Ok(len)) if len < SHORT_ASCII => {
                self.out.byte(SHORT_ASCII | len)?;
                Ok(self.out.bytes(bytes)?)
            }
            (kinds::ASCII, _) => self.bytes(ASCII, bytes),
            (kinds::LATIN_1, _) => self.bytes(LATIN_1, bytes),
            _ => self.bytes(UTF_8, bytes),
        }
    }

    /// Writes bytes with their length.
    pub(super) fn bytes(&mut self, tag: u8, bytes: &[u8]) -> Written<'py> {
        self.count(tag, bytes.len())?;
        Ok(self.out.bytes(bytes)?)
    }

    /// Writes a reference to a long text or `bytes` and returns true if it occurred before, else its mark if it needs one.
    #[inline]
    fn is_written_before(&mut self, value: &Bound<'py, PyAny>, len: usize) -> Result<bool, Failure<'py>> {
        if len < LONG || self.is_key {
            return Ok(false);
        }
        self.is_again(value)
    }

    /// Writes a reference to an object and returns true if it occurred before, else its mark if it needs one.
    pub(super) fn is_again(&mut self, value: &Bound<'py, PyAny>) -> Result<bool, Failure<'py>> {
        match self.occurrence(value)? {
            Rest::Nothing => return Ok(true),
            Rest::Object => {}
            Rest::Marked(mark) => self.marks.complete(mark),
        }
        Ok(false)
    }
}
