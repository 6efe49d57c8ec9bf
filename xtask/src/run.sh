#!/bin/sh
# Checks and measures the kernels on this machine's NVIDIA GPU. Builds nothing; writes to the folder results/ beside it.
#
#   ./run.sh [PYTHON]        PYTHON: one with PyTorch for CUDA 13, for its libraries and to compare with
#   QUICK=1 ./run.sh         a first impression in a few minutes
set -eu
cd "$(dirname "$0")"
python=${1:-python3}

fail() {
    echo "run.sh: $1" >&2
    exit 1
}

command -v nvidia-smi >/dev/null 2>&1 || fail "no NVIDIA GPU here: there is no nvidia-smi"
nvidia-smi -L 2>/dev/null | grep -q '^GPU' || fail "no NVIDIA GPU here: nvidia-smi lists none"
command -v "$python" >/dev/null 2>&1 || fail "no $python; name a Python with PyTorch: ./run.sh PYTHON"

# The folders with the libraries that the program needs: PyTorch's, or those of a CUDA installation.
libraries=$("$python" - <<'END'
import glob, os, site, sys

roots = site.getsitepackages() + [site.getusersitepackages()]
folders = [f for root in roots for f in glob.glob(os.path.join(root, "nvidia", "*", "lib"))]
folders += ["/usr/local/cuda/lib64"] + glob.glob("/usr/local/cuda-13*/lib64")
needed = ["libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcudart.so.13"]
found = {}
for folder in folders:
    for name in needed:
        if name not in found and os.path.exists(os.path.join(folder, name)):
            found[name] = folder
missing = [name for name in needed if name not in found]
if missing:
    sys.exit("run.sh: %s not found; PyTorch for CUDA 13 has them, or: pip install nvidia-cublas==13.0.2.14 "
             "nvidia-curand==10.4.0.35 nvidia-cuda-runtime==13.0.96" % ", ".join(missing))
print(":".join(dict.fromkeys(found.values())))
END
) || exit 1
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

set --
[ -z "${QUICK:-}" ] || set -- --quick
if "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    set -- "$@" --peer torch --python "$python"
else
    echo "run.sh: no PyTorch that sees the GPU in $python: nothing to compare with" >&2
fi

mkdir -p results
nvidia-smi >results/nvidia-smi.txt
# Every pass is compared with the CPU's result before it is timed; a wrong one ends the script.
for dtype in f32 bf16 f16; do
    echo "== operators, $dtype"
    ./kernelscope --device cuda bench ops --dtype "$dtype" --json "$@" >"results/ops-$dtype.json"
    echo "results/ops-$dtype.json"
done
echo "== networks"
./kernelscope --device cuda bench models convnext-t-1d replknet-31b sw-v2-t --batch 64 --train --json "$@" \
    >results/models.json
echo "results/models.json"
echo "done: everything was right; the figures are in results/"
