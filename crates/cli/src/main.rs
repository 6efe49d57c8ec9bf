//! The `kernelscope` command, with the networks of this project.

use kernelscope::zoo::Registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    kernelscope_cli::main(Registry::builtin())
}
