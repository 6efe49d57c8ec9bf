//! The kernels on an NVIDIA GPU: compiled by nvcc at build time, loaded once per device.

use super::memory::{InPlaceTarget, Memory, Values};
use super::{KernelArg, LaunchSize, MemoryUse, SHARED_BYTES};
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::sys::{CUevent_flags, CUfunction_attribute_enum, CUmemPool_attribute};
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop, result,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Result, Storage};
use half::{bf16, f16};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Machine code for compute capabilities 8.0 and 9.0 and PTX for later ones, a file per kernel file.
const IMAGES: [&[u8]; 6] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/taps.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/layer_norm.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/planes.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/elementwise.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/update.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/probe.fatbin")),
];

/// The modules of a device, and the functions that were used.
struct Loaded {
    modules: Vec<Arc<CudaModule>>,
    functions: HashMap<String, CudaFunction>,
}

static LOADED: LazyLock<Mutex<HashMap<usize, Loaded>>> = LazyLock::new(Mutex::default);

/// A kernel by name. Modules stay loaded as long as the process lives, with the device's primary context.
fn function(context: &Arc<CudaContext>, kernel: &str) -> Result<CudaFunction> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let Loaded { modules, functions } = match loaded.entry(context.ordinal()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let load = |image: &&[u8]| context.load_module(Ptx::from_binary(image.to_vec())).map_err(Error::wrap);
            let modules = IMAGES.iter().map(load).collect::<Result<_>>()?;
            entry.insert(Loaded { modules, functions: HashMap::new() })
        }
    };
    if let Some(function) = functions.get(kernel) {
        return Ok(function.clone());
    }
    let found = modules.iter().find_map(|module| module.load_function(kernel).ok());
    let function = found.ok_or_else(|| Error::Msg(format!("no kernel {kernel}")))?;
    // Beyond 48 KiB only where asked for.
    let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(attribute, SHARED_BYTES as i32).map_err(Error::wrap)?;
    functions.insert(kernel.to_string(), function.clone());
    Ok(function)
}

/// Room for values.
pub(super) fn alloc(device: &CudaDevice, dtype: DType, len: usize) -> Result<CudaStorage> {
    // The driver gives no memory of no bytes.
    let len = len.max(1);
    // SAFETY: the memory is not initialized, and every bit pattern is a value of these types. Kernels write all of a result
    // before anything reads it: the emulator's fresh memory is NaN, which the tests would find in results.
    unsafe {
        Ok(match dtype {
            DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(len)?, device.clone()),
            DType::F16 => CudaStorage::wrap_cuda_slice(device.alloc::<f16>(len)?, device.clone()),
            DType::BF16 => CudaStorage::wrap_cuda_slice(device.alloc::<bf16>(len)?, device.clone()),
            DType::I32 => CudaStorage::wrap_cuda_slice(device.alloc::<i32>(len)?, device.clone()),
            other => return Err(super::unknown_dtype(other)),
        })
    }
}

/// Copies words to the device.
pub(super) fn upload(device: &CudaDevice, words: &[i32]) -> Result<CudaStorage> {
    Ok(CudaStorage::wrap_cuda_slice(device.clone_htod(words)?, device.clone()))
}

/// Copies numbers to the device.
pub(super) fn upload_floats(device: &CudaDevice, values: &[f32]) -> Result<CudaStorage> {
    Ok(CudaStorage::wrap_cuda_slice(device.clone_htod(values)?, device.clone()))
}

/// The address of values that a kernel reads; what is returned with it notes the use when the launch is queued.
fn read<'a>(values: &Values<'a>, stream: &'a CudaStream) -> Result<(u64, SyncOnDrop<'a>)> {
    fn address<'a, T>(slice: &'a CudaSlice<T>, start: usize, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        let (pointer, guard) = slice.device_ptr(stream);
        (pointer + (start * size_of::<T>()) as u64, guard)
    }
    let Memory::Cuda(storage) = values.memory else {
        return Err(Error::Msg("a kernel's argument is not in GPU memory".into()));
    };
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => address(slice, values.start, stream),
        CudaStorageSlice::F16(slice) => address(slice, values.start, stream),
        CudaStorageSlice::BF16(slice) => address(slice, values.start, stream),
        CudaStorageSlice::I32(slice) => address(slice, values.start, stream),
        _ => return Err(Error::Msg("a kernel's argument has a dtype that the kernels do not support".into())),
    })
}

/// The same for memory that it writes.
fn write<'a>(slice: &'a mut CudaStorageSlice, stream: &'a CudaStream) -> Result<(u64, SyncOnDrop<'a>)> {
    Ok(match slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr_mut(stream),
        CudaStorageSlice::F16(slice) => slice.device_ptr_mut(stream),
        CudaStorageSlice::BF16(slice) => slice.device_ptr_mut(stream),
        CudaStorageSlice::I32(slice) => slice.device_ptr_mut(stream),
        _ => return Err(Error::Msg("a kernel's result has a dtype that the kernels do not support".into())),
    })
}

