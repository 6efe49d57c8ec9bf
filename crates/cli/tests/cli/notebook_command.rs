//! `kernelscope notebook` without its kernel: what is passed on to it, its exit code, and mistakes. The kernel itself is
//! tested with `cargo xtask notebooks`.
#![cfg(unix)]

use assert_cmd::Command;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A program in the kernel's place: it prints its arguments and ends with this code.
fn kernel(folder: &Path, code: u8) -> std::path::PathBuf {
    let path = folder.join("kernel");
    std::fs::write(&path, format!("#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit {code}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn command(folder: &Path, code: u8, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
    command.current_dir(folder).env("KERNELSCOPE_KERNEL", kernel(folder, code)).arg("notebook").args(args);
    command
}

fn output(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn notebooks_are_passed_on_and_the_exit_code_is_the_kernels() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.ipynb", "b c.ipynb"] {
        std::fs::write(folder.path().join(name), "{}").unwrap();
    }
    let failed = command(folder.path(), 7, &["exec", "--check", "a.ipynb", "b c.ipynb"]).assert().code(7);
    assert_eq!(output(&failed), "exec\n--check\na.ipynb\nb c.ipynb\n");
    let done = command(folder.path(), 0, &["install", "--prefix", "venv"]).assert().success();
    assert_eq!(output(&done), "install\n--prefix\nvenv\n");
}

#[test]
fn a_missing_notebook_and_a_missing_source_tree_are_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = command(folder.path(), 0, &["exec", "missing.ipynb"]).assert().code(1);
    let stderr = String::from_utf8(missing.get_output().stderr.clone()).unwrap();
    assert!(stderr.starts_with("kernelscope: cannot read missing.ipynb") && stderr.lines().count() == 1, "{stderr}");
    let elsewhere = command(folder.path(), 0, &["setup"]).env("KERNELSCOPE_SOURCE", folder.path()).assert().code(1);
    let stderr = String::from_utf8(elsewhere.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("is not kernelscope's source tree") && stderr.lines().count() == 1, "{stderr}");
}
