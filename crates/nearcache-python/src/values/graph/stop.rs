//! Why a value is not recorded.

use pyo3::PyErr;

/// Why a value is not recorded.
pub(crate) enum Stop {
    /// It has to be pickled.
    Unsupported,
    /// A function of the program raised an exception, or there is no memory.
    Raised(PyErr),
}

impl From<PyErr> for Stop {
    fn from(raised: PyErr) -> Self {
        Self::Raised(raised)
    }
}
