//! The viewer's executable. Everything it does is in the library.

/// Networks allocate and free feature maps all the time; the system's allocator clears fresh pages again and again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kernelscope_viewer::cli::run()
}
