"""The stem with its max-pooling in one kernel: against fp64 at the edges of maps, tiles and windows; barriers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from launch import DTYPES, Guarded, Ran, kernels, on_host, run
from test_conv2d_cuda import PRODUCT, SUM, UNIT, arithmetic, rows
from torch import Tensor

from pycnn import ops


@dataclass(frozen=True)
class Stem:
    """pool: window, padding; gap: elements between pixels of y that are not the tensor's."""

    h: int
    w: int
    c: int = 3
    k: int = 20
    kernel: int = 3
    stride: int = 2
    padding: int = 1
    pool: tuple[int, int] = (3, 1)
    ceil: bool = False
    act: str = "relu"
    n: int = 1
    gap: int = 0
    bias: bool = True

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = F.conv2d(x, weight, bias, self.stride, self.padding)
        return F.max_pool2d(
            ops.apply_act(y, self.act, 0.3), self.pool[0], 2, self.pool[1], 1, self.ceil
        )


ALL = [(name, dtype) for name, dtype, _ in kernels().kernels("conv2d_pool", {})]
ROW = [(name, dtype) for name, dtype in ALL if "row" in name]


def problem(stem: Stem, ldx: int, shape: torch.Size) -> dict[str, float]:
    s = stem
    oh, ow = ((size + 2 * s.padding - s.kernel) // s.stride + 1 for size in (s.h, s.w))
    conv = {
        "n": s.n, "h": s.h, "w": s.w, "c": s.c, "k": s.k, "kh": s.kernel, "kw": s.kernel, "oh": oh, "ow": ow,
        "sh": s.stride, "sw": s.stride, "ph": s.padding, "pw": s.padding, "ldx": ldx, "ldy": s.k + s.gap,
        "act": ops.ACTS[s.act], "act_param": 0.3,
    }  # fmt: skip
    pool = {"window": s.pool[0], "pad": s.pool[1], "pooled_h": shape[2], "pooled_w": shape[3]}
    return {**conv, **pool}


def launch(stem: Stem, kernel: str, dtype: str, seed: int = 1, drop: str = "") -> Ran:
    generator, to, s = torch.Generator().manual_seed(7), DTYPES[dtype], stem
    x = torch.randn(s.n, s.c, s.h, s.w, generator=generator).to(to)
    weight = torch.randn(s.k, s.c, s.kernel, s.kernel, generator=generator).to(to)
    bias = torch.randn(s.k, generator=generator) if s.bias else None
    expected = s.reference(x.double(), weight.double(), None if bias is None else bias.double())
    # Of the largest values in a window's place: nothing smaller may stand for one that is larger by more than this.
    sums = F.conv2d(x.double().abs(), weight.double().abs(), None, s.stride, s.padding)
    sums = sums + (0 if bias is None else bias.double().abs().view(1, -1, 1, 1))
    sums = F.max_pool2d(sums, s.pool[0], 2, s.pool[1], 1, s.ceil)
    kind = arithmetic(kernel)
    bound = (PRODUCT[kind] + SUM) * sums + UNIT[kind] * expected.abs() + 2**-24 * (kind == "f16")
    ldx = s.c if "row" in kernel else 16 // to.itemsize
    y = Guarded(
        torch.full((expected[:, 0].numel(), s.k), torch.nan, dtype=to), s.k + s.gap, writable=True
    )
    params = problem(s, ldx, expected.shape)
    given = Guarded(rows(x), ldx)
    sites = run("conv2d_pool", kernel, params, given, y, weight.float(), bias, seed=seed, drop=drop)
    assert y.untouched(), "memory around y was written"
    return Ran(y, rows(expected), rows(bound), sites)


STEMS = [
    Stem(33, 31, kernel=7, padding=3, k=64),  # ResNet's, at odd sizes
    Stem(24, 22, n=2, gap=8),  # a MobileNet's or ShuffleNet's
    Stem(21, 50, pool=(2, 0), k=65),  # a second tile of channels, one of them there
    Stem(26, 27, pool=(3, 0), ceil=True, kernel=7, padding=0),  # windows that hang over the map
    Stem(25, 25, pool=(2, 0), ceil=True, padding=0, act="leaky_relu"),
    Stem(27, 26, pool=(2, 1), act="none", bias=False, gap=3),
    Stem(7, 5, kernel=3, stride=1, padding=0, pool=(3, 1), act="relu6", c=4, k=3),
    Stem(5, 5, kernel=5, stride=1, padding=0, pool=(3, 1), c=1, k=8),  # one pixel, and padding
    Stem(2, 90, kernel=3, stride=1, padding=1, pool=(2, 0), c=2, k=9),  # one row of many tiles
]


@pytest.mark.parametrize("stem", STEMS, ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_stems(kernel: str, dtype: str, stem: Stem) -> None:
    ran = launch(stem, kernel, dtype)
    assert ran.wrong() == 0


@pytest.mark.parametrize(("kernel", "dtype"), ROW)
def test_the_same_bits_as_two_kernels(kernel: str, dtype: str) -> None:
    """Rounding keeps the order of values: the largest rounded sum is the rounded largest sum."""
    to, c, k = DTYPES[dtype], 3, 24
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, c, 30, 25, generator=generator).to(to)
    weight = torch.randn(k, c, 7, 7, generator=generator)
    bias = torch.randn(k, generator=generator)
    stem = Stem(30, 25, kernel=7, padding=3, k=k)
    shape = stem.reference(x.double(), weight.double(), None).shape
    params = problem(stem, c, shape)
    y = Guarded(torch.zeros(shape[2] * shape[3], k, dtype=to), writable=True)
    run("conv2d_pool", kernel, params, Guarded(rows(x)), y, weight, bias)
    oh, ow = int(params["oh"]), int(params["ow"])
    conv = {n: v for n, v in params.items() if n in kernels().fields("conv2d")}
    between = Guarded(torch.zeros(oh * ow, k, dtype=to), writable=True)
    plain = kernel.replace("conv2d_pool_row", "conv2d_stem")
    run("conv2d", plain, conv, Guarded(rows(x)), between, weight, bias)
    maps = between.view.view(1, oh, ow, k).permute(0, 3, 1, 2)
    assert torch.equal(y.view, rows(F.max_pool2d(maps, 3, 2, 1)))


def test_nan_spreads_to_the_windows_it_is_in() -> None:
    kernel, dtype = ROW[0]
    x = torch.ones(1, 3, 16, 16, dtype=DTYPES[dtype])
    x[0, 1, 0, 0] = torch.nan
    stem = Stem(16, 16, k=8, pool=(2, 0))
    params = problem(stem, 3, torch.Size((1, 8, 4, 4)))
    y = Guarded(torch.zeros(16, 8, dtype=x.dtype), writable=True)
    run("conv2d_pool", kernel, params, Guarded(rows(x)), y, torch.ones(8, 3, 3, 3))
    wrong = y.view.isnan().all(1)
    assert wrong.tolist() == [True] + [False] * 15


def test_what_it_does_not_take() -> None:
    able = problem(Stem(16, 16), 3, torch.Size((1, 20, 4, 4)))
    asked = [
        ({}, None),
        ({"c": 8, "ldx": 8}, "at most 4 channels"),
        ({"window": 4}, "windows of 2 or 3 pixels"),
        ({"stride": 1}, "2 pixels apart"),
        ({"pad": 2}, "padding of at most half a window"),
        ({"act": ops.ACTS["silu"]}, "does not keep the order of values"),
        ({"act": ops.ACTS["leaky_relu"], "act_param": -0.1}, "does not keep the order of values"),
        ({"ldx": 4}, "needs pixels side by side"),
        ({"x_nchw": 1}, "reads NHWC"),
    ]
    for params, said in asked:
        reasons = {name: why for name, _, why in kernels().kernels("conv2d_pool", able | params)}
        why = reasons["conv2d_pool_row_bf16_sm80"]
        assert why is None if said is None else said in why


@on_host
@pytest.mark.parametrize(("kernel", "dtype"), [(k, d) for k, d in ALL if "bf16" in k])
def test_any_order_of_threads_and_every_barrier(kernel: str, dtype: str) -> None:
    """The same bits for every seed; without one of its barriers a wrong value for some."""
    stem = Stem(40, 26, kernel=7, padding=3, k=40)
    found = [launch(stem, kernel, dtype, seed=seed) for seed in range(1, 6)]
    assert all(ran.wrong() == 0 for ran in found) and len(found[0].sites) >= 4
    first = found[0].y.view.view(torch.int16)
    assert all(torch.equal(ran.y.view.view(torch.int16), first) for ran in found)
    for site in found[0].sites:
        assert any(_noticed(stem, kernel, dtype, seed, site) for seed in range(1, 25)), site


def _noticed(stem: Stem, kernel: str, dtype: str, seed: int, drop: str) -> bool:
    try:
        return launch(stem, kernel, dtype, seed, drop).wrong() > 0
    except RuntimeError:
        return True
