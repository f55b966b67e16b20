//! From the bytes of a tree to Python objects.

use std::vec::Drain;

use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDate, PyDateTime, PyDelta, PyDict, PyList, PySet, PyString, PyTime, PyType, PyTzInfo,
};

use super::super::large_int;
use super::builder::{Builder, Date, Delta, Encoding, Scalar, Text, Time};
use super::parser::parse;
use super::reader::{self, ParseError};
use super::types::Types;
use crate::memory::no_memory;
use crate::objects::{self, interned};
use crate::strings::one_byte_text;

/// Why there is no object.
pub(crate) enum BuildError {
    /// The bytes are not a tree.
    Malformed,
    /// What Python raised over them, or a `MemoryError`.
    Raised(PyErr),
}

/// Builds the object of a tree.
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> Result<Bound<'py, PyAny>, BuildError> {
    let mut builder = PythonBuilder { py, raised: None };
    parse(bytes, &mut builder).map_err(|error| match (error, builder.raised) {
        (ParseError::Malformed, _) | (ParseError::Refused, None) => BuildError::Malformed,
        (ParseError::Refused, Some(raised)) => BuildError::Raised(raised),
        (ParseError::OutOfMemory, _) => BuildError::Raised(no_memory(error)),
    })
}

struct PythonBuilder<'py> {
    py: Python<'py>,
    /// Why an object was refused.
    raised: Option<PyErr>,
}

type Built<'py> = reader::Result<Bound<'py, PyAny>>;

impl PythonBuilder<'_> {
    /// Keeps the exception of a failure.
    #[inline]
    fn made<T>(&mut self, result: PyResult<T>) -> reader::Result<T> {
        result.map_err(|raised| self.refused(raised))
    }

    #[cold]
    fn refused(&mut self, raised: PyErr) -> ParseError {
        self.raised = Some(raised);
        ParseError::Refused
    }
}

impl<'py> Builder for PythonBuilder<'py> {
    type Object = Bound<'py, PyAny>;

    #[inline]
    fn text(&mut self, text: Text<'_>) -> Built<'py> {
        let made = new_text(self.py, text);
        self.made(made)?.map(Bound::into_any).ok_or(ParseError::Malformed)
    }

    #[inline]
    fn int(&mut self, number: i64) -> Built<'py> {
        let made = objects::int(self.py, number);
        self.made(made).map(Bound::into_any)
    }

    fn scalar(&mut self, scalar: Scalar<'_, Self::Object>) -> Built<'py> {
        let py = self.py;
        let made = match scalar {
            Scalar::None => return Ok(py.None().into_bound(py)),
            Scalar::Bool(truth) => return Ok(PyBool::new(py, truth).to_owned().into_any()),
            Scalar::Float(number) => objects::float(py, number).map(|made| Some(made.into_any())),
            rare => new_scalar(py, rare),
        };
        self.made(made)?.ok_or(ParseError::Malformed)
    }

    fn list(&mut self) -> Built<'py> {
        let made = objects::list(self.py);
        self.made(made).map(Bound::into_any)
    }

    fn append(&mut self, list: &Self::Object, item: Self::Object) -> reader::Result<()> {
        let list = list.cast::<PyList>().map_err(|_| ParseError::Malformed)?;
        self.made(list.append(item))
    }

    fn list_of(&mut self, items: Drain<'_, Self::Object>) -> Built<'py> {
        let made = objects::list_of(self.py, items);
        self.made(made).map(Bound::into_any)
    }

    fn tuple(&mut self, items: Drain<'_, Self::Object>) -> Built<'py> {
        let made = objects::tuple_of(self.py, items);
        self.made(made).map(Bound::into_any)
    }

    fn set(&mut self) -> Built<'py> {
        let made = PySet::empty(self.py);
        self.made(made).map(Bound::into_any)
    }

    #[inline]
    fn add(&mut self, set: &Self::Object, item: Self::Object) -> reader::Result<()> {
        let set = set.cast::<PySet>().map_err(|_| ParseError::Malformed)?;
        self.made(objects::add_item(set, &item))
    }

    fn frozenset(&mut self, items: Drain<'_, Self::Object>) -> Built<'py> {
        let len = items.len();
        let made = objects::tuple_of(self.py, items).and_then(|items| objects::frozen_set(items.as_any()));
        let set = self.made(made)?;
        if set.len() == len {
            Ok(set.into_any())
        } else {
            Err(ParseError::Malformed)
        }
    }

    fn dict(&mut self) -> Built<'py> {
        let made = objects::dict(self.py);
        self.made(made).map(Bound::into_any)
    }

    #[inline]
    fn insert(&mut self, dict: &Self::Object, key: &Self::Object, value: Self::Object) -> reader::Result<()> {
        let dict = dict.cast::<PyDict>().map_err(|_| ParseError::Malformed)?;
        self.made(objects::set_item(dict, key, &value))
    }

    fn has_len(&mut self, container: &Self::Object, len: usize) -> reader::Result<bool> {
        self.made(container.len()).map(|found| found == len)
    }

    fn template(&mut self, names: &[Self::Object]) -> Built<'py> {
        let made = objects::dict(self.py).and_then(|dict| {
            let none = self.py.None();
            names.iter().try_for_each(|name| dict.set_item(name, &none))?;
            Ok(dict)
        });
        self.made(made).map(Bound::into_any)
    }

