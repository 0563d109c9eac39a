"""The pieces of `bench.gpu_check`: each takes the record so far and returns what it found, with "failures"."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

import pycnn
from bench import gpu_convs
from bench.report import ROOT
from pycnn.explain import Report
from pycnn.planning.cuda import CudaTarget
from pycnn.planning.devices import cuda_kernels
from pycnn.timing.facts import versions

Found = dict[str, Any]
Call = Callable[[Tensor], Tensor]
NETWORKS = (
    "resnet18", "resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "densenet121",
    "googlenet", "convnext_tiny",
)  # fmt: skip
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")  # of compute-sanitizer
EARLY = "PYCNN_CUDA_PDL"  # kernels may start while those before them end
OWN_ERRORS = 1.5  # of torch's own error: how far a network may be from fp64
SANITIZED = "tests/cuda/test_each_kernel_cuda.py"  # one problem of each kernel


def wgmma(network: str, record: Found) -> Found:
    """The wgmma kernels on a network's layers: against fp32, and their times."""
    target = CudaTarget(
        kernels=cuda_kernels(), device=torch.device("cuda", 0), dtype=torch.bfloat16, tf32=False
    )
    with torch.inference_mode():
        return gpu_convs.on_network(network, target, partial(seconds, budget=0.02))


def machine(record: Found) -> Found:
    """What it runs on."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "sms": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "versions": {**versions(), "cuda": str(torch.version.cuda)},
    }


def seconds(call: Callable[[], object], budget: float = 1.0) -> float:
    """20th percentile of a call's time on the current stream, after it has settled."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    times: list[float] = []
    while sum(times) < budget and len(times) < 200:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(11)]
        for event in events[:-1]:
            event.record()
            call()
        events[-1].record()
        torch.cuda.synchronize()
        times += [a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:], strict=False)]
    return sorted(times)[len(times) // 5]


def ceilings(record: Found) -> Found:
    """Copy bandwidth of DRAM, the rate of bf16 products, what a launch and a graph's node cost."""
    big = torch.empty(1 << 29, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(big)
    copy_s = seconds(lambda: target.copy_(big))
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product_s = seconds(lambda: a @ b)
    small = torch.empty(64, device="cuda")

    def launches() -> None:
        for _ in range(100):
            small.add_(1)

    return {
        "copy_bytes_s": 2 * big.nbytes / copy_s,
        "bf16_flops": 2 * 8192.0**3 / product_s,
        "launch_s": seconds(launches) / 100,
        "graph_node_s": seconds(captured(launches)) / 100,
    }


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """The call as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def pytest(tests: str, before: tuple[str, ...] = (), **settings: str) -> tuple[str, int]:
    """What these tests said on the GPU, and their exit status; `settings`: of the environment."""
    command = [*before, sys.executable, "-m", "pytest", "-q", "-x" if before else "--maxfail=30"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", tests],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYCNN_TEST_DEVICE": "cuda", **settings},
    )
    return done.stdout + done.stderr, done.returncode


def build(record: Found) -> Found:
    """The library compiled anew by this machine's nvcc, its kernels' resources and instructions against the table."""
    done = subprocess.run(
        [sys.executable, "tools/check_cuda.py"], capture_output=True, text=True, cwd=ROOT
    )
    said = (done.stdout + done.stderr).strip().splitlines() or [""]
    return {"said": said[-1], "failures": said[-20:] if done.returncode else []}


def kernels(record: Found) -> Found:
    """Every kernel over the grids of its tests, against fp64."""
    said, status = pytest("tests/cuda")
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", said)}
    failures = re.findall(r"^(?:FAILED|ERROR) (.*)$", said, re.MULTILINE)
    if status != 0 and not failures:
        failures = [f"pytest ended with {status}: {said.strip().splitlines()[-1]}"]
    return {"tests": counts, "failures": failures}


def alive(name: str) -> nn.Module:
    """The network, with statistics that are no identity."""
    torch.manual_seed(0)
    net = pycnn.create_model(name).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return net


def errors(name: str, record: Found, device: str = "cuda", size: int = 224) -> Found:
    """Error of a network in every dtype against fp64, beside torch's own in that dtype."""
    found: Found = {"errors": {}, "failures": []}
    net = alive(name).to(device)
    x = torch.randn(2, 3, size, size, device=device)
    with torch.inference_mode():
        for word, dtype in DTYPES.items():
            given = x.to(dtype)
            truth = copy.deepcopy(net).to(dtype).double()(given.double())
            mine = copy.deepcopy(net).to(dtype)
            fast = pycnn.optimize(mine)
            scale = truth.abs().max()
            ours, own = (float((f(given) - truth).abs().max() / scale) for f in (fast, mine))
            by_torch = len(pycnn.explain(fast, given).fallbacks)
            found["errors"][word] = {"pycnn": ours, "torch": own, "by_torch": by_torch}
            if not ours <= max(OWN_ERRORS * own, 1e-5):
                found["failures"].append(f"{name} in {word}: error {ours:.2e}, torch's {own:.2e}")
    return found


def early(name: str, record: Found, device: str = "cuda", size: int = 224) -> Found:
    """Programmatic dependent launch: the bits of many calls in a CUDA graph with it are those without; times."""
    found: Found = {"seconds": {}, "failures": []}
    net = alive(name).to(device, torch.bfloat16)
    x = torch.randn(1, 3, size, size, device=device, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = pycnn.optimize(net)(x)
        for switch in ("0", "1"):
            with gpu_convs.switched(EARLY, switch):
                fast = pycnn.optimize(net)
                wrong = sum(not torch.equal(fast(x), expected) for _ in range(50))
                found["seconds"][f"{EARLY}={switch}"] = seconds(partial(fast, x), 0.2)
            if wrong:
                found["failures"].append(f"{name}, {EARLY}={switch}: {wrong} of 50 calls differ")
    return found


def sanitizer(tool: str, record: Found) -> Found:
    """compute-sanitizer over one problem of each kernel."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"failures": ["there is no compute-sanitizer on PATH"]}
    before = (program, "--tool", tool, "--error-exitcode", "9")
    # Without torch's cache every tensor ends where its memory does.
    said, status = pytest(SANITIZED, before, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    lines = [line for line in said.splitlines() if line.startswith("=========")]
    return {"failures": [] if status == 0 else lines[:3] or said.strip().splitlines()[-1:]}


def by_rule(net: nn.Module, x: Tensor) -> nn.Module:
    """The network with plans of the kernels that are predicted to be fastest, whatever was measured here before."""
    fast, before = pycnn.optimize(net), os.environ.get("PYCNN_TUNED")
    with TemporaryDirectory() as folder:
        os.environ["PYCNN_TUNED"] = os.path.join(folder, "none.json")
        try:
            fast(x)  # which looks for the table
        finally:
            os.environ.pop("PYCNN_TUNED")
            if before is not None:
                os.environ["PYCNN_TUNED"] = before
    return fast


def times(name: str, batch: int, record: Found, dtype: torch.dtype = torch.bfloat16) -> Found:
    """Seconds a call of pycnn, its kernels measured or by rule, and of its peers, NHWC in half precision, with and
    without a CUDA graph; and the roofline's floor from the measured ceilings, with the fraction of it."""
    found: Found = {"seconds": {}, "failures": []}
    net = alive(name).to("cuda", dtype, memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    fast = pycnn.optimize(net, tune=True)
    with torch.inference_mode():
        engines: dict[str, Call] = {
            "pycnn, by rule": by_rule(net, x),
            "pycnn": fast,
            "torch": net,
            "torch.compile": torch.compile(net, mode="max-autotune"),
        }
        for engine, call in engines.items():
            once = partial(call, x)
            try:
                found["seconds"][engine] = seconds(once)
                if engine != "torch.compile":  # which captures graphs itself
                    found["seconds"][f"{engine}, graph"] = seconds(captured(once))
            except (RuntimeError, NotImplementedError) as error:
                found["failures"].append(f"{engine}: {str(error).splitlines()[0]}")
        limits = record.get("ceilings") or ceilings(record)
        found["floor_s"] = floor(pycnn.explain(fast, x), limits)
    ours = [spent for engine, spent in found["seconds"].items() if engine.startswith("pycnn")]
    found["of_floor"] = found["floor_s"] / min(ours) if ours else 0.0
    return found


def floor(report: Report, limits: Found) -> float:
    """The sum over steps of max(operations / rate, bytes / bandwidth)."""
    rate, bandwidth = limits["bf16_flops"], limits["copy_bytes_s"]
    moved = [s.activation_bytes + s.weight_bytes for s in report.steps]
    return sum(
        max(step.flops / rate, each / bandwidth)
        for step, each in zip(report.steps, moved, strict=True)
    )
