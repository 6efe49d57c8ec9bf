"""Times convolutions and networks in PyTorch, for comparison with kernelscope.

Reads one JSON request per line from standard input and answers each with JSON lines on standard output: a `time` per
memory layout, then `"done"`. `{"missing": REASON}` says that PyTorch is not there, `{"failed": REASON}` that a request
failed, `{"unsupported": REASON}` that this file has no such network.
"""

import json
import os
import statistics
import sys
import time

# Only answers may go to standard output: whatever a library prints goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(value):
    answers.write(json.dumps(value) + "\n")
    answers.flush()


try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except Exception as error:
    answer({"missing": str(error)})
    sys.exit(1)

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


class Unsupported(Exception):
    pass


def measure(run, effort):
    """Repeats `run` until seconds and runs are enough, or the limit is reached. The first run warms up; it counts only
    if it takes up the limit alone."""
    times = []

    def once():
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)

    once()
    if times[0] < effort["limit"]:
        times.clear()
        while not times or not (
            sum(times) >= effort["limit"] or (sum(times) >= effort["seconds"] and len(times) >= effort["runs"])
        ):
            once()
    return {"min_s": min(times), "median_s": statistics.median(times), "runs": len(times)}


# Operators


def time_convolution(request, layout, effort):
    """A depthwise convolution: its forward pass, or that and the gradients of input and weights from a given one."""
    n, c, side = request["images"], request["channels"], request["side"]
    kh, kw = request["kernel"]
    stride, padding = request["stride"], (kh // 2, kw // 2)
    torch.manual_seed(0)
    x = (2 * torch.rand(n, c, side, side) - 1).contiguous(memory_format=layout)
    w = (2 * torch.rand(c, 1, kh, kw) - 1).contiguous(memory_format=layout)

    def forward():
        return F.conv2d(x, w, None, stride, padding, groups=c)

    def forward_and_gradients():
        torch.autograd.grad(forward(), (x, w), dy)

    if request["gradients"]:
        dy = torch.ones_like(forward())
        x.requires_grad_()
        w.requires_grad_()
        return measure(forward_and_gradients, effort)
    with torch.inference_mode():
        return measure(forward, effort)


DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def allocated(run):
    """The bytes that `run` allocates at most on the GPU."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure_on_gpu(run, sets, effort):
    """Like `measure`, by the device's clock: several launches between two events, each on another set of inputs, so that
    none is in the cache."""
    launches = min(sets, 20)
    times = []

    def once():
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for i in range(launches):
            run(i)
        end.record()
        end.synchronize()
        times.append(1e-3 * start.elapsed_time(end) / launches)

    # Twice, since the first call looks for the fastest algorithm.
    once()
    once()
    times.clear()
    while not times or not (
        launches * sum(times) >= effort["limit"]
        or (launches * sum(times) >= effort["seconds"] and len(times) >= effort["runs"])
    ):
        once()
    best = {"min_s": min(times), "median_s": statistics.median(times), "runs": len(times)}
    return {**best, "allocated_bytes": allocated(lambda: run(0))}


def time_convolution_on_gpu(request, layout, effort):
    """One pass of a depthwise convolution: forward, or the gradient of input or weights alone."""
    torch.backends.cudnn.benchmark = True
    n, c, side = request["images"], request["channels"], request["side"]
    kh, kw = request["kernel"]
    stride, padding = request["stride"], (kh // 2, kw // 2)
    torch.manual_seed(0)
    options = {"device": "cuda", "dtype": DTYPES[request["dtype"]]}
    w = (2 * torch.rand(c, 1, kh, kw, **options) - 1).contiguous(memory_format=layout).requires_grad_()
    bytes_per_set = 2 * n * c * side * side * w.element_size()
    sets = max(2, min(64, -(-(256 << 20) // bytes_per_set)))
    xs = [(2 * torch.rand(n, c, side, side, **options) - 1).contiguous(memory_format=layout) for _ in range(sets)]
    if request["on_gpu"] == "forward":
        with torch.inference_mode():
            return measure_on_gpu(lambda i: F.conv2d(xs[i], w, None, stride, padding, groups=c), sets, effort)
    of_input = request["on_gpu"] == "input-gradient"
    target = [x.requires_grad_(of_input) if of_input else w for x in xs]
    ys = [F.conv2d(x, w if not of_input else w.detach(), None, stride, padding, groups=c) for x in xs]
    ones = [torch.ones_like(y) for y in ys]

    def gradient(i):
        torch.autograd.grad(ys[i], target[i], ones[i], retain_graph=True)

    return measure_on_gpu(gradient, sets, effort)


# Networks


def depthwise(channels, kernel, stride=1, bias=True):
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=bias)


def drop_path(f, rate, training):
    """Drops the branch of a sample with probability `rate`."""
    if rate == 0.0 or not training:
        return f
    keep = torch.empty(f.shape[0], 1, 1, 1, device=f.device).bernoulli_(1.0 - rate).div_(1.0 - rate)
    return f * keep


def drop_rates(config):
    """Rates rising linearly over all blocks, as an iterator."""
    return iter(torch.linspace(0, config["drop_path"], sum(config["depths"])).tolist())


class LayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-6)

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, config, stage, rate):
        super().__init__()
        norm, bias = norm_of(config)
        dim, variant = config["dims"][stage], config["variant"]
        self.dwconv = depthwise(dim, kernel_of(variant in ("1d", "1dpp"), config["kernel"][stage]), bias=bias)
        self.norm = norm(dim)
        self.expand = nn.Linear(dim, 4 * dim)
        self.second = depthwise(4 * dim, (1, config["kernel2"][stage])) if variant.endswith("pp") else None
        self.project = nn.Linear(4 * dim, dim)
        scale = config["layer_scale"]
        self.gamma = nn.Parameter(torch.full((dim,), scale)) if scale > 0 else None
        self.rate = rate

    def forward(self, x):
        f = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        f = F.gelu(self.expand(f))
        if self.second is not None:
            planes = f.permute(0, 3, 1, 2)
            f = (planes + self.second(planes)).permute(0, 2, 3, 1)
        f = self.project(f)
        if self.gamma is not None:
            f = self.gamma * f
        return x + drop_path(f.permute(0, 3, 1, 2), self.rate, self.training)


def norm_of(config):
    """The norm of a ConvNeXt, and whether convolutions before it have a bias."""
    return (LayerNorm, True) if config["norm"] == "layer" else (nn.BatchNorm2d, False)


def kernel_of(oriented, size):
    """A row in place of an oriented kernel: PyTorch has none at an angle."""
    return (1, size) if oriented else (size, size)


def convnext_stem(config):
    norm, bias = norm_of(config)
    dim, inner, kind = config["dims"][0], config["stem_channels"], config["stem"]
    if kind == "patch":
        return nn.Sequential(nn.Conv2d(3, dim, 4, 4), norm(dim))
    if kind == "oriented-1d":
        return nn.Sequential(nn.Conv2d(3, dim, (1, 5), 4, (0, 2)), norm(dim))
    kernel = kernel_of(kind == "depthwise-1d", config["stem_kernel"])
    layers = [nn.Conv2d(3, inner, 1)]
    for _ in range(2):
        layers += [depthwise(inner, kernel, 2, bias), norm(inner), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(inner, dim, 1, bias=bias), norm(dim))


class ConvNeXt(nn.Module):
    def __init__(self, config):
        super().__init__()
        norm, _ = norm_of(config)
        dims, rates = config["dims"], drop_rates(config)
        layers = []
        for stage, depth in enumerate(config["depths"]):
            if stage == 0:
                layers.append(convnext_stem(config))
            else:
                layers += [norm(dims[stage - 1]), nn.Conv2d(dims[stage - 1], dims[stage], 2, 2)]
            layers += [ConvNeXtBlock(config, stage, next(rates)) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.norm = norm(dims[-1])
        self.head = nn.Linear(dims[-1], config["classes"])

    def forward(self, x):
        return self.head(self.norm(self.layers(x).mean((2, 3), keepdim=True)).flatten(1))


def conv_bn(inputs, outputs, kernel=1, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class LargeKernel(nn.Module):
    """A large depthwise convolution: with a small one beside it in training, as one convolution when merged."""

    def __init__(self, channels, kernel, config):
        super().__init__()
        small = config["small_kernel"]
        if config["merged"]:
            self.branches = nn.ModuleList([depthwise(channels, (kernel, kernel))])
        else:
            kernels = [kernel] if small == "none" else [kernel, small]
            self.branches = nn.ModuleList([conv_bn(channels, channels, k, groups=channels) for k in kernels])

    def forward(self, x):
        first, *others = [branch(x) for branch in self.branches]
        return sum(others, first)


class RepLKBlock(nn.Module):
    def __init__(self, dim, kernel, config, rate):
        super().__init__()
        wide, wider = int(dim * config["dw_ratio"]), int(dim * config["ffn_ratio"])
        self.layers = nn.Sequential(
            nn.BatchNorm2d(dim),
            conv_bn(dim, wide),
            nn.ReLU(),
            LargeKernel(wide, kernel, config),
            nn.ReLU(),
            conv_bn(wide, dim),
        )
        self.ffn = nn.Sequential(nn.BatchNorm2d(dim), conv_bn(dim, wider), nn.GELU(), conv_bn(wider, dim))
        self.rate = rate

    def forward(self, x):
        x = x + drop_path(self.layers(x), self.rate, self.training)
        return x + drop_path(self.ffn(x), self.rate, self.training)


class RepLKNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        dims, rates = config["dims"], drop_rates(config)
        first = dims[0]
        layers = [conv_bn(3, first, 3, 2), nn.ReLU(), conv_bn(first, first, 3, groups=first), nn.ReLU()]
        layers += [conv_bn(first, first), nn.ReLU(), conv_bn(first, first, 3, 2, groups=first), nn.ReLU()]
        for stage, (dim, kernel) in enumerate(zip(dims, config["kernel"])):
            if stage > 0:
                layers += [conv_bn(dims[stage - 1], dim), nn.ReLU(), conv_bn(dim, dim, 3, 2, groups=dim), nn.ReLU()]
            layers += [RepLKBlock(dim, kernel, config, next(rates)) for _ in range(config["depths"][stage])]
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(dims[-1]))
        self.head = nn.Linear(dims[-1], config["classes"])

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))


class SLaKKernel(nn.Module):
    """Parallel depthwise convolutions: a norm after each in training, one bias when merged."""

    def __init__(self, dim, kernel, config):
        super().__init__()
        small, pair, merged = config["small_kernel"], config["decompose"], config["merged"]
        kernels = [(kernel, small), (small, kernel)] if pair else [(kernel, kernel)]
        if merged:
            kernels = [(kernel, kernel)] if config["merge_form"] == "cross" else kernels
            branches = [depthwise(dim, sides, bias=index == 0) for index, sides in enumerate(kernels)]
        else:
            kernels += [(small, small)] if small != "none" and small < kernel else []
            branches = [nn.Sequential(depthwise(dim, sides, bias=False), nn.BatchNorm2d(dim)) for sides in kernels]
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        first, *others = [branch(x) for branch in self.branches]
        return sum(others, first)


class SLaK(ConvNeXt):
    """A ConvNeXt with other depthwise convolutions and wider stages."""

    large_kernel = SLaKKernel

    def __init__(self, config):
        dims = [int(dim * config["width"]) for dim in config["dims"]]
        like = {"dims": dims, "variant": "2d", "norm": "layer", "stem": "patch", "stem_channels": 0}
        super().__init__({**config, **like})
        stages = [stage for stage, depth in enumerate(config["depths"]) for _ in range(depth)]
        blocks = [layer for layer in self.layers if isinstance(layer, ConvNeXtBlock)]
        for stage, block in zip(stages, blocks):
            block.dwconv = self.large_kernel(dims[stage], config["kernel"][stage], config)
        if config["head_norm"] == "batch":
            self.norm = nn.BatchNorm2d(dims[-1])


class ShiftWiseKernel(nn.Module):
    """Rows and columns of kernels and a small square, whole in place of put together from small kernels: PyTorch has no
    such operator. Some of the channels pass by. When merged, the square is part of the others, as one bias is."""

    def __init__(self, dim, kernel, config):
        super().__init__()
        if config["body"] == "v1":
            self.large = dim - int(dim * config["ghost_ratio"])
        else:
            self.large = int(dim * (1 - config["ghost_ratio"])) // 2 * 2
        small = config["small_kernel"]
        # A kernel of an even number of rows or columns would change the size.
        long = -(-kernel // small) * small // 2 * 2 + 1
        if config["merged"] == "cross":
            shapes = [(small, long), (long, small)]
            branches = [depthwise(self.large, sides, bias=index == 0) for index, sides in enumerate(shapes)]
        else:
            shapes = [(small, long), (long, small), (small, small)]
            branches = [
                nn.Sequential(depthwise(self.large, sides, bias=False), nn.BatchNorm2d(self.large)) for sides in shapes
            ]
        self.branches = nn.ModuleList(branches)
        self.with_identity = config["merged"] != "cross"

    def forward(self, x):
        large, ghost = x[:, : self.large], x[:, self.large :]
        first, *others = [branch(large) for branch in self.branches]
        y = sum(others, large + first if self.with_identity else first)
        return torch.cat([y, ghost], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, dim):
        super().__init__()
        inner = max(dim // 4, 1)
        self.gate = nn.Sequential(nn.Conv2d(dim, inner, 1), nn.ReLU(), nn.Conv2d(inner, dim, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x.mean((2, 3), keepdim=True))


class ResponseNorm(nn.Module):
    """Global response normalization over the positions of (N, H, W, C)."""

    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        norm = x.norm(dim=(1, 2), keepdim=True)
        return (self.gamma * (norm / (norm.mean(-1, keepdim=True) + 1e-6)) + 1) * x + self.beta


class ShiftWiseBlock(nn.Module):
    """The block of the second version."""

    def __init__(self, dim, kernel, config, rate):
        super().__init__()
        self.large = ShiftWiseKernel(dim, kernel, config)
        self.before = nn.Sequential(nn.BatchNorm2d(dim), SqueezeExcite(dim))
        self.hidden = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), ResponseNorm(4 * dim))
        self.project = nn.Linear(4 * dim, dim, bias=False)
        self.last = nn.BatchNorm2d(dim)
        scale = config["layer_scale"]
        self.gamma = nn.Parameter(torch.full((dim, 1, 1), scale)) if scale > 0 else None
        self.rate = rate

    def forward(self, x):
        f = self.before(self.large(x)).permute(0, 2, 3, 1)
        f = self.last(self.project(self.hidden(f)).permute(0, 3, 1, 2))
        if self.gamma is not None:
            f = self.gamma * f
        return x + drop_path(f, self.rate, self.training)


class ShiftWiseNet(SLaK):
    """The first version is SLaK's body with other large kernels, the second has blocks of its own."""

    large_kernel = ShiftWiseKernel

    def __init__(self, config):
        super().__init__(config)
        if config["body"] == "v1":
            return
        dims = [int(dim * config["width"]) for dim in config["dims"]]
        first, rates = dims[0], drop_rates(config)
        layers = [nn.Conv2d(3, first // 2, 3, 2, 1), LayerNorm(first // 2), nn.GELU()]
        layers += [nn.Conv2d(first // 2, first, 3, 2, 1), LayerNorm(first)]
        for stage, (dim, kernel) in enumerate(zip(dims, config["kernel"])):
            if stage > 0:
                layers += [nn.Conv2d(dims[stage - 1], dim, 3, 2, 1), LayerNorm(dim)]
            layers += [ShiftWiseBlock(dim, kernel, config, next(rates)) for _ in range(config["depths"][stage])]
        self.layers = nn.Sequential(*layers)


def build(config):
    torch.manual_seed(0)
    if config["family"] == "convnext":
        return ConvNeXt(config)
    if config["family"] == "replknet":
        return RepLKNet(config)
    if config["family"] == "slak":
        return SLaK(config)
    if config["family"] == "shiftwise":
        return ShiftWiseNet(config)
    raise Unsupported(config["family"])


def time_network(request, layout, effort, compiled=False):
    """A forward pass without gradients, or a training step: forward pass, loss, gradients, optimizer."""
    on_gpu = request.get("on_gpu", False)
    device = "cuda" if on_gpu else "cpu"
    model = build(request["config"]).to(device=device, memory_format=layout)
    side, classes = request["size"], request["config"]["classes"]
    x = 2 * torch.rand(request["batch"], 3, side, side, device=device) - 1
    x = x.contiguous(memory_format=layout)
    if on_gpu:
        torch.backends.cudnn.benchmark = True
    network = torch.compile(model) if compiled else model

    def timed(step):
        if not on_gpu:
            return measure(step, effort)

        def complete():
            step()
            torch.cuda.synchronize()

        # Twice, since the first one compiles and looks for the fastest algorithms.
        complete()
        complete()
        return {**measure(complete, effort), "allocated_bytes": allocated(step), "compiled": compiled}

    if not request["training"]:
        model.eval()
        with torch.inference_mode():
            return timed(lambda: network(x))
    model.train()
    target = F.one_hot(torch.arange(len(x)) % classes, classes).float().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(x), target).backward()
        optimizer.step()

    return timed(step)


def start(threads):
    """Sets the number of threads, and pays for what PyTorch sets up once."""
    torch.set_num_threads(threads)
    tiny = {"images": 1, "channels": 8, "side": 8, "kernel": (3, 3), "stride": 1, "gradients": True}
    time_convolution(tiny, torch.contiguous_format, {"seconds": 0, "runs": 1, "limit": 1})
    return {"version": torch.__version__, "threads": torch.get_num_threads()}


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "threads" in request:
                answer({"ready": start(request["threads"])})
                continue
            run = time_convolution if request["what"] == "convolution" else time_network
            if request["what"] == "convolution" and request.get("on_gpu"):
                run = time_convolution_on_gpu
            for layout, memory_format in LAYOUTS.items():
                answer({"time": {"layout": layout, **run(request, memory_format, request["effort"])}})
                if run is time_network and request["on_gpu"]:
                    compiled = time_network(request, memory_format, request["effort"], compiled=True)
                    answer({"time": {"layout": layout, **compiled}})
            answer("done")
        except Unsupported as error:
            answer({"unsupported": str(error)})
        except Exception as error:
            answer({"failed": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    serve()
