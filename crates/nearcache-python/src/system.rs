//! Safe forms of single calls of the C library and of Python that take no objects.
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;

/// Returns whether the current interpreter is the main one.
pub(crate) fn is_main_interpreter(_: Python<'_>) -> bool {
    // SAFETY: the thread is attached, as `Python` proves, so there is a current interpreter. The pointers are only
    // compared.
    unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() }
}

/// Returns free memory from the heap to the system.
///
/// glibc does so by itself only at the heap's end, where one small chunk in a cache of free chunks keeps everything before
/// it.
pub(crate) fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function has no preconditions; glibc takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Returns milliseconds of a clock that only goes forward, as of the system's last tick. Costs a few nanoseconds.
#[cfg(shared)]
#[inline]
pub(crate) fn coarse_millis() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is negative: the clock starts at 0 when the system does.
    time.tv_sec.cast_unsigned() * 1000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

/// Returns the user that this process acts as.
#[cfg(shared)]
pub(crate) fn effective_user() -> u32 {
    // SAFETY: the function has no preconditions and always succeeds (POSIX).
    unsafe { libc::geteuid() }
}

/// Registers functions that run in the forking thread just before a `fork`, and just after it in parent and child.
///
/// Returns the error number, or 0.
#[cfg(unix)]
pub(crate) fn register_fork_handlers(before: extern "C" fn(), after: extern "C" fn()) -> i32 {
    // SAFETY: both are functions of this module, whose code has to stay mapped until the process ends. It does: `CPython`
    // never unloads an extension module (`Python/dynload_shlib.c` has no `dlclose`). They take no arguments, as the C
    // library calls them.
    unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) }
}
