"""Every layer of the bench networks, and every step of their plans, gets a kernel whose launch is within what the
hardware takes; none is run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from launch import DTYPES, kernels, on_host
from test_plan_cuda import HostTarget, program

import pycnn
from bench import gpu_pieces
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


def fits(x: int, y: int, threads: int, shared: int) -> bool:
    """Within the limits of sm_80, whose shared memory is the smallest."""
    return (
        1 <= x < 2**31
        and 1 <= y < 2**16
        and threads % 32 == 0
        and 32 <= threads <= 1024
        and shared <= 163 << 10
    )


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
                assert fits(x, y, threads, shared), (layer, name)
                fewest = batch * layer.out[0] * layer.out[1] if layer.op == "conv2d" else batch
                assert x * y * threads * 64 >= fewest, (
                    layer,
                    name,
                )  # nobody has more than 64 outputs of a channel
                seen.add(name)
    assert len(seen) >= 2


@on_host
@pytest.mark.parametrize("network", gpu_pieces.NETWORKS)
@torch.no_grad()
def test_every_step_of_the_bench_networks_plans(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of several layers, pooling, norms, gates, joins and copies too, at the smallest and the largest batch."""
    with torch.device("meta"):
        net = pycnn.create_model(network).eval()
    net = net.to_empty(device="cpu").bfloat16()  # no values are looked at
    nothing = torch.zeros(16, dtype=torch.uint8)  # nor are weights, and packing them takes seconds
    monkeypatch.setattr(HostTarget, "pack", lambda *args: nothing)
    module = kernels()
    x = torch.empty(1, 3, 224, 224, dtype=torch.bfloat16)
    made = [program(net, x, blocks=blocks) for blocks in (False, True)]
    for batch, blocks in ((1, False), (256, False), (1, True), (256, True)):
        (lowered,) = made[blocks].plans([torch.empty(batch, 3, 224, 224, dtype=torch.bfloat16)])
        plan = lowered.plan.plan
        assert len(plan) == len(lowered.steps) > 15
        try:
            for i, step in enumerate(lowered.steps):
                module.only_count(True)  # from none on
                plan.run(SOMEWHERE, [SOMEWHERE], [SOMEWHERE], 0, i, i + 1)
                for *launch, _ in module.launches():
                    assert fits(*launch), (step.kernel, step.params, launch)
                assert module.launches(), step.kernel
        finally:
            module.only_count(False)
