//! `pickle.PickleBuffer`, by which numpy arrays and others hand out their memory (PEP 574, 2018).

use pyo3::prelude::*;

use super::flat::Flat;
use super::node::Node;
use super::recorder::Recorder;
use super::stop::Stop;
use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{bytes_of, interned, text};
use crate::values::sizes::bytes_size;

impl<'py> Recorder<'py> {
    /// Records the memory of a `PickleBuffer` as pickle does without a callback: as a `bytes` if it is read-only, else as a
    /// `bytearray`.
    pub(super) fn pickle_buffer(&mut self, buffer: &Bound<'py, PyAny>) -> Result<(), Stop> {
        let py = buffer.py();
        // It fails if the memory is not contiguous. Pickle words the error.
        let Ok(memory) = buffer.call_method0(interned!(py, "raw")?) else {
            return Err(Stop::Unsupported);
        };
        let is_read_only = memory.getattr(interned!(py, "readonly")?)?.is_truthy()?;
        let content = bytes_of(&memory)?;
        let position = self.open_before_parts(buffer)?;
        self.size += bytes_size(content.as_bytes().len());
        let node = if is_read_only {
            Node::Shared(content.into_any().unbind())
        } else {
            Node::Flat(Flat::new(content))
        };
        self.close(position, node);
        Ok(())
    }
}

/// Returns whether an object is exactly a `PickleBuffer`.
pub(super) fn is_pickle_buffer(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASS: NonblockingOnce<Py<PyAny>> = NonblockingOnce::new();
    let py = value.py();
    let import = || {
        Ok(py
            .import(text(py, "pickle")?)?
            .getattr(text(py, "PickleBuffer")?)?
            .unbind())
    };
    Ok(value.get_type().is(CLASS.get_or_make(import)?.bind(py)))
}
