"""A 1x1 convolution of what a norm or a gate makes of its input: the kernels against fp64, and plans with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from launch import DEVICE, DTYPES, Guarded, Ran, kernels, on_host, run
from test_conv2d_cuda import PRODUCT, SUM, UNIT, arithmetic, rows
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from test_plan_cuda import check, program, randn, settle
from test_pooled_plan_cuda import steps
from torch import Tensor, nn

import pycnn
from pycnn import ops
from pycnn.planning.params import GATE, NORM
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights

ALL = [
    (name, dtype)
    for name, dtype, _ in kernels().kernels("conv2d", {})
    if name.startswith(("conv2d_norm", "conv2d_gate"))
]


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


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_problems(kernel: str, dtype: str, problem: Changed) -> None:
    assert launch(problem, kernel, dtype).wrong() == 0


def test_what_it_does_not_take() -> None:
    able = {"h": 4, "w": 4, "c": 16, "k": 8, "oh": 4, "ow": 4, "ldx": 16, "ldy": 8, "ldg": 16}
    for params, said in (
        ({}, None),
        ({"prologue": 0}, "is for a"),
        ({"kh": 3}, "1x1 convolutions"),
        ({"groups": 2}, "one group"),
        ({"ph": 1, "oh": 6}, "without padding"),
        ({"oh": 5}, "without padding"),
        ({"ldx": 17}, "needs pixels and groups"),
    ):
        for prologue, word in ((NORM, "norm"), (GATE, "gate")):
            asked = able | {"prologue": prologue} | params
            for name, _, why in kernels().kernels("conv2d", asked):
                if name.startswith(f"conv2d_{word}"):
                    assert why is None if said is None else said in why
                elif "prologue" not in params:
                    assert why is not None, name  # nothing else may leave the prologue out
    silu = able | {"prologue": NORM, "prologue_act": ops.ACTS["silu"]}
    assert all(
        "relu" in why for name, _, why in kernels().kernels("conv2d", silu) if "norm" in name
    )


@on_host
@pytest.mark.parametrize(("kernel", "dtype"), [(k, d) for k, d in ALL if "bf16" in k])
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


class Dense(nn.Module):
    """A dense layer: what came before, and what a norm, ReLU, 1x1, norm, ReLU, 3x3 make of it."""

    def __init__(self, act: nn.Module | None = None, **fields: Any) -> None:
        super().__init__()
        fields = {"kernel_size": 1, "bias": False, **fields}
        self.norm1, self.act = nn.BatchNorm2d(16), act or nn.ReLU()
        self.conv1, self.norm2 = nn.Conv2d(16, 24, **fields), nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 8, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.act(self.norm1(x)))
        y = self.conv2(self.norm2(y).relu())
        return y if y.shape[2:] != x.shape[2:] else torch.cat([x, y], 1)


def changed(made: Program, x: Tensor, word: str = "norm") -> int:
    """Convolutions with that prologue."""
    return sum(step.startswith(f"conv2d_{word}") for step in steps(made, x))


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6, nn.Identity])
def test_a_norm_is_part_of_the_convolution_behind_it(act: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    for shape in ((2, 16, 7, 9), (1, 16, 4, 4)):
        x = randn(*shape).to(dtype)
        made = check(settle(Dense(act())), x, factor=2)
        assert changed(made, x) == 1 and len(steps(made, x)) <= 5


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6, nn.Identity])
@pytest.mark.usefixtures("last")
def test_torchs_own_norm_and_convolution(act: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    for shape in ((2, 16, 7, 9), (3, 16, 1, 1)):
        x = randn(*shape).to(dtype)
        made = check(settle(Dense(act())), x, factor=2)
        prologues = [step.params.get("prologue") for step in made.plans([x])[0].steps]
        assert NORM in prologues and changed(made, x) == 0 and taken(made, x) == 2


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (Dense(nn.SiLU()), "another activation"),
        (Dense(kernel_size=3, padding=1), "a window"),
        (Dense(padding=1), "padding, which is zero behind the norm"),
        (Dense(groups=2), "groups"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_it_must_not_be(net: nn.Module, why: str) -> None:
    x = randn(1, 16, 6, 6).bfloat16()
    assert changed(check(settle(net), x, factor=2), x) == 0


class Twice(nn.Module):
    """As ResNet v2 begins a stage: two convolutions read the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x).relu()
        return self.a(y).sigmoid() * self.b(y)


