"""A 1x1 convolution of what a norm or a gate makes of its input: the kernels against fp64."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import test_conv2d_cuda as conv2d
import torch
import torch.nn.functional as F
from launch import DTYPES, ON_HOST, Guarded, Ran, kernels, on_host, run
from test_conv2d_cuda import PRODUCT, SUM, UNIT, arithmetic, rows
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from torch import Tensor

from pycnn import ops
from pycnn.planning.params import GATE, NORM

ALL = [
    (name, dtype)
    for name, dtype, _ in kernels().kernels("conv2d", {})
    if name.startswith(("conv2d_norm", "conv2d_gate"))
]


SWITCH = "PYCNN_CUDA_WGMMA"


@pytest.fixture(autouse=True)
def _on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of sm_90 are on, where they run."""
    if ON_HOST or torch.cuda.get_device_capability() == (9, 0):
        monkeypatch.setenv(SWITCH, "1")


def runs(kernel: str) -> bool:
    return "sm80" in kernel or ON_HOST or torch.cuda.get_device_capability() == (9, 0)


@dataclass(frozen=True)
class Changed:
    """gap: pieces of 16 bytes between pixels that are not the tensor's; gap_g: elements between rows of the gate. norm:
    the activation behind a norm."""

    c: int
    k: int
    h: int
    w: int
    n: int = 1
    stride: int = 1
    gap: int = 0
    gap_g: int = 0
    norm: str = "relu"
    act: str = "relu"
    extras: bool = True


def launch(s: Changed, kernel: str, dtype: str, seed: int = 1, drop: str = "") -> Ran:
    generator, to = torch.Generator().manual_seed(7), DTYPES[dtype]

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    gated = "gate" in kernel
    x, weight = random(s.n, s.c, s.h, s.w).to(to), random(s.k, s.c, 1, 1).to(to)
    scale, shift, factors = random(s.c), 3 * random(s.c), random(s.n, s.c).to(to)
    if gated:
        made = x.double() * factors.double()[:, :, None, None]
    else:
        made = x.double() * scale.double().view(1, -1, 1, 1) + shift.double().view(1, -1, 1, 1)
        made = ops.apply_act(made, s.norm)
    before = F.conv2d(made, weight.double(), None, s.stride)
    sums = F.conv2d(made.abs(), weight.double().abs(), None, s.stride)
    bias = random(s.k) if s.extras else None
    residual = random(*before.shape).to(to) if s.extras else None
    if bias is not None and residual is not None:
        before = before + bias.double().view(1, -1, 1, 1) + residual.double()
        sums = sums + bias.double().abs().view(1, -1, 1, 1) + residual.double().abs()
    expected = ops.apply_act(before, s.act, 0.3)
    kind = arithmetic(kernel)
    # What the products see was rounded to the elements' type.
    bound = (PRODUCT[kind] + SUM + (0 if to == torch.float32 else UNIT[kind])) * sums
    bound = bound + UNIT[kind] * expected.abs() + 2**-23 * (kind == "f16")
    piece = 16 // to.itemsize
    ldx = -(-s.c // piece) * piece + s.gap * piece
    y = Guarded(
        torch.full((rows(before).shape[0], s.k), torch.nan, dtype=to), s.k + 3, writable=True
    )
    added = None if residual is None else Guarded(rows(residual), s.k + 5)
    params = {
        "n": s.n, "h": s.h, "w": s.w, "c": s.c, "k": s.k, "oh": before.shape[2], "ow": before.shape[3],
        "sh": s.stride, "sw": s.stride, "ldx": ldx, "ldy": s.k + 3, "ldr": s.k + 5,
        "act": ops.ACTS[s.act], "act_param": 0.3, "prologue": GATE if gated else NORM, "ldg": s.c + s.gap_g,
        "prologue_act": 0 if gated else ops.ACTS[s.norm],
    }  # fmt: skip
    packed = torch.cat([weight.float().flatten(), *([] if gated else [scale, shift])])
    gate = Guarded(factors, s.c + s.gap_g) if gated else None
    given = Guarded(rows(x), ldx)
    operands = given, y, packed, bias, added
    sites = run("conv2d", kernel, params, *operands, seed=seed, drop=drop, gate=gate)
    assert y.untouched(), "memory around y was written"
    return Ran(y, rows(expected), rows(bound), sites)


PROBLEMS = [
    Changed(64, 128, 7, 9),
    Changed(40, 33, 5, 5, n=3, gap=2),
    Changed(96, 65, 13, 11, norm="none", act="silu"),
    Changed(13, 9, 3, 5, n=2, extras=False),  # channels that fill no piece
    Changed(200, 70, 9, 8, stride=2, norm="relu6", gap_g=3),  # rows of the gate off 16 bytes
    Changed(24, 16, 2, 3, n=40),  # many images in a tile
    Changed(1, 1, 1, 1),
]
# More steps than a block of four takes, tails of pixels and of both channels, images that end inside a tile.
DEEP = Changed(328, 70, 9, 11, n=2, gap=1, gap_g=8)
HOPPER = [
    DEEP,
    Changed(328, 136, 13, 11, n=3, norm="none", act="silu"),
    Changed(456, 33, 5, 5, n=3, gap=2, gap_g=3),  # rows of the gate off 16 bytes
    Changed(264, 64, 9, 8, stride=2, norm="relu6"),
    Changed(256, 16, 2, 3, n=40, extras=False),  # many images in a tile
    Changed(1032, 200, 5, 41),  # more steps than buffers
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), [pair for pair in ALL if "sm80" in pair[0]])
def test_problems(kernel: str, dtype: str, problem: Changed) -> None:
    assert launch(problem, kernel, dtype).wrong() == 0


