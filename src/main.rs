//! The `kernelscope` command. Everything it does is in the library.

use std::process::ExitCode;

/// Feature maps are allocated and freed all the time; the system's allocator gives each back to the kernel and pays for
/// fresh pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kernelscope::cli::run()
}
