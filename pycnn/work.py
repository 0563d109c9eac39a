"""What a step has to do at least: operations, and bytes moved once each. The roof it is held against follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pycnn.ir import Shape
from pycnn.limits import Limits
from pycnn.planning.homes import FLOAT
from pycnn.planning.params import CONVOLUTIONS, Params, multiplies
from pycnn.planning.step import Step

COPIES = ("concat", "layout")


@dataclass(frozen=True)
class Work:
    """Attributes:
    flops: fp32 operations of the direct sum, a multiply-add being two (Winograd does fewer).
    activation_bytes: read and written, each once.
    weight_bytes: read once, as the model has them.
    """

    flops: float = 0.0
    activation_bytes: float = 0.0
    weight_bytes: float = 0.0

    @property
    def bytes(self) -> float:
        return self.activation_bytes + self.weight_bytes


@dataclass(frozen=True)
class Roof:
    """The least time a machine allows, bound by "compute" or "memory", or "" for a view, which does nothing."""

    seconds: float
    bound: str


def work_of(step: Step, shapes: Mapping[int, Shape], itemsize: int = FLOAT) -> Work:
    """Of one kernel call on elements of `itemsize` bytes."""
    p, images = step.params, step.images
    if step.op in COPIES:
        return Work(0.0, 2 * itemsize * images * p.get("n", 1) * p["pixels"] * p["c"])
    if step.op == "rearrange":
        return Work(0.0, 2 * itemsize * math.prod(p[f"s{i}"] for i in range(8)))
    elements = [math.prod(shapes[v]) for v in (*step.node.inputs, *step.node.outputs)]
    moved, made = float(sum(elements)), float(elements[-1])
    if step.op in CONVOLUTIONS:
        moved -= elements[0] - images * _pixels_read(p) * p["c"]
        weights = p["k"] * p["c"] / p.get("groups", 1) * p.get("kh", 1) * p.get("kw", 1)
        flops = 2 * images * p["n"] * p["oh"] * p["ow"] * weights
    elif step.op == "conv_transpose2d":
        weights = p["c"] * p["k"] / p["groups"] * p["kh"] * p["kw"]
        flops = 2 * images * p["n"] * p["h"] * p["w"] * weights
    elif step.op == "excitation":
        weights = 2 * p["c"] * p["s"]
        flops = 2 * p["n"] * weights
        sums = p["parts"] * FLOAT / itemsize if p.get("parts") else 1.0  # what is read of a channel
        moved = p["n"] * p["c"] * (sums + 1)
    elif step.op == "mlp":
        weights = p["s"] * (p["c"] + p["k"])
        flops = 2 * p["n"] * p["pixels"] * weights
    elif step.op == "inverted_residual":
        weights = p["s"] * (p["c"] + 9 + p["k"])
        flops = 2 * multiplies(step.op, p)
    elif step.op == "linear":
        weights = p["c"] * p["k"]
        flops = 2 * p["m"] * weights
    elif step.op == "matmul":
        weights = 0.0 if step.packed is None else step.packed.weight.nbytes / itemsize
        flops = 2 * multiplies(step.op, p)
    elif step.op == "pool2d" and "kh" in p:
        flops, weights = made * p["kh"] * p["kw"], 0.0
    else:
        flops, weights = max(moved - made, made), 0.0
        if step.packed is not None:
            weights = step.packed.weight.nbytes / itemsize
    biases = 0 if step.packed is None or step.packed.bias is None else step.packed.bias.numel()
    return Work(flops, itemsize * moved, itemsize * (weights + biases))


def work_of_torch(inputs: list[Tensor], outputs: list[Tensor], flops: float) -> Work:
    """Of a step that torch runs: a view of an input moves nothing."""
    memory = {t.untyped_storage().data_ptr() for t in inputs}
    made = [t for t in outputs if t.untyped_storage().data_ptr() not in memory]
    moved = sum(t.numel() * t.element_size() for t in (*inputs, *made)) if made else 0
    return Work(flops, float(moved))


def roof(work: Work, limits: Limits, resident_bytes: float) -> Roof:
    """max(flops / rate, bytes / bandwidths).

    Activations come from the cache that holds this step's; weights from the one that holds `resident_bytes`, all that a
    call of the whole network touches, since each call reads all of them.
    """
    compute = work.flops / limits.fma_flops
    moved = work.activation_bytes / limits.bytes_s(work.activation_bytes)
    moved += work.weight_bytes / limits.bytes_s(resident_bytes)
    if work.flops == work.bytes == 0:
        return Roof(0.0, "")
    return Roof(max(compute, moved), "compute" if compute >= moved else "memory")


def _pixels_read(p: Params) -> float:
    """Input pixels that some tap touches: a strided 1x1 skips most."""
    rows = min(p["h"], p["oh"] * min(p.get("kh", 1), p.get("sh", 1)) + _rest(p, "kh", "sh"))
    columns = min(p["w"], p["ow"] * min(p.get("kw", 1), p.get("sw", 1)) + _rest(p, "kw", "sw"))
    return p["n"] * rows * columns


def _rest(p: Params, kernel: str, stride: str) -> float:
    return max(p.get(kernel, 1) - p.get(stride, 1), 0)


def describe(limits: Limits) -> str:
    """The limits in a line."""
    threads = f"{limits.threads} thread{'s' if limits.threads > 1 else ''}"
    rates = (limits.l2_bytes_s, limits.l3_bytes_s, limits.dram_bytes_s)
    l2, l3, dram = (f"{rate / 1e9:,.0f} GB/s" for rate in rates)
    return (
        f"limit of {threads}, {limits.isa}: {limits.fma_flops / 1e9:,.0f} GFLOP/s; "
        f"L2 {l2}, L3 {l3}, memory {dram}"
    )
