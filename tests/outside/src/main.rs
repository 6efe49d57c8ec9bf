//! The whole command, for the network of this crate too.

use kernelscope::zoo::{Entry, Registry};
use outside::RingConfig;
use std::process::ExitCode;

fn main() -> ExitCode {
    let registry = Registry::builtin().with(Entry::new("ring", RingConfig::default));
    kernelscope_cli::App::new(registry).with_viewer(kernelscope_viewer::run).run()
}
