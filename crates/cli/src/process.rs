//! The process of the command: its allocator, what candle reads from the environment, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Feature maps are allocated and freed all the time; the system's allocator gives each back to the kernel and pays for
/// fresh pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the bindings do not name: milliseconds until freed pages go back to the system.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Freed pages are kept from one step of a network to the next. Otherwise the system clears them again and again, which
/// takes a fifth of the time of large networks.
const KEEP_MS: std::ffi::c_long = 10_000;

/// candle's own threads wait in a loop for the next operator, 25,000 rounds long, while the threads of the operators here
/// want the cores. After this many rounds they sleep.
const SPIN_LIMIT: (&str, &str) = ("CANDLE_BARRIER_POOL_SPIN_LIMIT", "500");

/// Runs side by side share one pool of candle's threads, and wait for each other in it.
const NO_POOL: (&str, &str) = ("CANDLE_NUM_THREADS", "1");

/// Sets what must be set before any work. What the user has set in the environment has precedence.
pub fn prepare() {
    // SAFETY: the option exists, and its value is an atomic number.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEEP_MS) };
    if !is_alone() {
        return;
    }
    let side_by_side = std::env::args_os().nth(1).is_some_and(|command| command == "ablate");
    let settings = std::iter::once(SPIN_LIMIT).chain(side_by_side.then_some(NO_POOL));
    for (name, value) in settings.filter(|(name, _)| std::env::var_os(name).is_none()) {
        // SAFETY: this thread is the only one, so that no other reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Whether this process is known to have no other thread. Where the system does not say, the settings are left out: they
/// change the speed alone.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// A flag that the first Ctrl-C sets; the second ends the process at once.
pub fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Without a handler Ctrl-C still ends the process, and the last epoch stays resumable.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    stop
}
