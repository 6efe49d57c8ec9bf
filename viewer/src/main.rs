//! The viewer's executable. Everything it does is in the library.

/// Networks allocate and free feature maps all the time, and the system's allocator would clear new pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kernelscope_viewer::cli::run()
}
