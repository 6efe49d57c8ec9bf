//! What the tap kernels do to memory at the papers' shapes, as the emulator counts it: bounds, and the table of
//! `docs/cuda.md`.

use crate::common::{computed, device, emulate, fill_kind};
use candle_core::{DType, Device, Tensor, Var};
use kernelscope::test_hooks::emulated;
use kernelscope_emulator::{Counts, counted};
use kernelscope_lab::bench::cases::{Case, Kernel};

/// An H100 SXM: bytes per second, multiprocessors, their cycles per second (67 TFLOP/s over 128 units each).
const BANDWIDTH: f64 = 3.35e12;
const MULTIPROCESSORS: f64 = 132.0;
const CLOCK: f64 = 67e12 / 2.0 / 128.0 / MULTIPROCESSORS;

/// Images and channels that results are stated for.
const IMAGES: f64 = 64.0;

const PASSES: [&str; 3] = ["forward", "input gradient", "weight gradient"];

fn case(kernel: Kernel, channels: usize, side: usize, stride: usize) -> Case {
    Case { network: None, kernel, images: 64, channels, side, stride }
}

fn dense(height: usize, width: usize) -> Kernel {
    Kernel::Dense { height, width }
}

fn shapes() -> Vec<Case> {
    let lines = |taps| Kernel::Lines { taps };
    let cross = |percent| Kernel::ShiftWise { length: 51, small: 5, percent };
    vec![
        case(lines(7), 512, 56, 1),
        case(lines(31), 512, 56, 1),
        case(lines(31), 512, 28, 1),
        case(lines(31), 512, 14, 1),
        case(lines(31), 512, 56, 2),
        case(dense(7, 7), 96, 56, 1),
        case(dense(7, 7), 384, 14, 1),
        case(dense(31, 31), 128, 56, 1),
        case(dense(29, 29), 256, 28, 1),
        case(dense(27, 27), 512, 14, 1),
        case(dense(13, 13), 1024, 7, 1),
        case(dense(51, 5), 124, 56, 1),
        case(cross(100), 512, 56, 1),
        case(cross(25), 512, 56, 1),
    ]
}

/// One pass of a case, scaled to all its images and channels.
struct Pass {
    case: Case,
    name: &'static str,
    dtype: DType,
    counts: Counts,
    /// How often the work that was counted is in the whole.
    scale: f64,
    /// Bytes of source, result and weights, and multiply-adds inside the image, of the whole.
    bytes: f64,
    macs: f64,
}

impl Pass {
    /// Seconds that the bytes take at least, and those that the multiply-adds take.
    fn floors(&self) -> [f64; 2] {
        [self.bytes / BANDWIDTH, self.macs / 128.0 / MULTIPROCESSORS / CLOCK]
    }

    /// Bytes of the sectors that are touched, by those that must be.
    fn traffic(&self) -> f64 {
        32.0 * (self.counts.sectors_read + self.counts.sectors_written) as f64 * self.scale / self.bytes
    }

    /// Cycles of shared memory by those without conflicts.
    fn conflicts(&self) -> f64 {
        let Counts { shared_read_cycles, shared_write_cycles, shared_least_cycles, .. } = self.counts;
        (shared_read_cycles + shared_write_cycles) as f64 / shared_least_cycles as f64
    }

    /// Multiply-adds that lanes have time for, by those inside the image.
    fn multiply_adds(&self) -> f64 {
        32.0 * self.counts.multiply_adds as f64 * self.scale / self.macs
    }

    /// Seconds that global memory, shared memory and the issue of what is counted take, each by itself.
    fn times(&self) -> [f64; 3] {
        let Counts {
            multiply_adds,
            global_reads,
            global_writes,
            shared_reads,
            shared_writes,
            shuffles,
            table_reads,
            ..
        } = self.counts;
        let cycles = |count: u64| count as f64 * self.scale / MULTIPROCESSORS / CLOCK;
        let shared = self.counts.shared_read_cycles + self.counts.shared_write_cycles + shuffles;
        let issued =
            multiply_adds + global_reads + global_writes + table_reads + shared_reads + shared_writes + shuffles;
        [self.traffic() * self.bytes / BANDWIDTH, cycles(shared), cycles(issued) / 4.0]
    }

    /// What is predicted: the instructions that are not counted (addresses, loops) add 15 % to the issue, and the slowest
    /// of the three reaches 85 % of what it could.
    fn predicted(&self) -> f64 {
        let [memory, shared, issue] = self.times();
        memory.max(shared).max(1.15 * issue) / 0.85
    }
}

/// Counts the passes of a case on as few channels and images as have blocks like the whole.
fn count(whole: &Case, dtype: DType) -> Vec<Pass> {
    // From 32 images on, plans are those of the whole.
    let images = match whole.side {
        7 => 64,
        14 | 28 => 32,
        _ => 2,
    };
    let channels = match whole.kernel {
        Kernel::Lines { .. } | Kernel::ShiftWise { .. } => 8,
        _ => 1,
    };
    let part = Case { images, channels, ..*whole };
    let prepared = part.prepare().unwrap();
    let (rows, cols) = prepared.geometry.output;
    let tensor = |name: &str, shape: &[usize]| {
        let values = fill_kind(name, shape, "input");
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()).unwrap()
    };
    let (x, w) = (tensor("x", &prepared.input), tensor("w", &prepared.weights));
    let dy = tensor("dy", &[images, channels, rows, cols]);
    let ((), launches) = counted(|| {
        emulated(emulate, 0, || {
            let y = (prepared.apply)(&x, &w).unwrap();
            (&y * dy.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        });
    });
    let launches: Vec<_> = launches.into_iter().filter(|launch| launch.kernel.starts_with("taps_")).collect();
    let kernels: Vec<&str> = launches.iter().map(|launch| launch.kernel.as_str()).collect();
    assert_eq!(kernels.len(), 4, "{whole}: {kernels:?}");
    let (macs, bytes) = (prepared.work.macs as f64, dtype.size_in_bytes() as f64);
    let values = x.elem_count() + dy.elem_count() + w.elem_count();
    let scale = IMAGES * whole.channels as f64 / (images * channels) as f64;
    let pass = |(name, index): (&'static str, usize)| Pass {
        case: *whole,
        name,
        dtype,
        counts: launches[index].counts,
        scale,
        bytes: scale * bytes * values as f64,
        macs: scale * macs,
    };
    // The second kernel of the weight gradient adds up what is as large as the weights.
    PASSES.into_iter().zip([0, 1, 2]).map(pass).collect()
}

