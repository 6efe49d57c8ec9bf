//! What tests need of the system besides Rust: found, or installed from the packages of Debian and Ubuntu.

use crate::run;
use std::ffi::OsStr;
use std::process::Command;

/// A virtual display with OpenGL in software, what a window is opened with, and the compiler of the emulator.
const DISPLAY: [&str; 10] = [
    "xvfb",
    "libgl1-mesa-dri",
    "libegl1",
    "libgl1",
    "libx11-6",
    "libx11-xcb1",
    "libxcursor1",
    "libxi6",
    "libxkbcommon-x11-0",
    "g++",
];
/// The libraries among them. A window loads them when it opens, so that nothing misses them earlier.
const LIBRARIES: [&str; 7] = [
    "libEGL.so.1",
    "libGL.so.1",
    "libX11.so.6",
    "libX11-xcb.so.1",
    "libXcursor.so.1",
    "libXi.so.6",
    "libxkbcommon-x11.so.0",
];
/// Virtual environments of Python, for Jupyter.
const PYTHON: [&str; 2] = ["python3", "python3-venv"];
/// A browser, for JupyterLab.
const BROWSER: [&str; 1] = ["chromium"];

/// Installs what the smoke test of the viewer's window and the emulator of GPUs need, unless it is there.
pub fn display() -> Result<(), String> {
    // On Debian it is not in the PATH of users.
    let listed = ["ldconfig", "/sbin/ldconfig"].iter().find_map(|name| output(name, &["-p"]));
    let library = |name: &&str| listed.as_ref().is_some_and(|list| list.contains(name));
    if cfg!(not(target_os = "linux")) || (has("c++") && has("Xvfb") && LIBRARIES.iter().all(library)) {
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
    // Ubuntu's package of this name is a program that says where to get it, or a snap, which does not see the folders of
    // the tests.
    let is_good = |name: &&str| output(name, &["--version"]).is_some_and(|version| !version.trim().ends_with("snap"));
    let runs = || ["chromium", "chromium-browser", "google-chrome"].iter().any(is_good);
    if runs() {
        return Ok(());
    }
    install(&BROWSER)?;
    if runs() { Ok(()) } else { Err(format!("the package {} has none that can be used", BROWSER[0])) }
}

/// Whether a program can be run and is content.
pub fn succeeds(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    output(program, arguments).is_some()
}

/// What a program prints, if it can be run and is content.
fn output(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn has(name: &str) -> bool {
    succeeds("sh", &["-c", &format!("command -v {name}")])
}

fn install(packages: &[&str]) -> Result<(), String> {
    let names = packages.join(" ");
    if !has("apt-get") {
        return Err(format!("there is no apt-get to install {names}"));
    }
    // Without a password, so that nobody is asked for one in the middle of the tests.
    let rights: &[&str] = match output("id", &["-u"]) {
        Some(identity) if identity.trim() == "0" => &["env"],
        _ if succeeds("sudo", &["-n", "true"]) => &["sudo", "-n", "env"],
        _ => return Err(format!("no rights without a password; as root: apt-get install {names}")),
    };
    let system = |command: &[&str]| {
        let words = [rights, &["DEBIAN_FRONTEND=noninteractive"], command].concat();
        run(Command::new(words[0]).args(&words[1..]))
    };
    // What an earlier installation that was interrupted has left half done.
    system(&["dpkg", "--configure", "-a"])?;
    // A new machine may be busy with its own updates.
    let apt = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=600"];
    system(&[&apt[..], &["update"]].concat())?;
    system(&[&apt[..], &["install", "--no-install-recommends"], packages].concat())
}