/// The time between two events around what `f` queues.
pub(super) fn seconds(device: &CudaDevice, f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let stream = device.cuda_stream();
    let event = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(Error::wrap);
    let start = event()?;
    f()?;
    let end = event()?;
    // Waits for the end.
    let milliseconds = start.elapsed_ms(&end).map_err(Error::wrap)?;
    Ok(1e-3 * f64::from(milliseconds))
}

/// Bytes in use before `f`, and at most while what it queues runs.
pub(super) fn memory(device: &CudaDevice, f: impl FnOnce() -> Result<()>) -> Result<MemoryUse> {
    let stream = device.cuda_stream();
    let context = stream.context();
    stream.synchronize().map_err(Error::wrap)?;
    let attribute = |attribute: CUmemPool_attribute, reset: bool| -> Result<u64> {
        let mut value = 0u64;
        let to = (&raw mut value).cast::<c_void>();
        // SAFETY: the device is the context's, and its default pool lives as long as the context. `to` points to 64 bits that
        // outlive both calls, which is what these two attributes are; setting the high-water mark to zero, which `value` is
        // then, resets it.
        unsafe {
            let pool = result::device::get_mem_pool(context.cu_device()).map_err(Error::wrap)?;
            if reset {
                result::mem_pool::set_attribute(pool, attribute, to).map_err(Error::wrap)?;
            }
            result::mem_pool::get_attribute(pool, attribute, to).map_err(Error::wrap)?;
        }
        Ok(value)
    };
    let before = attribute(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT, false)?;
    attribute(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, true)?;
    f()?;
    stream.synchronize().map_err(Error::wrap)?;
    let peak = attribute(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, false)?.max(before);
    Ok(MemoryUse { before, peak })
}

/// What a kernel's parameter is copied from: the value of a pointer, or a struct.
enum Parameter<'a> {
    Pointer(u64),
    Struct(&'a [u8]),
}

impl Parameter<'_> {
    fn address(&mut self) -> *mut c_void {
        match self {
            Parameter::Pointer(pointer) => std::ptr::from_mut(pointer).cast(),
            Parameter::Struct(bytes) => bytes.as_ptr().cast_mut().cast(),
        }
    }
}

/// Queues a kernel on the device's stream.
pub(super) fn launch(device: &CudaDevice, kernel: &str, size: LaunchSize, arguments: &mut [KernelArg]) -> Result<()> {
    let stream = device.cuda_stream();
    let function = function(stream.context(), kernel)?;
    let mut parameters = Vec::with_capacity(arguments.len());
    // Dropped after the launch: they record on the stream that it uses the memory.
    let mut guards = Vec::with_capacity(arguments.len());
    for argument in arguments.iter_mut() {
        let (pointer, guard) = match argument {
            KernelArg::Read(values) => read(values, &stream)?,
            KernelArg::Write(Storage::Cuda(CudaStorage { slice, .. }))
            | KernelArg::Update(InPlaceTarget::Cuda(CudaStorage { slice, .. })) => write(slice, &stream)?,
            KernelArg::Write(_) | KernelArg::Update(InPlaceTarget::Cpu(_)) => {
                return Err(Error::Msg("a kernel's result is not in GPU memory".into()));
            }
            KernelArg::Absent => {
                parameters.push(Parameter::Pointer(0));
                continue;
            }
            KernelArg::Params { bytes, .. } => {
                parameters.push(Parameter::Struct(bytes));
                continue;
            }
        };
        parameters.push(Parameter::Pointer(pointer));
        guards.push(guard);
    }
    let mut addresses: Vec<*mut c_void> = parameters.iter_mut().map(Parameter::address).collect();
    stream.context().bind_to_thread().map_err(Error::wrap)?;
    let (blocks, threads, shared_bytes) = (size.blocks as u32, size.threads as u32, size.shared_bytes as u32);
    // SAFETY: `addresses` point to pointers and structs that live until the call returns; the driver reads them during the
    // call and does not write to them. The pointers are null, where kernels expect no memory, or point to memory on this
    // device that outlives the launch, since it is freed in the order of this stream; the guards order the launch after
    // what other streams do with it. Structs have the layout that kernels declare, which both compilers check (`params`).
    // That a kernel gets arguments of its types and stays within its memory is what the emulator checks in tests.
    unsafe {
        let (grid, block) = ((blocks, 1, 1), (threads, 1, 1));
        let function = function.cu_function();
        result::launch_kernel(function, grid, block, shared_bytes, stream.cu_stream(), &mut addresses)
            .map_err(Error::wrap)
    }
}
