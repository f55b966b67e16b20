//! Texts as bytes: one byte for each character where `CPython` stores them so, else UTF-8.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::kinds::{ASCII, LATIN_1, UTF_8};
use crate::strings::{is_ascii, one_byte_characters};

/// Returns a text's kind and bytes; `None` if it has lone surrogates.
#[inline]
pub(super) fn text_bytes<'a>(text: &'a Bound<'_, PyString>) -> Option<(u8, &'a [u8])> {
    match one_byte_characters(text) {
        // The str itself knows whether it is ASCII, but from Python 3.14 on only a macro of C can ask it.
        Some(bytes) => Some((if is_ascii(bytes) { ASCII } else { LATIN_1 }, bytes)),
        None => text.to_str().ok().map(|text| (UTF_8, text.as_bytes())),
    }
}