class Half(nn.Module):
    """Channels that begin off a multiple of 16 bytes, or pixels that do."""

    def __init__(self, first: int, c: int) -> None:
        super().__init__()
        self.first = first
        self.norm, self.conv = nn.BatchNorm2d(c - first), nn.Conv2d(c - first, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x[:, self.first :]).relu())


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize(("first", "c"), [(3, 16), (0, 13), (5, 13)])
def test_what_lies_off_16_bytes_is_copied(first: int, c: int, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    x = randn(2, c, 5, 6).to(dtype).contiguous(memory_format=torch.channels_last)
    made = check(settle(Half(first, c)), x, factor=2)
    assert changed(made, x) == 1 and any("concat" in step for step in steps(made, x))


def test_a_norm_that_two_read_is_computed_once() -> None:
    x = randn(1, 8, 6, 6).bfloat16()
    assert changed(check(settle(Twice()), x, factor=3), x) == 0


@torch.no_grad()
def test_densenets_norms_and_what_is_told_of_them() -> None:
    torch.manual_seed(0)
    model = settle(pycnn.create_model("densenet121")).to(DEVICE, torch.bfloat16)
    x = randn(1, 3, 32, 32).bfloat16()
    made = program(model, x)
    found = steps(made, x)
    assert changed(made, x) == 61  # 58 layers and 3 transitions
    assert not any(step.startswith("conv2d_depthwise") for step in found[:-3])
    weights = Weights(made.graph.tensors, made.target())
    tight = Program(made.graph, weights, made.target, memory_limit=1 << 24)
    assert changed(tight, x) == 61 and torch.equal(tight.run([x]), made.run([x]))
    net, x = settle(Dense()).to(DEVICE, torch.bfloat16), randn(1, 16, 6, 6).bfloat16()
    fast = pycnn.optimize(net)
    told = next(s for s in pycnn.explain(fast, x).steps if s.kernel.startswith("conv2d_norm"))
    assert told.fused == "prologue: batch_norm + relu + batch_norm + relu" and told.path == "conv1"
    assert pycnn.verify(fast, net, x).ok
    for tensor in (net.norm1.weight, net.norm1.running_var, net.conv1.weight):
        tensor.mul_(1.5)
        assert torch.equal(fast(x), pycnn.optimize(net)(x))


class Gated(nn.Module):
    """Squeeze-and-excitation before a projection."""

    def __init__(self, first: int = 0, residual: bool = False) -> None:
        super().__init__()
        c, self.first, self.residual = 16 - first, first, residual
        self.squeeze, self.excite = nn.Conv2d(c, 4, 1), nn.Conv2d(4, c, 1)
        self.conv, self.norm = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.first :]
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        y = self.norm(self.conv(x * gate))
        return y + x if self.residual else y


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize(("first", "residual"), [(0, False), (0, True), (5, True)])
def test_a_gate_is_part_of_the_projection(first: int, residual: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    for shape in ((3, 16, 7, 9), (1, 16, 4, 4)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = randn(*shape).to(dtype).contiguous(memory_format=layout)
            made = check(settle(Gated(first, residual)), x, factor=2)
            assert changed(made, x, "gate") == 1 and not any("arith" in s for s in steps(made, x))


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.usefixtures("last")
def test_a_gate_before_torchs_own_convolution(dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    x = randn(3, 16, 7, 9).to(dtype)
    made = check(settle(Gated(residual=True)), x, factor=2)
    prologues = [step.params.get("prologue") for step in made.plans([x])[0].steps]
    # The two small layers are one kernel; the projection is torch's, behind a step that multiplies.
    assert GATE in prologues and changed(made, x, "gate") == 0 and taken(made, x) == 1


@torch.no_grad()
def test_gates_image_by_image_and_in_bands_with_the_same_bits() -> None:
    torch.manual_seed(6)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Gated(), nn.Conv2d(16, 4, 1))
    x = randn(3, 3, 24, 18).half().contiguous(memory_format=torch.channels_last)
    free = program(settle(net).to(DEVICE, torch.float16), x)
    bytes_ = free.plans([x])[0].plan.memory_bytes
    tight = Program(free.graph, free.weights, free.target, memory_limit=bytes_ // 2)
    assert changed(tight, x, "gate") and torch.equal(tight.run([x]), free.run([x]))
    assert len(tight.plans([x])[0].parts) > len(free.plans([x])[0].parts)
