//! `nearcache._core`: what the Python package does in Rust.
//!
//! - `backend`: the backends' methods; `call` is one call of one, `attributes` the assignment to attributes;
//! - `control`: what is done to an entry that is there already: its time, and its life as a lock;
//! - `scan`, `glob`: finding keys by patterns;
//! - `settings`, `keys`, `expiry`: what a backend instance says of its keys, limits and times;
//! - `values`: how Python values are kept so that none is shared with a caller;
//! - `fallible`, `panics`: memory that runs short and bugs, as Python's exceptions;
//! - `interpreter`: which Python interpreter may import the module;
//! - `proxy`: what finds Django's `cache` and `caches`;
//! - `files`: cache files seen from outside, their removal;
//! - `store`: where entries are kept, in this process or in a file that all share; which are open, and what `fork` does.
//!
//! Policies and storage are the engine's (crate `nearcache`).
//!
//! The module does not need the GIL: what is shared is guarded by locks of its own, none of which is held while Python
//! code can run.

mod arguments;
mod attributes;
mod backend;
mod call;
mod control;
mod expiry;
mod fallible;
#[cfg(shared)]
mod files;
mod glob;
mod imported;
mod interpreter;
mod keys;
mod panics;
mod proxy;
mod scan;
mod settings;
mod stats;
mod store;
mod values;
mod whole_number;

use pyo3::prelude::*;

/// nearcache's engine for Python.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // First, so that nothing of a subinterpreter is ever kept.
    interpreter::require_main(module.py())?;
    panics::tame(module.py())?;
    store::registry::survive_fork()?;
    module.add_class::<backend::Backend>()?;
    module.add_class::<scan::KeyIterator>()?;
    module.add_class::<stats::Stats>()?;
    module.add_function(wrap_pyfunction!(proxy::fast_types, module)?)?;
    #[cfg(shared)]
    {
        module.add_function(wrap_pyfunction!(files::inspect_file, module)?)?;
        module.add_function(wrap_pyfunction!(files::remove_unused_file, module)?)?;
    }
    module.add_function(wrap_pyfunction!(expiry::real_number, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
