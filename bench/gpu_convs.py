"""The CUDA kernels of convolution on the layers of a network: right or wrong, and their times beside torch's own.

The wgmma kernels, which are off by default, are turned on here; `bench.gpu_check` keeps what is found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.layers import Problem
from bench.shapes import FOLDER, Layer, read
from pycnn.ops import ACTS, apply_act
from pycnn.planning.cuda import CudaTarget
from pycnn.planning.cuda_device import stream, synchronize

SWITCH = "PYCNN_CUDA_WGMMA"
NETWORKS = ("resnet50", "vgg16", "densenet121")
BATCHES = (1, 8, 64)
SLOPE = 0.01
# Roundings of a bf16 result, and of fp32 sums, the reference's among them, as parts of the sum of absolute products.
RESULT, SUMS = 2**-8, 2**-19
Clock = Callable[[Callable[[], object]], float]


@contextmanager
def switched(name: str, value: str) -> Iterator[None]:
    """The variable of the environment, as it was afterwards."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def wgmma_on() -> AbstractContextManager[None]:
    """The wgmma kernels may be chosen and run."""
    return switched(SWITCH, "1")


def params(target: CudaTarget, layer: Layer, batch: int) -> dict[str, float]:
    """The parameters of conv2d, with the pixel strides a plan gives."""
    names = ("h", "w", "c", "k", "kh", "kw", "sh", "sw", "dh", "dw", "groups")
    (oh, ow), ldy = layer.out, target.pixel_stride(layer.k)
    sizes = {name: getattr(layer, name) for name in names}
    sizes |= {"n": batch, "oh": oh, "ow": ow, "ph": layer.top, "pw": layer.left}
    strides = {"ldx": target.pixel_stride(layer.c), "ldy": ldy, "ldr": ldy}
    return {**sizes, **strides, "act": ACTS[layer.act], "act_param": SLOPE}


class Convolution:
    """A layer with random bf16 numbers on the target's device."""

    def __init__(self, target: CudaTarget, layer: Layer, batch: int) -> None:
        torch.manual_seed(0)
        self.target, self.layer, self.params = target, layer, params(target, layer, batch)
        given = Problem.random(layer, batch)
        to = partial(torch.Tensor.to, device=target.device, dtype=target.dtype)
        self.x, self.weight, self.bias = to(given.x), to(given.weight), given.bias.to(target.device)
        self.residual = None if given.residual is None else to(given.residual)
        self.rows = self._rows(self.x, int(self.params["ldx"]))
        self.added = (
            None if self.residual is None else self._rows(self.residual, int(self.params["ldr"]))
        )
        self.y = torch.empty(batch * layer.out[0] * layer.out[1], int(self.params["ldy"])).to(
            self.rows
        )

    @staticmethod
    def _rows(maps: Tensor, ld: int) -> Tensor:
        flat = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        return F.pad(flat, (0, ld - flat.shape[1])).contiguous()

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """torch's convolution, no more."""
        layer = self.layer
        x = F.pad(x, (layer.left, layer.right, layer.top, layer.bottom))
        return F.conv2d(
            x, weight, None, (layer.sh, layer.sw), 0, (layer.dh, layer.dw), layer.groups
        )

    def expected(self) -> tuple[Tensor, Tensor]:
        """The result in fp32, and how far bf16 may be from it."""
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            y = self.convolve(self.x.float(), self.weight.float())
            size = self.convolve(self.x.float().abs(), self.weight.float().abs())
        finally:
            torch.backends.cudnn.allow_tf32 = before
        for each in (self.bias.view(1, -1, 1, 1), self.residual):
            if each is not None:
                y, size = y + each.float(), size + each.float().abs()
        y = apply_act(y, self.layer.act, SLOPE)
        return y, RESULT * y.abs() + 1.2 * SUMS * size + 2e-6

    def launch(self, kernel: str) -> Callable[[], None]:
        """One launch of a kernel into `y`."""
        target = self.target
        packed = target.pack("conv2d", kernel, self.params, self.weight)
        addresses = [
            0 if t is None else t.data_ptr()
            for t in (self.rows, self.added, packed, self.bias, self.y)
        ]

        def call(packed: Tensor = packed) -> None:  # which must live as long as the call
            target.kernels.run("conv2d", kernel, self.params, *addresses, stream(target.device))

        return call

    def result(self) -> Tensor:
        """y as torch has it."""
        n, k = int(self.params["n"]), self.layer.k
        return self.y[:, :k].view(n, *self.layer.out, k).permute(0, 3, 1, 2)


def on_layer(target: CudaTarget, layer: Layer, batch: int, clock: Clock) -> dict[str, Any]:
    """Seconds of the wgmma kernels that take the layer, of the kernel chosen without them and of torch's convolution,
    and a sentence for each that is wrong."""
    found: dict[str, Any] = {"seconds": {}, "failures": []}
    problem = Convolution(target, layer, batch)
    kernels = [target.choose("conv2d", problem.params, 0)]
    with wgmma_on():
        able = target.kernels.kernels("conv2d", problem.params)
        kernels += [
            name for name, of, why in able if "wgmma" in name and of == "bfloat16" and not why
        ]
        expected, slack = problem.expected()
        for kernel in kernels:
            problem.y.fill_(torch.nan)
            call = problem.launch(kernel)
            call()
            synchronize(target.device)
            wrong = int((~((problem.result().float() - expected).abs() <= slack)).sum())
            if wrong:
                found["failures"].append(
                    f"{layer.name} at batch {batch}, {kernel}: {wrong} wrong results"
                )
            found["seconds"][kernel] = clock(call)
    found["seconds"]["torch"] = clock(partial(problem.convolve, problem.x, problem.weight))
    return found


def on_network(network: str, target: CudaTarget, clock: Clock) -> dict[str, Any]:
    """Every layer at every batch that a wgmma kernel may take."""
    layers: dict[str, Any] = {}
    failures: list[str] = []
    for layer in read(FOLDER / f"{network}.txt"):
        if layer.op != "conv2d" or layer.groups != 1 or layer.c % 8 != 0:
            continue
        for batch in BATCHES:
            found = on_layer(target, layer, batch, clock)
            failures += found["failures"]
            layers[f"{layer.name} {batch}"] = found["seconds"]
    return {"layers": layers, "failures": failures}
