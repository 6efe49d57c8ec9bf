//! The real window, under a virtual display where there is one.

use crate::support::runs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends a process at the end of a test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A virtual display that is not in use; `None` without Xvfb.
fn display() -> Option<(Ending, String)> {
    for number in 90 + std::process::id() % 400.. {
        if number > 900 {
            return None;
        }
        if std::path::Path::new(&format!("/tmp/.X11-unix/X{number}")).exists() {
            continue;
        }
        let name = format!(":{number}");
        let server = Command::new("Xvfb")
            .args([&name, "-screen", "0", "1280x800x24"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = Ending(server.ok()?);
        let start = Instant::now();
        while !std::path::Path::new(&format!("/tmp/.X11-unix/X{number}")).exists() {
            if start.elapsed() > Duration::from_secs(60) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        return Some((server, name));
    }
    None
}

#[test]
fn the_real_window_opens_and_measures_its_frames() {
    let Some((_server, name)) = display() else {
        eprintln!("no Xvfb: the real window was not tried (apt-get install xvfb libgl1-mesa-dri libegl1)");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let viewer = |args: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("kernelscope-viewer"));
        command.args(args).env("DISPLAY", &name).env_remove("WAYLAND_DISPLAY").env("HOME", home.path());
        command.env("XDG_DATA_HOME", home.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let output = viewer(&["--bench"]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("In a window, 4 maps of 1024x1024"), "{text}{errors}");
    // A window on a run stays open.
    let run = runs().join("line");
    let mut window = Ending(viewer(&[run.to_str().unwrap()]).spawn().unwrap());
    std::thread::sleep(Duration::from_secs(4));
    assert!(window.0.try_wait().unwrap().is_none(), "the window closed by itself");
}
