"""conv2d on Hopper's tensor cores: as test_conv2d_cuda.py, and what TMA asks of every layer of the bench networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from launch import DTYPES, ON_HOST, Guarded, kernels, on_host, run
from test_conv2d_cuda import WGMMA, WINDOWS, Conv, Ran, check, launch
from test_launches_cuda import BATCHES, SOMEWHERE, problem
from test_plan_cuda import check as check_net
from test_plan_cuda import randn, settle, steps

import pycnn
from bench.shapes import FOLDER, NETWORKS, Layer, read
from pycnn import ops
from pycnn.planning.cuda import CudaTarget

SWITCH = "PYCNN_CUDA_WGMMA"
BF16 = [name for name, dtype in WGMMA if dtype == "bfloat16"]
MOST_SHARED = 227 << 10  # of a block on sm_90
# More tiles than the host has multiprocessors, more steps than buffers, tails of pixels and of both channels.
LARGE = Conv(584, 136, 8, 41, gap=8, act="relu")


@pytest.fixture(autouse=True)
def _on(monkeypatch: pytest.MonkeyPatch) -> None:
    if not ON_HOST and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("this GPU is not of compute capability 9.0")
    monkeypatch.setenv(SWITCH, "1")


def split(kernel: str) -> int:
    """Blocks that share a reduction."""
    return int(kernel.partition("split")[2][:1] or 1)


def taken(conv: Conv, kernel: str, dtype: str, **more: Any) -> None:
    """Right against fp64, or refused for want of steps to share out."""
    steps = conv.kernel[0] * conv.kernel[1] * -(-conv.c // 64)
    assert check(conv, kernel, dtype, **more) == (steps >= split(kernel)), conv


def test_they_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    params = {
        "n": 64,
        "h": 56,
        "w": 56,
        "oh": 56,
        "ow": 56,
        "c": 256,
        "k": 256,
        "ldx": 256,
        "ldy": 256,
    }
    module = kernels()
    assert len(WGMMA) == 12
    for value in ("0", "", "yes", None):
        monkeypatch.delenv(SWITCH) if value is None else monkeypatch.setenv(SWITCH, value)
        off = [w for name, _, w in module.kernels("conv2d", params) if (name, _) in WGMMA]
        assert off == ["is off until a GPU has confirmed it: PYCNN_CUDA_WGMMA=1 turns it on"] * 12
        assert "wgmma" not in module.choose("conv2d", "bfloat16", False, True, params)
    monkeypatch.setenv(SWITCH, "1")
    assert "wgmma128x256" in module.choose("conv2d", "bfloat16", False, True, params)
    assert "wgmma" not in module.choose("conv2d", "bfloat16", False, False, params)
    small = {
        **params,
        "n": 1,
        "h": 7,
        "w": 7,
        "oh": 7,
        "ow": 7,
        "c": 2048,
        "ldx": 2048,
        "k": 512,
        "ldy": 512,
    }
    assert "split" in module.choose("conv2d", "bfloat16", False, True, small)


@pytest.mark.parametrize(("kernel", "dtype"), WGMMA)
def test_pixels_and_channels_at_the_edges_of_tiles(kernel: str, dtype: str) -> None:
    for c, k, w in ((8, 1, 1), (64, 64, 128), (72, 65, 129), (136, 130, 63), (512, 8, 65)):
        taken(Conv(c, k, 1, w), kernel, dtype)
    taken(LARGE, kernel, dtype)
    assert not check(Conv(12, 8), kernel, dtype)
    assert not check(Conv(16, 16, groups=2), kernel, dtype)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("kernel", "dtype"), WGMMA)
def test_windows_strides_dilations_and_paddings(kernel: str, dtype: str, window: tuple) -> None:
    kernel_size, stride, padding, dilation = window
    taken(Conv(80, 24, 9, 11, kernel_size, stride, padding, dilation, n=2), kernel, dtype)


@pytest.mark.parametrize(("kernel", "dtype"), WGMMA)
def test_slices_odd_channels_and_no_extras(kernel: str, dtype: str) -> None:
    """Residual and y that TMA moves, or threads, each with the other."""
    for k, gap, gap_y in ((72, 8, 16), (72, 8, 3), (72, 0, 5), (71, 8, 8), (71, 8, 9)):
        conv = Conv(64, k, 5, 29, (3, 3), padding=(1, 1, 1, 1), gap=gap, gap_y=gap_y, act="silu")
        taken(conv, kernel, dtype)
        taken(conv, kernel, dtype, extras=False)
    assert not check(Conv(64, 8, gap=3), kernel, dtype)


@pytest.mark.parametrize(("kernel", "dtype"), WGMMA)
def test_strides_without_a_window_and_crops(kernel: str, dtype: str) -> None:
    conv = Conv(72, 40, 13, 12, stride=(2, 3), n=3)
    taken(conv, kernel, dtype)
    taken(replace(conv, kernel=(3, 3), padding=(-2, -1, 0, -1)), kernel, dtype)
    assert not check(replace(conv, h=20, stride=(9, 1)), kernel, dtype)
    assert not check(replace(conv, padding=(129, 0, 0, 0)), kernel, dtype)


@pytest.mark.parametrize("act", ops.ACTS)
def test_activations(act: str) -> None:
    for kernel, dtype in WGMMA:
        taken(Conv(128, 24, 3, 5, act=act), kernel, dtype)


@on_host
@pytest.mark.parametrize("kernel", BF16)
def test_any_order_of_threads_and_of_copies_gives_the_same_bits(kernel: str) -> None:
    found = [launch(LARGE, kernel, "bfloat16", seed=seed) for seed in range(1, 7)]
    assert all(isinstance(ran, Ran) and ran.wrong() == 0 for ran in found)
    first = found[0].y.view.view(torch.int16)
    assert all(torch.equal(ran.y.view.view(torch.int16), first) for ran in found)


@pytest.mark.parametrize("kernel", BF16)
def test_an_image_gives_the_same_bits_in_any_batch(kernel: str) -> None:
    values = torch.randn(5 * 49, 512, generator=torch.Generator().manual_seed(5)).bfloat16()
    weight = torch.randn(72, 512, 1, 1, generator=torch.Generator().manual_seed(6))
    found = []
    for n in (1, 5):
        y = Guarded(torch.zeros(n * 49, 72).bfloat16(), writable=True)
        params = {
            "n": n,
            "h": 7,
            "w": 7,
            "oh": 7,
            "ow": 7,
            "c": 512,
            "k": 72,
            "ldx": 512,
            "ldy": 72,
        }
        run("conv2d", kernel, params, Guarded(values[: n * 49]), y, weight)
        found.append(y.view[:49])
    assert torch.equal(*found)


def noticed(conv: Conv, kernel: str, drop: str, extras: bool) -> bool:
    """Whether one of 24 orders of threads and copies shows that the barrier `drop` is not there."""
    for seed in range(1, 25):
        try:
            ran = launch(conv, kernel, "bfloat16", extras, seed, drop)
        except RuntimeError:
            return True
        if isinstance(ran, Ran) and ran.wrong():
            return True
    return False


@on_host
@pytest.mark.parametrize(
    "kernel", ["conv2d_wgmma128x64_bf16_sm90", "conv2d_wgmma128x64_split2_bf16_sm90"]
)
def test_a_barrier_that_is_missing_is_noticed(kernel: str) -> None:
    """Each one of every way through the epilogue."""
    large = replace(LARGE, c=LARGE.c * split(kernel))
    problems = [(large, True), (large, False), (replace(large, gap_y=3), True)]
    sites: set[str] = set()
    for conv, extras in problems:
        whole = launch(conv, kernel, "bfloat16", extras)
        assert isinstance(whole, Ran) and whole.wrong() == 0
        sites.update(whole.sites)
    assert len(sites) >= 11
    for site in sorted(sites):
        assert any(noticed(conv, kernel, site, extras) for conv, extras in problems), (
            f"{site} may be dropped"
        )


def test_infinities_and_nan_stay() -> None:
    for kernel, dtype in WGMMA:
        values = torch.ones(4, 512, dtype=DTYPES[dtype])
        values[1, 3], values[2, 500] = torch.inf, torch.nan
        params = {"w": 4, "c": 512, "k": 16, "ow": 4, "ldx": 512, "ldy": 16, "act": 1}
        y = Guarded(torch.zeros(4, 16, dtype=DTYPES[dtype]), writable=True)
        run("conv2d", kernel, params, Guarded(values), y, torch.ones(16, 512, 1, 1))
        assert bool((y.view[[0, 3]] == 512).all() and y.view[1].isinf().all())
        assert bool(y.view[2].isnan().all())


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet"])
def test_networks_with_them(name: str) -> None:
    """Windows, strides, residuals and slices of joined maps, where a plan chooses."""
    torch.manual_seed(0)
    x = randn(1, 3, 32, 32).bfloat16()
    net = settle(pycnn.create_model(name))
    found = steps(check_net(net, x), x)
    wgmma = [kernel for kernel in found if "wgmma" in kernel]
    assert len(wgmma) > len(found) / 4 and any("split" in kernel for kernel in wgmma)


def layers(network: str, target: CudaTarget) -> Iterator[tuple[Layer, int, dict[str, float]]]:
    for layer in read(FOLDER / f"{network}.txt"):
        for batch in BATCHES:
            op, params = problem(target, layer, batch)
            if op == "conv2d" and not layer.nchw:
                yield layer, batch, params


@on_host
@pytest.mark.parametrize("network", NETWORKS)
def test_tensor_maps_and_launches_of_every_layer_are_within_limits(network: str) -> None:
    """Of those that a kernel takes; those with one group and channels in pieces of 16 bytes are taken."""
    module = kernels()
    target = CudaTarget(
        kernels=module, device=torch.device("cpu"), dtype=torch.bfloat16, tf32=False
    )
    for layer, batch, params in layers(network, target):
        reasons = {name: why for name, _, why in module.kernels("conv2d", params) if name in BF16}
        free = [name for name, why in reasons.items() if why is None]
        assert bool(free) == (layer.groups == 1 and layer.c % 8 == 0), (layer, reasons)
        for name in free:
            maps = module.tensor_maps(params, int(name.partition("128x")[2].partition("_")[0]))
            x, w, _, y = maps
            assert x["limit"] is None and w["limit"] is None, (layer, maps)
            assert y["limit"] is None or params["ldy"] % 8 != 0, (layer, maps)
            assert x["im2col"] == ((layer.kh, layer.kw, layer.sh, layer.sw) != (1, 1, 1, 1))
            assert w["dim"][1] == y["dim"][0] == layer.k and x["dim"][0] == layer.c
            assert y["dim"][1] == batch * layer.out[0] * layer.out[1]
            module.only_count(True)
            try:
                module.run("conv2d", name, params, *[SOMEWHERE] * 5, 0)
                (blocks, rows, threads, shared, cluster) = module.launches()[0]
            finally:
                module.only_count(False)
            assert 1 <= blocks < 2**31 and rows == 1 and threads == 384 and shared <= MOST_SHARED
            assert cluster == split(name) and blocks % cluster == 0


@on_host
def test_corners_of_a_window() -> None:
    """The box reaches from the first tap of the first output to that of the last one."""
    conv = {"n": 8, "c": 128, "k": 128, "ldx": 136, "ldy": 128, "ldr": 128, "h": 56, "w": 40}
    strided = {**conv, "kh": 3, "kw": 3, "sh": 2, "sw": 2, "ph": 1, "pw": 1, "oh": 28, "ow": 20}
    x, w, _, y = kernels().tensor_maps(strided, 64)
    assert x == {
        "dim": [128, 40, 56, 8], "stride": [272, 10880, 609280], "box": [64, 128], "step": [2, 2],
        "lower": [-1, -1], "upper": [-2, -2], "im2col": True, "limit": None,
    }  # fmt: skip
    assert w["dim"] == [9 * 128, 128] and w["stride"] == [9 * 128 * 2] and w["box"] == [64, 64]
    assert y["dim"] == [128, 8 * 28 * 20] and y["box"] == [64, 64] and not y["im2col"]
    whole = {**conv, "oh": 56, "ow": 40}
    assert kernels().tensor_maps(whole, 64)[0]["dim"] == [128, 8 * 56 * 40]
