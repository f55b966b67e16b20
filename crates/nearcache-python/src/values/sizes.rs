//! The memory that Python's objects take, in bytes, as `CPython` on 64 bits allocates it.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::strings::characters_size;

/// What the garbage collector puts in front of a container.
const GC_HEADER: u64 = 16;
const POINTER: u64 = 8;
/// A `str` in ASCII, with the zero at its end.
const ASCII_HEADER: u64 = if cfg!(Py_3_12) { 41 } else { 49 };
/// What a `str` takes beyond that if it is not in ASCII, but for its characters.
const NOT_ASCII: u64 = 24;
const BYTES_HEADER: u64 = 33;
const LIST: u64 = block(GC_HEADER + 40);
const TUPLE_HEADER: u64 = GC_HEADER + 24;
const SET: u64 = block(GC_HEADER + 200);
const DICT_OBJECT: u64 = 48;
const DICT: u64 = block(GC_HEADER + DICT_OBJECT);
/// The header of a table of keys. Since 3.11 tables whose keys are all `str` contain no hashes.
const KEYS_HEADER: u64 = if cfg!(Py_3_11) { 32 } else { 40 };
const NAMED_ITEM: u64 = if cfg!(Py_3_11) { 16 } else { 24 };
const ITEM: u64 = 24;
/// Before an array of attributes that share their names with those of other instances.
const ATTRIBUTES_HEADER: u64 = 8;

/// Returns what an allocation takes. `CPython` rounds small ones up to 16 bytes, and has malloc make the others.
pub(super) const fn block(size: u64) -> u64 {
    match size {
        0..=512 => size.next_multiple_of(16),
        _ => malloc_block(size),
    }
}

/// Returns what an allocation by malloc takes.
pub(super) const fn malloc_block(size: u64) -> u64 {
    if size == 0 {
        0
    } else {
        (size + 8).next_multiple_of(16)
    }
}

pub(super) fn str_size(text: &Bound<'_, PyString>) -> u64 {
    let characters = characters_size(text);
    let is_wide = characters > text.len().unwrap_or(0) as u64;
    block(ASCII_HEADER + characters + if is_wide { NOT_ASCII } else { 0 })
}

pub(super) const fn bytes_size(len: usize) -> u64 {
    block(BYTES_HEADER + len as u64)
}

pub(super) const fn list_size(len: usize) -> u64 {
    LIST + block(POINTER * len as u64)
}

pub(super) const fn tuple_size(len: usize) -> u64 {
    block(TUPLE_HEADER + POINTER * len as u64)
}

/// Returns the memory of a set. Up to four members are in the object itself.
pub(super) const fn set_size(len: usize) -> u64 {
    match len as u64 {
        0..=4 => SET,
        len => SET + block((2 * len + 1).next_power_of_two() * 16),
    }
}

/// Returns the memory of a dict. `has_names` is whether all keys are `str`.
pub(super) const fn dict_size(len: usize, has_names: bool) -> u64 {
    let len = len as u64;
    if len == 0 {
        return DICT;
    }
    let slots = if len <= 5 {
        8
    } else {
        (len * 3).div_ceil(2).next_power_of_two()
    };
    let slot = match slots {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    let item = if has_names { NAMED_ITEM } else { ITEM };
    DICT + block(KEYS_HEADER + slots * slot + slots * 2 / 3 * item)
}

/// Returns the memory of a dict of attributes, which has a size by its `__sizeof__`.
pub(super) const fn attributes_size(sizeof: u64) -> u64 {
    let table = sizeof.saturating_sub(DICT_OBJECT);
    if table == 0 {
        DICT
    } else {
        DICT + block(ATTRIBUTES_HEADER + table)
    }
}
