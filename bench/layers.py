"""Every distinct layer of a network by itself, as the plan runs it, against this machine's roof.

    python -m bench layers [NETWORK ...] [--batch N] [--threads N] [--json FILE]

The roof of a layer is the longer of its operations at the measured multiply rate and its bytes at the measured
bandwidth of the cache that holds them: the layer runs several times in a row, so maps and weights are where they fit.
Operations are those of direct convolution: where Winograd's algorithm does fewer, the percentage may exceed 100.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.shapes import Layer
from pycnn import _C
from pycnn.limits import Limits
from pycnn.ops import ACTS, apply_act
from pycnn.planning.cpu import CpuTarget

REPEAT, SECONDS, RUNS = 4, 0.15, 10
NONE = ("none", 0)


@dataclass(frozen=True)
class Problem:
    """A layer with numbers: x [n, c, h, w] (linear: [n * h, c]), torch's weight, bias, residual like y."""

    layer: Layer
    batch: int
    x: Tensor
    weight: Tensor
    bias: Tensor
    residual: Tensor | None

    @classmethod
    def random(cls, layer: Layer, batch: int) -> Problem:
        """Normally distributed, outputs of size about 1."""
        reduction = layer.c // layer.groups * layer.kh * layer.kw
        image, out = (layer.c, layer.h, layer.w), (layer.k, *layer.out)
        x_shape, y_shape = ((batch, *image), (batch, *out))
        if layer.op == "linear":
            x_shape, y_shape = (batch * layer.h, layer.c), (batch * layer.h, layer.k)
        residual = torch.randn(y_shape) if layer.residual else None
        weight = torch.randn(layer.weight_shape) / reduction**0.5
        return cls(layer, batch, torch.randn(x_shape), weight, torch.randn(layer.k), residual)

    def expected(self) -> Tensor:
        """The result in fp64."""
        layer, x, weight, bias = (
            self.layer,
            self.x.double(),
            self.weight.double(),
            self.bias.double(),
        )
        if layer.op == "linear":
            y = F.linear(x, weight, bias)
        else:
            x = F.pad(x, (layer.left, layer.right, layer.top, layer.bottom))
            steps = (layer.sh, layer.sw), 0, (layer.dh, layer.dw)
            y = F.conv2d(x, weight, bias, *steps, layer.groups)
        if self.residual is not None:
            y = y + self.residual.double()
        return apply_act(y, layer.act, 0.01)


def params(layer: Layer, batch: int) -> dict[str, float]:
    """The kernel's parameters, with the pixel strides a plan gives."""
    act = {"act": ACTS[layer.act], "act_param": 0.01}
    if layer.op == "linear":
        strides = {"ldx": layer.c, "ldy": layer.k, "ldr": layer.k}
        return {"m": batch * layer.h, "c": layer.c, "k": layer.k, **strides, **act}
    pixel_stride = CpuTarget().pixel_stride
    ldx = layer.c if layer.nchw else pixel_stride(layer.c)
    strides = {"ldx": ldx, "ldy": pixel_stride(layer.k), "ldr": pixel_stride(layer.k)}
    oh, ow = layer.out
    names = ("h", "w", "c", "k", "kh", "kw", "sh", "sw", "dh", "dw", "groups")
    sizes = {name: getattr(layer, name) for name in names}
    sizes |= {"n": batch, "oh": oh, "ow": ow, "ph": layer.top, "pw": layer.left}
    return {**sizes, "x_nchw": layer.nchw, **strides, **act}


def rows(x: Tensor, ld: int) -> Tensor:
    """[n, c, h, w] or [m, c] as rows of c floats, `ld` apart."""
    flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]) if x.dim() == 4 else x
    buffer = torch.zeros(flat.shape[0], ld)
    buffer[:, : flat.shape[1]] = flat
    return buffer


class Step:
    """The problem as `repeat` equal steps of a plan."""

    def __init__(self, problem: Problem, kernel: str, threads: int, repeat: int = 1) -> None:
        layer, p = problem.layer, params(problem.layer, problem.batch)
        self.problem, ldy = problem, int(p["ldy"])
        self.x = problem.x if layer.nchw else rows(problem.x, int(p["ldx"]))
        self.residual = None if problem.residual is None else rows(problem.residual, ldy)
        pixels = problem.batch * (layer.h if layer.op == "linear" else layer.out[0] * layer.out[1])
        self.y = torch.full((pixels, ldy), torch.nan)
        self.packed = torch.empty(_C.packed_size(layer.op, kernel, p))
        _C.pack(layer.op, kernel, p, problem.weight.data_ptr(), self.packed.data_ptr())
        workspace = 4 * _C.workspace(layer.op, kernel, p, threads)
        self.plan = _C.Plan(0, workspace, threads, 1, 1)
        r, w, b = (
            NONE if t is None else ("const", t.data_ptr())
            for t in (self.residual, self.packed, problem.bias)
        )
        for _ in range(repeat):
            self.plan.add(layer.op, kernel, p, ("input", 0), r, w, b, ("output", 0))

    def run(self) -> None:
        """All repetitions once."""
        self.plan.run_single(self.x.data_ptr(), self.y.data_ptr())

    def result(self) -> Tensor:
        """y as torch has it."""
        layer, y = self.problem.layer, self.y[:, : self.problem.layer.k]
        if layer.op == "linear":
            return y
        return y.view(self.problem.batch, *layer.out, layer.k).permute(0, 3, 1, 2)


def measure(layer: Layer, batch: int, threads: int) -> dict[str, Any]:
    """Time the kernel the table chooses: one row of the record, seconds a run of the layer."""
    problem = Problem.random(layer, batch)
    kernel = _C.choose(layer.op, params(layer, batch), threads)
    step = Step(problem, kernel, threads, REPEAT)
    step.run()
    expected = problem.expected()
    error = float((step.result() - expected).abs().max() / expected.abs().max())
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        step.run()
        times.append((time.perf_counter() - start) / REPEAT)
    return {
        "name": layer.name,
        "op": layer.op,
        "times": layer.times,
        "batch": batch,
        "size": size(layer),
        "kernel": kernel,
        "min_s": min(times),
        "p20_s": statistics.quantiles(times, n=5)[0],
        "flops": layer.flops(batch),
        "bytes": layer.moved_bytes(batch),
        "error": error,
    }


def size(layer: Layer) -> str:
    """The layer in words: 28x28 128 -> 512 1x1, stride 2, 4 groups."""
    if layer.op == "linear":
        return f"{layer.h} x {layer.c} -> {layer.k}"
    text = f"{layer.h}x{layer.w} {layer.c} -> {layer.k} {layer.kh}x{layer.kw}"
    if (layer.sh, layer.sw) != (1, 1):
        text += f", stride {layer.sh}" + (f"x{layer.sw}" if layer.sh != layer.sw else "")
    if (layer.dh, layer.dw) != (1, 1):
        text += f", dilation {layer.dh}"
    if layer.groups > 1:
        depthwise = layer.groups == layer.c == layer.k
        text += ", depthwise" if depthwise else f", {layer.groups} groups"
    return text


def of_roof(row: dict[str, Any], limits: Limits) -> tuple[float, str]:
    """(share of the roof, "multiply" or "memory" by which is the binding limit)."""
    arithmetic = row["flops"] / limits.fma_flops
    least = limits.least_seconds(row["flops"], row["bytes"])
    return least / row["min_s"], "multiply" if least == arithmetic else "memory"
