//! Pickling, by Python's own `pickle`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::arguments::Any;
use crate::nonblocking_once::NonblockingOnce;
use crate::objects::{interned, text};

/// The highest protocol of every supported Python. With it, objects are asked how they are pickled.
pub(crate) const PROTOCOL: i32 = 5;

/// Pickles a value. `protocol` is pickle's own default if `None`. Fails with what pickling raises.
pub(crate) fn dumps<'py>(value: Any<'_, 'py>, protocol: Option<i32>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let pickled = function(py, interned!(py, "dumps")?)?.call1((value, protocol))?;
    Ok(pickled.cast_into()?)
}

/// Unpickles a `bytes`. Fails with what unpickling raises.
pub(crate) fn loads<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = bytes.py();
    function(py, interned!(py, "loads")?)?.call1((bytes,))
}

/// Looks up a function of `pickle` each time, so that tests can replace it.
fn function<'py>(py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    static PICKLE: NonblockingOnce<Py<PyModule>> = NonblockingOnce::new();
    let module = PICKLE.get_or_make(|| py.import(text(py, "pickle")?).map(Bound::unbind))?;
    module.bind(py).getattr(name)
}
