//! What tests need of the system besides Rust: found, or installed from the packages of Debian and Ubuntu.

use crate::run;
use std::process::Command;

/// A virtual display with OpenGL in software, and the compiler of the emulator.
const DISPLAY: [&str; 5] = ["xvfb", "libgl1-mesa-dri", "libegl1", "libgl1", "g++"];
/// Virtual environments of Python, for Jupyter.
const PYTHON: [&str; 2] = ["python3", "python3-venv"];
/// A browser, for JupyterLab.
const BROWSER: [&str; 1] = ["chromium"];

/// Installs what the smoke test of the viewer's window and the emulator of GPUs need, unless it is there.
pub fn display() -> Result<(), String> {
    let library = |name: &str| {
        let known = Command::new("ldconfig").arg("-p").output();
        known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(name))
    };
    if cfg!(not(target_os = "linux")) || (has("c++") && has("Xvfb") && library("libEGL.so.1") && library("libGL.so.1"))
    {
        return Ok(());
    }
    install(&DISPLAY)
}

/// Installs what virtual environments of Python need, unless it is there.
pub fn python() -> Result<(), String> {
    // Debian's python3 has the module venv, but not what it calls.
    if succeeds("python3", &["-c", "import venv, ensurepip"]) { Ok(()) } else { install(&PYTHON) }
}

/// Installs a browser, unless there is one.
pub fn browser() -> Result<(), String> {
    // Ubuntu's package of this name is a program that says where to get it.
    let runs = || ["chromium", "chromium-browser", "google-chrome"].iter().any(|name| succeeds(name, &["--version"]));
    if runs() {
        return Ok(());
    }
    install(&BROWSER)?;
    if runs() { Ok(()) } else { Err(format!("the package {} has none that runs", BROWSER[0])) }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn has(name: &str) -> bool {
    succeeds("sh", &["-c", &format!("command -v {name}")])
}

fn install(packages: &[&str]) -> Result<(), String> {
    if !has("apt-get") {
        return Err(format!("there is no apt-get to install {}", packages.join(" ")));
    }
    let identity = Command::new("id").arg("-u").output().map_err(|error| format!("cannot run id: {error}"))?;
    // Without a password, so that nobody is asked for one.
    let rights: &[&str] = if identity.stdout.starts_with(b"0") { &["env"] } else { &["sudo", "-n", "env"] };
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = rights.iter().copied().chain(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).collect();
        run(Command::new(words[0]).args(&words[1..]).args(["-qq", "-y"]).args(arguments))
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"][..], packages].concat())
}
