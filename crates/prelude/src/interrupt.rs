//! The flag that Jupyter's stop button sets.
//!
//! The first press asks: training stops after its step, an ablation after the steps of its runs, and every loop that
//! looks at [`interrupted`]. Variables are kept. The second press ends the process.

use crate::show::wire::session_folder;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// How often the kernel's wish is looked up.
const EVERY: Duration = Duration::from_millis(40);

/// Whether the cell has been asked to stop. Long loops of your own should look at it.
pub fn interrupted() -> bool {
    FLAG.load(Ordering::Relaxed)
}

/// The flag itself, for trainers.
pub fn flag() -> Arc<AtomicBool> {
    FLAG.clone()
}

/// Follows the kernel's wish in a thread: the file `interrupt` in the session's folder. Ends the process when its
/// kernel is gone, also while a cell runs.
pub(crate) fn watch() {
    let Some(file) = session_folder().map(|folder| folder.join("interrupt")) else { return };
    let parent = parent();
    let follow = move || {
        loop {
            std::thread::sleep(EVERY);
            follow_once(&file, &FLAG);
            // Text without an end of line, such as a progress bar's, is shown while it is written.
            let _ = std::io::Write::flush(&mut std::io::stdout());
            if crate::interrupt::parent() != parent {
                std::process::exit(0);
            }
        }
    };
    // Without the thread, a second press of the button still ends the process.
    let _ = std::thread::Builder::new().name("interrupt".into()).spawn(follow);
}

fn follow_once(file: &Path, flag: &AtomicBool) {
    flag.store(file.exists(), Ordering::Relaxed);
}

#[cfg(unix)]
fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

#[cfg(not(unix))]
fn parent() -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_follows_the_file() {
        let file = std::env::temp_dir().join(format!("kernelscope-interrupt-{}", std::process::id()));
        let flag = AtomicBool::new(false);
        std::fs::write(&file, "").unwrap();
        follow_once(&file, &flag);
        assert!(flag.load(Ordering::Relaxed));
        std::fs::remove_file(&file).unwrap();
        follow_once(&file, &flag);
        assert!(!flag.load(Ordering::Relaxed));
    }
}
