"""Every layer of the bench networks gets a kernel whose launch is within what the hardware takes; none is run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from launch import DTYPES, kernels, on_host

from bench.shapes import FOLDER, NETWORKS, Layer, read
from pycnn.ops import ACTS
from pycnn.planning.cuda import CudaTarget

SOMEWHERE = 1 << 20  # an address on a multiple of 16 bytes; nothing is read there
BATCHES = (1, 8, 64, 256)


def problem(target: CudaTarget, layer: Layer, batch: int) -> tuple[str, dict[str, float]]:
    act = {"act": ACTS[layer.act]}
    if layer.op == "linear":
        sizes = {
            "m": batch * layer.h,
            "c": layer.c,
            "k": layer.k,
            "ldx": layer.c,
            "ldy": layer.k,
            "ldr": layer.k,
        }
        return target.linear({**sizes, **act})
    ldy = target.pixel_stride(layer.k)
    oh, ow = layer.out
    names = ("h", "w", "c", "k", "kh", "kw", "sh", "sw", "dh", "dw", "groups")
    sizes = {name: getattr(layer, name) for name in names}
    sizes |= {"n": batch, "oh": oh, "ow": ow, "ph": layer.top, "pw": layer.left}
    return "conv2d", {**sizes, "ldx": target.pixel_stride(layer.c), "ldy": ldy, "ldr": ldy, **act}


def launches(target: CudaTarget, layer: Layer, batch: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    module = kernels()
    op, params = problem(target, layer, batch)
    name = target.choose(op, params, 0)
    module.only_count(True)
    try:
        module.run(op, name, params, *[SOMEWHERE] * 5, 0)
        for launch in module.launches():
            yield name, launch
    finally:
        module.only_count(False)


@on_host
@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("network", NETWORKS)
def test_launches_are_within_the_hardwares_limits(network: str, dtype: torch.dtype) -> None:
    target = CudaTarget(kernels=kernels(), device=torch.device("cpu"), dtype=dtype, tf32=True)
    seen = set()
    for layer in read(FOLDER / f"{network}.txt"):
        for batch in BATCHES:
            found = list(launches(target, layer, batch))
            assert len(found) == 1, layer
            for name, (x, y, threads, shared, _) in found:
                assert 1 <= x < 2**31 and 1 <= y < 2**16, (layer, name)
                assert threads % 32 == 0 and threads <= 1024 and shared <= 163 << 10, (layer, name)
                fewest = batch * layer.out[0] * layer.out[1] if layer.op == "conv2d" else batch
                assert x * y * threads * 64 >= fewest, (
                    layer,
                    name,
                )  # nobody has more than 64 outputs of a channel
                seen.add(name)
    assert len(seen) >= 2
