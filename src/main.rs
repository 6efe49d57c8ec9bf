//! The `kernelscope` command. Everything it does is in the library.

use std::process::ExitCode;

/// Feature maps are allocated and freed all the time; the system's allocator gives each back to the kernel and pays for
/// fresh pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the bindings do not name: milliseconds until freed pages go back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Freed pages are kept from one step of a network to the next. Otherwise the system clears them again and again, which
/// takes a fifth of the time of large networks.
const KEEP_MS: std::ffi::c_long = 10_000;

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet, and the option exists. A value from the environment has precedence.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEEP_MS) };
    kernelscope::cli::run()
}