    fn copy(&mut self, template: &Self::Object) -> Built<'py> {
        let template = template.cast::<PyDict>().map_err(|_| ParseError::Malformed)?;
        self.made(template.copy()).map(Bound::into_any)
    }
}

/// Returns a `str`; `None` if the bytes are not in the encoding.
#[inline]
fn new_text<'py>(py: Python<'py>, text: Text<'_>) -> PyResult<Option<Bound<'py, PyString>>> {
    match text.encoding {
        Encoding::Ascii => one_byte_text(py, text.bytes, true),
        Encoding::Latin1 => one_byte_text(py, text.bytes, false),
        Encoding::Utf8 => utf_8(py, text.bytes),
    }
}

fn utf_8<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Option<Bound<'py, PyString>>> {
    let text = std::str::from_utf8(bytes).ok();
    text.map(|text| objects::text(py, text)).transpose()
}

/// Returns an object; `None` if the bytes mean nothing.
fn new_scalar<'py>(
    py: Python<'py>,
    scalar: Scalar<'_, Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let types = Types::get(py)?;
    let made = match scalar {
        Scalar::LargeInt(bytes) => large_int::from_bytes(py, bytes)?,
        Scalar::Complex(real, imaginary) => objects::complex(py, real, imaginary)?,
        Scalar::Bytes(bytes) => objects::bytes(py, bytes)?.into_any(),
        Scalar::ByteArray(bytes) => objects::byte_array(py, bytes)?,
        Scalar::Safe(text) => return called_with_text(types.safe_string.bind(py), new_text(py, text)?),
        Scalar::Decimal(text) => return called_with_text(types.decimal.bind(py), utf_8(py, text)?),
        Scalar::ZoneInfo(key) => return called_with_text(types.zone_info.bind(py), new_text(py, key)?),
        Scalar::Uuid { safety, bytes } => return uuid(types, safety, &objects::bytes(py, &bytes)?),
        Scalar::Date(date) => PyDate::new(py, date.year.into(), date.month, date.day)?.into_any(),
        Scalar::Time(time, zone) => new_time(py, time, zone.as_ref())?,
        Scalar::DateTime(date, time, zone) => new_moment(py, date, time, zone.as_ref())?,
        Scalar::Delta(delta) => new_delta(py, delta)?.into_any(),
        Scalar::Utc => types.utc.bind(py).clone(),
        Scalar::Offset(offset, None) => types.timezone.bind(py).call1((new_delta(py, offset)?,))?,
        Scalar::Offset(offset, Some(name)) => {
            let Some(name) = new_text(py, name)? else {
                return Ok(None);
            };
            types.timezone.bind(py).call1((new_delta(py, offset)?, name))?
        }
        Scalar::None | Scalar::Bool(_) | Scalar::Float(_) => return Ok(None),
    };
    Ok(Some(made))
}

fn called_with_text<'py>(
    class: &Bound<'py, PyType>,
    text: Option<Bound<'py, PyString>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    text.map(|text| class.call1((text,))).transpose()
}

/// Makes a `UUID` as unpickling does, without its slow `__init__`.
fn uuid<'py>(types: &Types, safety: u8, bytes: &Bound<'py, PyBytes>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = bytes.py();
    let Some(safety) = types.safeties.get(usize::from(safety)) else {
        return Ok(None);
    };
    let uuid = types.new_object.bind(py).call1((types.uuid.bind(py),))?;
    let number = types
        .int_from_bytes
        .bind(py)
        .call1((bytes, interned!(py, "big")?))?;
    objects::set_own_attribute(&uuid, interned!(py, "int")?, Some(&number))?;
    objects::set_own_attribute(&uuid, interned!(py, "is_safe")?, Some(safety.bind(py)))?;
    Ok(Some(uuid))
}

fn new_delta(py: Python<'_>, delta: Delta) -> PyResult<Bound<'_, PyDelta>> {
    // The parser has checked them, so both conversions succeed.
    PyDelta::new(
        py,
        delta.days,
        delta.seconds.try_into()?,
        delta.micros.try_into()?,
        false,
    )
}

fn new_time<'py>(
    py: Python<'py>,
    time: Time,
    zone: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let zone = zone.map(|zone| zone.cast::<PyTzInfo>()).transpose()?;
    let Time {
        hour,
        minute,
        second,
        micro,
        fold,
    } = time;
    Ok(PyTime::new_with_fold(py, hour, minute, second, micro, zone, fold)?.into_any())
}

fn new_moment<'py>(
    py: Python<'py>,
    Date { year, month, day }: Date,
    time: Time,
    zone: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let zone = zone.map(|zone| zone.cast::<PyTzInfo>()).transpose()?;
    let Time {
        hour,
        minute,
        second,
        micro,
        fold,
    } = time;
    let year = year.into();
    Ok(PyDateTime::new_with_fold(py, year, month, day, hour, minute, second, micro, zone, fold)?.into_any())
}