@pytest.mark.parametrize("problem", HOPPER, ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), [pair for pair in ALL if "sm90" in pair[0]])
def test_problems_of_hopper(kernel: str, dtype: str, problem: Changed) -> None:
    if not runs(kernel):
        pytest.skip("this GPU is not of compute capability 9.0")
    assert launch(problem, kernel, dtype).wrong() == 0


@on_host
@pytest.mark.parametrize("kernel", [k for k, _ in ALL if "wgmma" in k and "bf16" in k])
def test_orders_of_hoppers_kernels_and_what_the_prologue_waits_for(kernel: str) -> None:
    """The same bits for every seed; without the barrier or the fence behind what it changed a wrong value for some."""
    first = launch(DEEP, kernel, "bfloat16")
    for seed in range(2, 6):
        assert torch.equal(launch(DEEP, kernel, "bfloat16", seed).y.view, first.y.view)
    plain = "conv2d_" + kernel[len("conv2d_norm_") :]
    ran = conv2d.launch(conv2d.Conv(328, 70, 9, 11, n=2, gap=8, gap_y=3), plain, "bfloat16")
    assert isinstance(ran, Ran)
    sites = sorted({*first.sites} - {*ran.sites})
    assert len(sites) == 2
    for site in sites:
        found = (_noticed(DEEP, kernel, "bfloat16", seed, site) for seed in range(1, 25))
        assert any(found), f"{site} may be dropped"


def test_hoppers_kernels_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    able = {"n": 64, "h": 28, "w": 28, "oh": 28, "ow": 28, "c": 512, "k": 128}
    able |= {"ldx": 512, "ldy": 128, "ldg": 512}
    for prologue, word in ((NORM, "norm"), (GATE, "gate")):
        asked = "conv2d", "bfloat16", False, True, {**able, "prologue": prologue}
        assert f"{word}_wgmma128x128" in kernels().choose(*asked)
        with monkeypatch.context() as off:
            off.delenv(SWITCH)
            assert "wgmma" not in kernels().choose(*asked)


def test_what_it_does_not_take() -> None:
    able = {"h": 4, "w": 4, "c": 256, "k": 8, "oh": 4, "ow": 4, "ldx": 256, "ldy": 8, "ldg": 256}
    for params, said in (
        ({}, None),
        ({"prologue": 0}, "is for a"),
        ({"kh": 3}, "1x1 convolutions"),
        ({"groups": 2}, "one group"),
        ({"ph": 1, "oh": 6}, "without padding"),
        ({"oh": 5}, "without padding"),
        ({"ldx": 17}, "in multiples of 16 bytes|needs pixels and groups"),
    ):
        for prologue, word in ((NORM, "norm"), (GATE, "gate")):
            asked = able | {"prologue": prologue} | params
            for name, _, why in kernels().kernels("conv2d", asked):
                if name.startswith(f"conv2d_{word}"):
                    assert why is None if said is None else re.search(said, why)
                elif "prologue" not in params:
                    assert why is not None, name  # nothing else may leave the prologue out
    silu = able | {"prologue": NORM, "prologue_act": ops.ACTS["silu"]}
    assert all(
        "relu" in why for name, _, why in kernels().kernels("conv2d", silu) if "norm" in name
    )


@on_host
@pytest.mark.parametrize(("kernel", "dtype"), [(k, d) for k, d in ALL if "bf16_sm80" in k])
def test_any_order_of_threads_and_every_barrier(kernel: str, dtype: str) -> None:
    """The reduction ends in the first stage, whose memory the epilogue writes, or in another one."""
    problems = [Changed(160, 70, 8, 9), Changed(200, 70, 8, 9)]
    first = [launch(p, kernel, dtype) for p in problems]
    for seed in range(2, 6):
        for p, ran in zip(problems, first, strict=True):
            again = launch(p, kernel, dtype, seed)
            assert torch.equal(again.y.view, ran.y.view) and not again.wrong()
    sites = {site for ran in first for site in ran.sites}
    assert len(sites) >= 4
    for site in sites:
        found = (_noticed(p, kernel, dtype, seed, site) for p in problems for seed in range(1, 25))
        assert any(found), f"{site} may be dropped"


def _noticed(p: Changed, kernel: str, dtype: str, seed: int, drop: str) -> bool:
    try:
        return launch(p, kernel, dtype, seed, drop).wrong() > 0
    except RuntimeError:
        return True
