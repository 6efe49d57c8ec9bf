//! The emulator itself: what it computes without faults, and that it finds each kind of fault in every order of threads.

use candle_core::CpuStorage;
use kernelscope_emulator::{Argument, Size, run};

const ORDERS: [u32; 4] = [0, 1, 2, 3];

/// Runs a kernel of `faults.cu`: two blocks of 64 threads with as many words of shared memory, on a buffer of `len` values.
fn run_fault(kernel: &str, len: usize, order: u32) -> Result<Vec<f32>, String> {
    let mut y = CpuStorage::F32(vec![f32::NAN; len]);
    run(kernel, Size { blocks: 2, threads: 64, shared: 256 }, &mut [Argument::Write(&mut y)], order)?;
    match y {
        CpuStorage::F32(values) => Ok(values),
        _ => unreachable!(),
    }
}

fn fault(kernel: &str, len: usize, parts: &[&str]) {
    for order in ORDERS {
        let message = match run_fault(kernel, len, order) {
            Ok(_) => panic!("{kernel} in order {order}: no fault was found"),
            Err(message) => message,
        };
        assert!(
            message.contains(kernel) && parts.iter().all(|part| message.contains(part)),
            "order {order}: {message}"
        );
    }
}

#[test]
fn a_race_in_shared_memory_is_found() {
    fault("fault_race", 64, &["no barrier between"]);
}

#[test]
fn barriers_that_some_threads_do_not_reach_are_found() {
    fault("fault_divergent_barrier", 64, &["40 of 64 threads"]);
    fault("fault_two_barriers", 64, &["barriers at lines"]);
    fault("fault_partial_shuffle", 64, &["31 of 32 threads"]);
}

#[test]
fn access_outside_of_memory_is_found() {
    fault("fault_beyond_buffer", 64, &["index 64 of a buffer of 64 values"]);
    fault("fault_beyond_shared", 64, &["byte 256 of 256 bytes"]);
    fault("fault_absent", 64, &["no such kernel"]);
}

#[test]
fn memory_that_nobody_wrote_is_not_a_number() {
    for order in ORDERS {
        assert!(run_fault("fault_unwritten", 64, order).unwrap().iter().all(|value| value.is_nan()));
    }
}

#[test]
fn sums_over_warps_are_sums() {
    for order in ORDERS {
        let y = run_fault("no_fault", 3 * 64 + 1, order).unwrap();
        let value = |thread: usize| thread as f32 + 0.25;
        let of_warp = |thread: usize| (0..32).map(|lane| value(thread / 32 * 32 + lane)).sum::<f32>();
        for thread in 0..64 {
            assert_eq!(y[thread], of_warp(thread));
            assert_eq!(y[64 + thread], of_warp(thread) * (thread % 32 / 4 + 1) as f32);
            assert_eq!(y[128 + thread], of_warp(thread) * if thread % 32 < 16 { 1.0 } else { 2.0 });
        }
        assert_eq!(y[192], of_warp(0) + of_warp(32));
    }
}
