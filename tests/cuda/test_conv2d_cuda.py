"""conv2d's CUDA kernels, run on host threads: against fp64 at the edges of tiles, windows, slices, groups; barriers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from launch import DTYPES, Guarded, Ran, kernels, on_host, run
from torch import Tensor

from pycnn import ops

SLOPE = 0.3
UNIT = {"bf16": 2**-8, "f16": 2**-11, "tf32": 2**-23, "f32": 2**-23}  # of a result's rounding
PRODUCT = {"bf16": 0.0, "f16": 0.0, "tf32": 2**-10, "f32": 2**-20}  # of the operands' rounding
SUM = 2**-20  # of fp32 sums in any order


@dataclass(frozen=True)
class Conv:
    """padding is (top, left, bottom, right); gap: elements between pixels that are not the tensor's; gap_y: of y, where
    it is another."""

    c: int
    k: int
    h: int = 3
    w: int = 5
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    n: int = 1
    gap: int = 0
    gap_y: int | None = None
    act: str = "none"

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        top, left, bottom, right = self.padding
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


def names() -> list[tuple[str, str]]:
    return [(name, dtype) for name, dtype, _ in kernels().kernels("conv2d", {})]


def arithmetic(kernel: str) -> str:
    return kernel.split("_")[-2]


def rows(maps: Tensor) -> Tensor:
    """[n, c, h, w] as one row a pixel."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def launch(
    conv: Conv, kernel: str, dtype: str, extras: bool = True, seed: int = 1, drop: str = ""
) -> Ran | str:
    """The kernel's results on a random problem, or why it does not take it."""
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    to = DTYPES[dtype]
    weight = random(conv.k, conv.c // conv.groups, *conv.kernel).to(to)
    x, bias = random(conv.n, conv.c, conv.h, conv.w).to(to), random(conv.k) if extras else None
    before = conv.reference(x.double(), weight.double(), None)
    bound = conv.reference(x.double().abs(), weight.double().abs(), None)
    n, k, oh, ow = before.shape
    ldy = k + (conv.gap if conv.gap_y is None else conv.gap_y)
    residual = random(n, k, oh, ow).to(to) if extras else None
    params = {
        "n": n, "h": conv.h, "w": conv.w, "c": conv.c, "k": k, "kh": conv.kernel[0], "kw": conv.kernel[1],
        "oh": oh, "ow": ow, "sh": conv.stride[0], "sw": conv.stride[1], "ph": conv.padding[0],
        "pw": conv.padding[1], "dh": conv.dilation[0], "dw": conv.dilation[1], "groups": conv.groups,
        "ldx": conv.c + conv.gap, "ldy": ldy, "ldr": k + conv.gap,
        "act": ops.ACTS[conv.act], "act_param": SLOPE,
    }  # fmt: skip
    reason = next(r for name, _, r in kernels().kernels("conv2d", params) if name == kernel)
    if reason is not None:
        return str(reason)
    given = Guarded(rows(x), conv.c + conv.gap)
    y = Guarded(torch.full((n * oh * ow, k), torch.nan, dtype=to), ldy, writable=True)
    added = None if residual is None else Guarded(rows(residual), k + conv.gap)
    sites = run(
        "conv2d", kernel, params, given, y, weight.float(), bias, added, seed=seed, drop=drop
    )
    if bias is not None and residual is not None:
        before = before + bias.double().view(1, -1, 1, 1) + residual.double()
        bound = bound + bias.double().abs().view(1, -1, 1, 1) + residual.double().abs()
    expected = ops.apply_act(before, conv.act, SLOPE)
    kind = arithmetic(kernel)
    slack = (PRODUCT[kind] + SUM) * bound * (1.2 if conv.act != "none" else 1)
    slack = slack + UNIT[kind] * expected.abs() + (2e-6 if conv.act != "none" else 0)
    slack = slack + 2**-24 * (kind == "f16")  # half a step of fp16's subnormals
    assert y.untouched(), "memory around y was written"
    return Ran(y, rows(expected), rows(slack), sites)


def check(conv: Conv, kernel: str, dtype: str, extras: bool = True, seed: int = 1) -> bool:
    """False: the kernel does not take it."""
    ran = launch(conv, kernel, dtype, extras, seed)
    if isinstance(ran, str):
        return False
    assert ran.wrong() == 0, (conv, ran.wrong())
    return True


WGMMA = [
    (name, dtype) for name, dtype in names() if name.startswith("conv2d_wgmma")
]  # off by default: test_wgmma_cuda.py
WHOLE = ("conv2d_igemm", "conv2d_stem", "conv2d_gather")  # prologues: test_conv2d_prologue_cuda.py
ALL = [pair for pair in names() if pair[0].startswith(WHOLE)]
DEPTHWISE = [(name, dtype) for name, dtype in names() if "depthwise" in name]
PIECES = [(name, dtype) for name, dtype in ALL if "igemm" in name]


@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_pixels_and_channels_at_the_edges_of_tiles(kernel: str, dtype: str) -> None:
    step = 16 // DTYPES[dtype].itemsize
    for c, k, w in ((step, 1, 1), (3 * step, 33, 31), (5 * step, 64, 33), (9 * step, 130, 129)):
        taken = check(Conv(c, k, 1, w), kernel, dtype)
        assert taken or "stem" in kernel
    assert check(Conv(7, 9, 2, 5), kernel, dtype) != ("igemm" in kernel)


WINDOWS = [
    ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
    ((3, 3), (1, 2), (2, 0, 1, 3), (1, 1)),
    ((3, 3), (1, 1), (4, 4, 4, 4), (4, 4)),  # some taps outside for every output
    ((5, 1), (1, 1), (2, 0, 2, 0), (1, 1)),
    ((1, 7), (1, 1), (0, 3, 0, 3), (1, 1)),
    ((2, 4), (2, 1), (0, 1, 1, 2), (1, 2)),
    ((4, 4), (4, 4), (0, 0, 0, 0), (1, 1)),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_windows_strides_dilations_and_paddings(kernel: str, dtype: str, window: tuple) -> None:
    step = 16 // DTYPES[dtype].itemsize
    kernel_size, stride, padding, dilation = window
    conv = Conv(2 * step, 20, 5, 7, kernel_size, stride, padding, dilation, n=2)
    if "stem" in kernel:
        conv = replace(conv, c=3)
        assert check(conv, kernel, dtype) == (dilation[1] == 1)
    else:
        assert check(conv, kernel, dtype)


@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_slices_groups_and_no_extras(kernel: str, dtype: str) -> None:
    step = 16 // DTYPES[dtype].itemsize
    stem = "stem" in kernel
    wide = Conv(2 * step, 3 * step, 3, 4, (3, 3), padding=(1, 1, 1, 1), n=2)
    assert check(replace(wide, gap=2 * step), kernel, dtype) != stem
    assert check(replace(wide, gap=3), kernel, dtype) == ("gather" in kernel)
    assert check(replace(wide, c=4 * step, k=6, groups=2), kernel, dtype) != stem
    assert check(replace(wide, c=6, k=9, groups=3), kernel, dtype) == ("gather" in kernel)
    assert check(wide, kernel, dtype, extras=False)


@pytest.mark.parametrize(("kernel", "dtype"), DEPTHWISE)
def test_depthwise(kernel: str, dtype: str) -> None:
    """Edges of pieces, of groups of outputs, of maps smaller than the window; slices; what it must not take."""
    step = 16 // DTYPES[dtype].itemsize
    found = re.search(r"depthwise(\d)x\d(s2)?_", kernel)
    size, stride = (int(found[1]), 1 + bool(found[2])) if found else (3, 3)
    conv = Conv(1, 1, kernel=(size, size), stride=(stride, stride), padding=(size // 2,) * 4, n=2)
    for c, h, w, gap in (
        (1, 5, 9, 0),
        (step, 1, 1, step),
        (2 * step + 3, 7, 8, 0),
        (step + 1, 2, 13, 5),
    ):
        wide = replace(conv, c=c, k=c, groups=c, h=h, w=w, gap=gap, act="relu6")
        assert check(wide, kernel, dtype)
        assert check(replace(wide, padding=(size, 0, 1, size)), kernel, dtype, extras=False)
    assert not check(replace(conv, c=2, k=4, groups=2), kernel, dtype)
    wider = replace(
        conv, c=step, k=step, groups=step, kernel=(2, 3), stride=(1, 2), dilation=(2, 1)
    )
    assert check(replace(wider, padding=(2, 1, 0, 2), h=6), kernel, dtype) == (found is None)


@pytest.mark.parametrize("act", ops.ACTS)
def test_activations(act: str) -> None:
    for kernel, dtype in PIECES:
        if "32x64" in kernel:
            assert check(Conv(16, 20, 3, 5, act=act), kernel, dtype)


@on_host
@pytest.mark.parametrize(("kernel", "dtype"), [(k, d) for k, d in ALL if "bf16" in k])
def test_any_order_of_threads_gives_the_same_bits(kernel: str, dtype: str) -> None:
    conv = Conv(40, 40, 6, 7, (3, 3), padding=(1, 1, 1, 1))
    if "stem" in kernel:
        conv = replace(conv, c=3, kernel=(7, 7), stride=(2, 2), padding=(3, 3, 3, 3), h=13, w=15)
    found = [launch(conv, kernel, dtype, seed=seed) for seed in range(1, 6)]
    assert all(isinstance(ran, Ran) and ran.wrong() == 0 for ran in found)
    first = found[0].y.view.view(torch.int16)
    assert all(torch.equal(ran.y.view.view(torch.int16), first) for ran in found)


def noticed(conv: Conv, kernel: str, drop: str) -> bool:
    """Whether one of 24 orders of threads shows that the barrier `drop` is not there."""
    for seed in range(1, 25):
        try:
            ran = launch(conv, kernel, "bfloat16", seed=seed, drop=drop)
        except RuntimeError:
            return True
        if isinstance(ran, Ran) and ran.wrong():
            return True
    return False


@on_host
@pytest.mark.parametrize("kernel", ["conv2d_igemm64x64_bf16_sm80", "conv2d_gather_bf16_sm80"])
def test_a_barrier_that_is_missing_is_noticed(kernel: str) -> None:
    """Each one that the kernel passes. The reduction ends in the first stage, whose memory the epilogue writes, or in
    another one."""
    problems = [Conv(160, 70, 8, 9, act="relu"), Conv(200, 70, 8, 9, act="relu")]
    whole = launch(problems[0], kernel, "bfloat16")
    assert isinstance(whole, Ran) and whole.wrong() == 0 and len(whole.sites) >= 4
    for site in whole.sites:
        assert any(noticed(conv, kernel, site) for conv in problems), f"{site} may be dropped"


@on_host
def test_what_a_kernel_must_not_touch_is_one_sentence() -> None:
    module, kernel = kernels(), "conv2d_igemm64x64_bf16_sm80"
    x = Guarded(torch.randn(6, 16).bfloat16())
    y = Guarded(torch.zeros(6, 16).bfloat16(), writable=True)
    params = {"h": 2, "w": 3, "c": 16, "k": 16, "oh": 2, "ow": 3, "ldx": 16, "ldy": 16}
    weight = torch.randn(16, 16, 1, 1)
    run("conv2d", kernel, params, x, y, weight)
    with pytest.raises(
        RuntimeError, match=r"thread \d+ of block \(0, 0\): .* written .* read-only"
    ):
        run("conv2d", kernel, params, x, Guarded(torch.zeros(6, 16).bfloat16()), weight)
    with pytest.raises(RuntimeError, match="of global memory are read"):
        run("conv2d", kernel, {**params, "h": 3, "oh": 3}, x, y, weight)
    with pytest.raises(ValueError, match="no CUDA kernel named 'conv2d_magic'"):
        module.packed_bytes("conv2d", "conv2d_magic", params)
    with pytest.raises(ValueError, match="no op named 'pool9d' has CUDA kernels"):
        module.kernels("pool9d", {})
    with pytest.raises(ValueError, match="refuses: needs pixels and groups that start"):
        run("conv2d", kernel, {**params, "ldx": 17}, x, y, weight)


def test_infinities_and_nan_stay() -> None:
    for kernel, dtype in PIECES:
        if "32x64" not in kernel:
            continue
        to = DTYPES[dtype]
        values = torch.ones(4, 16, dtype=to)
        values[1, 3], values[2, 5] = torch.inf, torch.nan
        params = {"w": 4, "c": 16, "k": 16, "ow": 4, "ldx": 16, "ldy": 16, "act": 1}
        y = Guarded(torch.zeros(4, 16, dtype=to), writable=True)
        run("conv2d", kernel, params, Guarded(values), y, torch.ones(16, 16, 1, 1))
        assert bool((y.view[0] == 16).all())
        # Three products of two TF32 halves: infinity times the zero half of 1 is NaN.
        spread = y.view[1].isnan() if arithmetic(kernel) == "f32" else y.view[1].isinf()
        assert bool(spread.all())
        assert bool(y.view[2].isnan().all()) and bool((y.view[3] == 16).all())
