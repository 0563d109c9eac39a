"""Squeeze-and-excitation: sums of a depthwise convolution's results, and the gate's two layers in one kernel."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from launch import DTYPES, Guarded, kernels, on_host, run
from test_conv2d_cuda import SUM, UNIT, Conv, arithmetic, rows
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from torch import Tensor

from pycnn import ops

SUMS = [(name, dtype) for name, dtype, _ in kernels().kernels("conv2d_sums", {})]
GATES = [(name, dtype) for name, dtype, _ in kernels().kernels("excitation", {})]
Sums = tuple[Tensor, Tensor, Tensor]  # what was found, fp64's, and how far apart they may be


def summed(
    conv: Conv, kernel: str, dtype: str, parts: int = 3, seed: int = 1, drop: str = ""
) -> tuple[Guarded, Sums, Sums, list[str]] | str:
    """Its map and its sums, or why the kernel does not take the problem. y's memory: the map, then the sums."""
    generator, to = torch.Generator().manual_seed(7), DTYPES[dtype]
    x = torch.randn(conv.n, conv.c, conv.h, conv.w, generator=generator).to(to)
    weight = torch.randn(conv.c, 1, *conv.kernel, generator=generator).to(to)
    bias = torch.randn(conv.c, generator=generator)
    plain = conv.reference(x.double(), weight.double(), None)
    bound = conv.reference(x.double().abs(), weight.double().abs(), None)
    n, c, oh, ow = plain.shape
    plain, bound = plain + bias.double().view(-1, 1, 1), bound + bias.abs().double().view(-1, 1, 1)
    piece = 16 // to.itemsize
    ldy = -(-c // piece) * piece
    after = n * oh * ow * ldy
    room = -(-n * parts * c * 4 // (ldy * to.itemsize))  # rows behind the map that hold the sums
    y = Guarded(torch.full((n * oh * ow + room, ldy), torch.nan, dtype=to), writable=True)
    params = {
        "n": n, "h": conv.h, "w": conv.w, "c": c, "k": c, "groups": c, "oh": oh, "ow": ow,
        "kh": conv.kernel[0], "kw": conv.kernel[1], "sh": conv.stride[0], "sw": conv.stride[1],
        "ph": conv.padding[0], "pw": conv.padding[1], "dh": conv.dilation[0], "dw": conv.dilation[1],
        "ldx": c + conv.gap, "ldy": ldy, "act": ops.ACTS[conv.act], "sums": after, "parts": parts,
    }  # fmt: skip
    reason = next(
        why for name, _, why in kernels().kernels("conv2d_sums", params) if name == kernel
    )
    if reason is not None:
        return str(reason)
    given = Guarded(rows(x), c + conv.gap)
    operands = given, y, weight.float(), bias
    sites = run("conv2d_sums", kernel, params, *operands, seed=seed, drop=drop)
    expected = ops.apply_act(plain, conv.act)
    slack = SUM * bound + 2e-6
    count = n * parts * c
    behind, end = y.view[n * oh * ow :].reshape(-1), count * 4 // to.itemsize
    found = behind[:end].view(torch.float32).view(n, parts, c).double().sum(1)
    assert behind[end:].isnan().all(), "memory behind the sums was written"
    of_map = slack + UNIT[arithmetic(kernel)] * expected.abs() + 2**-24 * (to == torch.float16)
    of_sums = found, expected.sum((2, 3)), slack.sum((2, 3)) + SUM * expected.abs().sum((2, 3))
    return y, (y.view[: n * oh * ow, :c].double(), rows(expected), rows(of_map)), of_sums, sites


def wrong(found: Sums) -> int:
    values, expected, bound = found
    return int((~((values - expected).abs() <= bound)).sum())


@pytest.mark.parametrize(("kernel", "dtype"), SUMS)
def test_sums_of_depthwise_convolutions(kernel: str, dtype: str) -> None:
    step = 16 // DTYPES[dtype].itemsize
    shape = re.search(r"sums(\d)x\d(s2)?_", kernel)
    size, stride = (int(shape[1]), 1 + bool(shape[2])) if shape else (3, 3)
    conv = {"kernel": (size, size), "stride": (stride, stride), "padding": (size // 2,) * 4}
    for c, h, w, parts, gap in (
        (step, 1, 1, 2, 0),  # a part without pixels
        (2 * step + 3, 7, 9, 1, step),
        (5 * step, 13, 11, 4, 0),
        (33 * step, 5, 6, 3, 1),  # more pieces than a block takes
    ):
        ran = summed(
            Conv(c, c, h, w, groups=c, n=2, act="silu", gap=gap, **conv), kernel, dtype, parts
        )
        assert not isinstance(ran, str) and wrong(ran[1]) == wrong(ran[2]) == 0
    odd = Conv(step, step, 6, 8, (2, 3), (1, 2), (2, 1, 0, 2), (2, 1), step)
    assert isinstance(summed(odd, kernel, dtype), str) == (shape is not None)
    if shape is None:
        assert all(wrong(found) == 0 for found in summed(odd, kernel, dtype)[1:3])


def test_what_sums_need() -> None:
    able = {"h": 4, "w": 4, "c": 8, "k": 8, "groups": 8, "oh": 4, "ow": 4, "ldx": 8, "ldy": 8}
    for params, said in (
        ({"sums": 128}, None),
        ({"sums": 127}, "multiple of 16 bytes"),
        ({"sums": 128, "parts": 0}, "no parts"),
        ({"sums": 128, "groups": 1}, "a group for each channel"),
    ):
        found = kernels().kernels("conv2d_sums", able | params)
        reasons = [why for name, _, why in found if name.startswith("conv2d_sums_")]
        assert all(why is None if said is None else said in why for why in reasons) and reasons


def gate(
    n: int, c: int, s: int, kernel: str, dtype: str, parts: int = 0, seed: int = 1, drop: str = ""
) -> tuple[Guarded, Sums, list[str]]:
    """y = hardsigmoid(w2 relu(w1 mean + b1) + b2), the means as they are or as sums of `parts`."""
    generator, to = torch.Generator().manual_seed(9), DTYPES[dtype]
    pixels = 24
    w1, w2 = (torch.randn(s, c, generator=generator), torch.randn(c, s, generator=generator))
    w1, w2 = w1.div(c**0.5).to(to), w2.to(to)
    b1, b2 = torch.randn(s, generator=generator), torch.randn(c, generator=generator)
    if parts:
        given = torch.randn(n, parts, c, generator=generator)
        mean, x = given.double().sum(1) / pixels, Guarded(given.view(n * parts, c))
    else:
        given = torch.randn(n, c, generator=generator).to(to)
        mean, x = given.double(), Guarded(given, c + 3)
    hidden = (mean @ w1.double().T + b1).relu()
    expected = F.hardsigmoid(hidden @ w2.double().T + b2)
    sizes = mean.abs() @ w1.double().abs().T + b1.abs()
    bound = SUM * (sizes @ w2.double().abs().T + b2.abs()) + UNIT[arithmetic(kernel)] + 1e-6
    y = Guarded(torch.full((n, c), torch.nan, dtype=to), c + 5, writable=True)
    params = {
        "n": n, "c": c, "s": s, "ldx": x.ld, "ldy": y.ld, "parts": parts, "pixels": pixels,
        "act": ops.ACTS["relu"], "gate_act": ops.ACTS["hardsigmoid"],
    }  # fmt: skip
    packed = torch.cat([w1.float().flatten(), b1, w2.float().flatten(), b2])
    sites = run("excitation", kernel, params, x, y, packed, seed=seed, drop=drop)
    assert y.untouched(), "memory around y was written"
    return y, (y.view.double(), expected, bound), sites


@pytest.mark.parametrize("parts", [0, 1, 11])
@pytest.mark.parametrize(("kernel", "dtype"), GATES)
def test_both_layers_of_a_gate(kernel: str, dtype: str, parts: int) -> None:
    for n, c, s in ((1, 16, 8), (5, 72, 24), (3, 13, 3), (4, 1, 1), (2, 600, 40), (1, 40, 520)):
        assert wrong(gate(n, c, s, kernel, dtype, parts)[1]) == 0, (n, c, s)


def test_gates_that_no_kernel_takes() -> None:
    for params, said in (
        ({"c": 16384, "s": 1}, "shared memory"),
        ({"c": 2048, "s": 512}, "1 MiB of weights"),
        ({"c": 8, "s": 2, "n": 1 << 31}, "2^30"),
    ):
        assert all(said in why for _, _, why in kernels().kernels("excitation", params))


@on_host
@pytest.mark.parametrize("which", ["sums", "gate"])
def test_any_order_of_threads_and_every_barrier(which: str) -> None:
    """The same bits for every seed; without one of its barriers a wrong value for some."""

    def bits(seed: int, drop: str) -> tuple[Tensor, list[str]]:
        if which == "gate":
            y, _, sites = gate(3, 40, 24, "excitation_layers_bf16_sm80", "bfloat16", 2, seed, drop)
        else:
            conv = Conv(24, 24, 9, 10, (3, 3), padding=(1, 1, 1, 1), groups=24, n=2)
            ran = summed(conv, "conv2d_sums3x3_bf16_sm80", "bfloat16", 2, seed, drop)
            assert not isinstance(ran, str)
            y, sites = ran[0], ran[3]
        return y.view.view(torch.int16), sites

    first, sites = bits(1, "")
    assert sites and all(torch.equal(bits(seed, "")[0], first) for seed in range(2, 6))
    for site in sites:
        found = (bits(seed, site)[0] for seed in range(1, 25))
        assert any(not torch.equal(y, first) for y in found), f"{site} may be dropped"
