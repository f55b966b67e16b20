//! Sets the `cfg`s of the interpreter (such as `Py_GIL_DISABLED`), and `shared` on platforms that have shared caches.

use std::env::var;

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo::rustc-check-cfg=cfg(shared)");
    let target = |name| var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") == "linux" && target("POINTER_WIDTH") == "64" {
        println!("cargo::rustc-cfg=shared");
    }
}
