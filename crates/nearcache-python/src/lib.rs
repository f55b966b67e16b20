//! `nearcache._core`: the part of the Python package that is written in Rust.
//!
//! Policies and storage are the engine's (crate `nearcache`); this crate adds Django's keys and timeouts, Python's values
//! and the methods. Its modules form layers. Each imports only from those below it, which `tests/project/test_layers.py` checks:
//!
//! | layer | modules |
//! |---|---|
//! | the class that Python sees, and the part of it that only a backend with a remote tier has | `backend`, `tiered_backend` |
//! | what a method does | `operations`, `scan` |
//! | one call of a method on an open cache | `open_cache` |
//! | where entries are kept: this process, a file shared by all, or a server with copies in one of these | `store` |
//! | the instance, its clock and its settings during a call | `context` |
//! | what an instance's attributes say | `settings` |
//! | stored keys, and patterns of keys; expiry times; values that never alias a caller's | `keys`, `glob`, `expiry`, `values` |
//! | reading arguments and attributes | `clock`, `instance`, `numbers`, `arguments` |
//! | Python and memory without aborts and panics | `panics`, `errors`, `django`, `classes`, `objects`, `strings`, `memory`, `nonblocking_once`, `random`, `system` |
//!
//! Beside them: `proxy` finds Django's `cache` and `caches` faster, `files` inspects cache files from outside,
//! `interpreter` refuses subinterpreters.
//!
//! The module does not need the GIL: shared state is guarded by locks of its own, and none of them is held while Python
//! code can run.

mod arguments;
mod backend;
mod classes;
mod clock;
mod context;
mod django;
mod errors;
mod expiry;
#[cfg(shared)]
mod files;
mod glob;
mod instance;
mod interpreter;
mod keys;
mod memory;
mod nonblocking_once;
mod numbers;
mod objects;
mod open_cache;
mod operations;
mod panics;
mod proxy;
mod random;
mod scan;
mod settings;
mod store;
mod strings;
mod system;
#[cfg(unix)]
mod tiered_backend;
mod values;

use pyo3::prelude::*;

/// nearcache's engine for Python.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // First, so that no object of a subinterpreter is ever kept.
    interpreter::require_main(module.py())?;
    panics::make_panics_runtime_errors(module.py())?;
    store::registry::register_fork_handlers()?;
    module.add_class::<backend::Backend>()?;
    #[cfg(unix)]
    {
        module.add_class::<tiered_backend::TieredBackend>()?;
        module.add_class::<store::Completions>()?;
        module.add_class::<store::Pending>()?;
        module.add_class::<store::RemoteStats>()?;
        module.add_function(wrap_pyfunction!(store::stop_listeners, module)?)?;
    }
    values::initialize(module.py());
    module.add_class::<scan::KeyIterator>()?;
    module.add_class::<store::Stats>()?;
    module.add_class::<store::Flight>()?;
    module.add_class::<store::FlightWait>()?;
    module.add_function(wrap_pyfunction!(proxy::fast_types, module)?)?;
    #[cfg(shared)]
    {
        module.add_function(wrap_pyfunction!(files::inspect_file, module)?)?;
        module.add_function(wrap_pyfunction!(files::remove_unused_file, module)?)?;
        module.add_function(wrap_pyfunction!(values::bytes::testing::encode_tree, module)?)?;
        module.add_function(wrap_pyfunction!(values::bytes::testing::decode_tree, module)?)?;
    }
    module.add_function(wrap_pyfunction!(numbers::real_number, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
