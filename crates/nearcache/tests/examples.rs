//! The programs in `examples/` run to their end.
#![allow(clippy::unwrap_used)] // in helper functions, as in tests

use std::process::Command;

fn run(example: &str) {
    let status = Command::new(env!("CARGO"))
        .args([
            "run",
            "--quiet",
            "--locked",
            "-p",
            "nearcache",
            "--example",
            example,
        ])
        .status()
        .unwrap();
    assert!(status.success(), "{example}: {status}");
}

#[test]
fn memoise_runs() {
    run("memoise");
}

#[test]
fn rate_limit_runs() {
    run("rate_limit");
}

#[test]
fn shared_runs() {
    run("shared");
}