/// The table of the document.
fn table() -> String {
    let mut lines = vec![
        "| case | pass | floors, µs: bytes, FMA | traffic | conflicts | FMA | memory, shared, issue, µs | predicted, µs | of the floor |"
            .to_string(),
        "|---|---|---|---|---|---|---|---|---|".to_string(),
    ];
    for dtype in [DType::F32, DType::BF16] {
        for case in shapes() {
            for pass in count(&case, dtype) {
                let us = |seconds: f64| format!("{:.0}", 1e6 * seconds);
                let [bytes, fma] = pass.floors();
                let [memory, shared, issue] = pass.times();
                lines.push(format!(
                    "| {}, {} | {} | {}, {} | {:.2} | {:.2} | {:.2} | {}, {}, {} | {} | {:.0} % |",
                    pass.case,
                    pass.dtype.as_str(),
                    pass.name,
                    us(bytes),
                    us(fma),
                    pass.traffic(),
                    pass.conflicts(),
                    pass.multiply_adds(),
                    us(memory),
                    us(shared),
                    us(issue),
                    us(pass.predicted()),
                    100.0 * bytes.max(fma) / pass.predicted(),
                ));
            }
        }
    }
    lines.join("\n")
}

const BEGIN: &str = "<!-- counted: begin -->\n";
const END: &str = "\n<!-- counted: end -->";

/// The page's table is what the emulator counts; `KERNELSCOPE_WRITE_COUNTS=1` writes it again.
#[test]
fn the_page_has_the_counts_of_the_kernels() {
    if !emulates() {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cuda.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("a table of counts");
    let (written, after) = rest.split_once(END).expect("its end");
    let table = table();
    if std::env::var_os("KERNELSCOPE_WRITE_COUNTS").is_some() {
        return std::fs::write(path, [before, BEGIN, &table, END, after].concat()).unwrap();
    }
    assert!(written == table, "write it again with KERNELSCOPE_WRITE_COUNTS=1:\n{table}");
}

fn emulates() -> bool {
    device().is_cpu() && computed(DType::F64) == DType::F32
}

#[test]
fn memory_is_read_and_written_once_and_without_conflicts() {
    if !emulates() {
        return;
    }
    let mut wrong = Vec::new();
    for (side, taps) in [(56, 7), (56, 31), (28, 7), (28, 31)] {
        for pass in count(&case(Kernel::Lines { taps }, 512, side, 1), DType::F32) {
            // Tables and weights of a block are a few percent of its planes. Rows that are staged in pairs meet in banks
            // where one ends, which counts most with seven taps: 1.31.
            if !(0.99..1.08).contains(&pass.traffic()) || pass.conflicts() >= 1.35 {
                let (bytes, cycles) = (pass.traffic(), pass.conflicts());
                wrong.push(format!("{}, {}: {bytes} of the bytes, {cycles} of the cycles", pass.case, pass.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Kernels about as large as the image: lines and strips outside of it are skipped.
#[test]
fn few_products_are_outside_of_the_image() {
    if !emulates() {
        return;
    }
    let mut wrong = Vec::new();
    for (kernel, side, most) in [(31, 56, 1.6), (29, 28, 1.45), (27, 14, 1.1), (13, 7, 1.1)] {
        for pass in count(&case(dense(kernel, kernel), 64, side, 1), DType::F32) {
            if !(0.99..most).contains(&pass.multiply_adds()) || pass.conflicts() >= 1.4 {
                let (products, cycles) = (pass.multiply_adds(), pass.conflicts());
                wrong.push(format!("{}, {}: {products} of the products, {cycles} of the cycles", pass.case, pass.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A strided copy of a kernel that has every lane 32 words apart would take 32 cycles per access: counted right?
#[test]
fn sectors_and_conflicts_are_counted() {
    use candle_core::CpuStorage;
    use kernelscope_emulator::{Argument, Size, run};
    let mut y = CpuStorage::F32(vec![f32::NAN; 4096]);
    let ((), launches) = counted(|| {
        run("no_fault_counted", Size { blocks: 1, threads: 64, shared: 4 * 1024 }, &mut [Argument::Write(&mut y)], 0)
            .unwrap();
    });
    let counts = launches[0].counts;
    // Two warps write 32 neighbors, 8 apart and 32 words of one bank, and read the latter back.
    assert_eq!((counts.global_writes, counts.sectors_written), (4, 2 * 4 + 2 * 32));
    assert_eq!((counts.shared_writes, counts.shared_write_cycles), (2, 2 * 32));
    assert_eq!((counts.shared_reads, counts.shared_read_cycles), (4, 2 * 32 + 2));
    // The words of all of them fit into one cycle each.
    assert_eq!(counts.shared_least_cycles, 2 + 4);
    assert_eq!((counts.multiply_adds, counts.lane_multiply_adds), (2 * 3, 64 * 2 + 2));
    assert_eq!(counts.barriers, 1);
}
