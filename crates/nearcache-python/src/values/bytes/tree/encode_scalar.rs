//! Writing numbers, and the values of library types.

use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyComplex, PyDate, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyInt,
    PyString, PyTime, PyTimeAccess, PyTuple, PyTzInfoAccess,
};

use super::super::large_int;
use super::encode::{Encoder, NoTree, Written};
use super::format::{
    BYTEARRAY, COMPLEX, DATE, DATETIME, DATETIME_IN_ZONE, DECIMAL, FOLD, INT_8, INT_16, INT_32, INT_64,
    LARGE_INT, NAMED_OFFSET, OFFSET, SAFE, SMALL_INT, TIME, TIME_IN_ZONE, TIMEDELTA, UTC, UUID, ZONE_INFO,
};
use super::types::Types;
use crate::objects::interned;

impl<'py> Encoder<'py> {
    pub(super) fn int(&mut self, number: &Bound<'py, PyInt>) -> Written<'py> {
        let Ok(small) = number.extract::<i64>() else {
            let bytes = large_int::to_bytes(number)?;
            return self.bytes(LARGE_INT, bytes.as_bytes());
        };
        if let Ok(byte @ 0..SMALL_INT) = u8::try_from(small) {
            return Ok(self.out.byte(SMALL_INT | byte)?);
        }
        let written = if let Ok(number) = i8::try_from(small) {
            self.out.tagged(INT_8, number.to_le_bytes())
        } else if let Ok(number) = i16::try_from(small) {
            self.out.tagged(INT_16, number.to_le_bytes())
        } else if let Ok(number) = i32::try_from(small) {
            self.out.tagged(INT_32, number.to_le_bytes())
        } else {
            self.out.tagged(INT_64, small.to_le_bytes())
        };
        Ok(written?)
    }

    /// Writes a value of a type that is less frequent.
    pub(super) fn rare(&mut self, value: &Bound<'py, PyAny>) -> Written<'py> {
        if let Ok(moment) = value.cast_exact::<PyDateTime>() {
            self.moment(moment)
        } else if let Ok(date) = value.cast_exact::<PyDate>() {
            self.out.byte(DATE)?;
            self.date(date)
        } else if let Ok(time) = value.cast_exact::<PyTime>() {
            let zone = time.get_tzinfo();
            self.out.byte(if zone.is_some() { TIME_IN_ZONE } else { TIME })?;
            self.time(time)?;
            zone.map_or(Ok(()), |zone| self.zone(&zone))
        } else if let Ok(delta) = value.cast_exact::<PyDelta>() {
            self.out.byte(TIMEDELTA)?;
            self.delta(delta)
        } else if let Ok(number) = value.cast_exact::<PyComplex>() {
            self.out.tagged(COMPLEX, number.real().to_le_bytes())?;
            Ok(self.out.bytes(&number.imag().to_le_bytes())?)
        } else if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            self.byte_array(bytes)
        } else {
            self.library(value)
        }
    }

    fn byte_array(&mut self, bytes: &Bound<'py, PyByteArray>) -> Written<'py> {
        if self.is_key {
            return Err(NoTree::Type(bytes.get_type()).into());
        }
        if self.is_again(bytes)? {
            return Ok(());
        }
        // Copied, because another thread or a finalizer may resize it.
        let copy = self.py.get_type::<PyBytes>().call1((bytes,))?;
        let copy = copy.cast_into::<PyBytes>().map_err(PyErr::from)?;
        self.bytes(BYTEARRAY, copy.as_bytes())
    }

    fn library(&mut self, value: &Bound<'py, PyAny>) -> Written<'py> {
        let (types, class) = (Types::get(self.py)?, value.get_type());
        let is = |known: &Py<_>| class.is(known.bind(value.py()));
        if is(&types.decimal) {
            let text = value.str()?;
            return self.bytes(DECIMAL, text.to_str()?.as_bytes());
        }
        if is(&types.uuid) {
            return self.uuid(value, types);
        }
        if is(&types.safe_string) {
            self.out.byte(SAFE)?;
            return self.text(value.cast::<PyString>().map_err(PyErr::from)?);
        }
        self.zone(value)
    }

    fn uuid(&mut self, value: &Bound<'py, PyAny>, types: &Types) -> Written<'py> {
        let number = value.getattr(interned!(self.py, "int")?)?;
        let bytes = number.call_method1(interned!(self.py, "to_bytes")?, (16, interned!(self.py, "big")?))?;
        let safety = value.getattr(interned!(self.py, "is_safe")?)?;
        let safety = (0..)
            .zip(&types.safeties)
            .find(|(_, known)| safety.is(known.bind(self.py)));
        let Some((safety, _)) = safety else {
            return Err(NoTree::Type(value.get_type()).into());
        };
        self.out.tagged(UUID, [safety])?;
        let bytes = bytes.cast_into::<PyBytes>().map_err(PyErr::from)?;
        Ok(self.out.bytes(bytes.as_bytes())?)
    }

    fn moment(&mut self, moment: &Bound<'py, PyDateTime>) -> Written<'py> {
        let zone = moment.get_tzinfo();
        self.out.byte(if zone.is_some() {
            DATETIME_IN_ZONE
        } else {
            DATETIME
        })?;
        self.date(moment)?;
        self.time(moment)?;
        zone.map_or(Ok(()), |zone| self.zone(&zone))
    }

    fn date(&mut self, date: &impl PyDateAccess) -> Written<'py> {
        let [low, high, ..] = date.get_year().to_le_bytes();
        Ok(self.out.bytes(&[low, high, date.get_month(), date.get_day()])?)
    }

    fn time(&mut self, time: &impl PyTimeAccess) -> Written<'py> {
        let fold = if time.get_fold() { FOLD } else { 0 };
        let [low, middle, high, _] = (time.get_microsecond() | fold).to_le_bytes();
        let (hour, minute, second) = (time.get_hour(), time.get_minute(), time.get_second());
        Ok(self.out.bytes(&[hour, minute, second, low, middle, high])?)
    }

    fn delta(&mut self, delta: &Bound<'py, PyDelta>) -> Written<'py> {
        self.out.bytes(&delta.get_days().to_le_bytes())?;
        self.out.bytes(&delta.get_seconds().to_le_bytes()[..3])?;
        Ok(self.out.bytes(&delta.get_microseconds().to_le_bytes()[..3])?)
    }

    /// Writes a zone that cannot change. Others, of a project or of pytz, are not part of a tree.
    fn zone(&mut self, zone: &Bound<'py, PyAny>) -> Written<'py> {
        let (types, class) = (Types::get(self.py)?, zone.get_type());
        if zone.is(types.utc.bind(self.py)) {
            return Ok(self.out.byte(UTC)?);
        }
        let is_offset = class.is(types.timezone.bind(self.py));
        if !is_offset && !class.is(types.zone_info.bind(self.py)) {
            return Err(NoTree::Type(class).into());
        }
        if !self.is_key && self.is_again(zone)? {
            return Ok(());
        }
        if is_offset {
            self.offset(zone)
        } else {
            self.zone_info(zone)
        }
    }

    fn offset(&mut self, zone: &Bound<'py, PyAny>) -> Written<'py> {
        let arguments = zone.call_method0(interned!(self.py, "__getinitargs__")?)?;
        let arguments = arguments.cast_into::<PyTuple>().map_err(PyErr::from)?;
        let delta = arguments
            .get_item(0)?
            .cast_into::<PyDelta>()
            .map_err(PyErr::from)?;
        let name = (arguments.len() > 1).then(|| arguments.get_item(1)).transpose()?;
        self.out
            .byte(if name.is_some() { NAMED_OFFSET } else { OFFSET })?;
        self.delta(&delta)?;
        match name {
            Some(name) => self.text(
                name.cast_exact::<PyString>()
                    .map_err(|_| NoTree::Type(name.get_type()))?,
            ),
            None => Ok(()),
        }
    }

    /// Writes a `ZoneInfo` that is found by its key.
    fn zone_info(&mut self, zone: &Bound<'py, PyAny>) -> Written<'py> {
        let other = || NoTree::Type(zone.get_type());
        // `ZoneInfo._unpickle`, and its arguments: the key, and whether zones of that key are one object. One that was read
        // from a file raises.
        let reduced = zone
            .call_method0(interned!(self.py, "__reduce__")?)
            .map_err(|_| other())?;
        let arguments = reduced.get_item(1)?.cast_into::<PyTuple>().map_err(|_| other())?;
        if !arguments.get_item(1)?.is_truthy()? {
            return Err(other().into());
        }
        let key = arguments.get_item(0)?;
        self.out.byte(ZONE_INFO)?;
        self.text(key.cast_exact::<PyString>().map_err(|_| other())?)
    }
}
