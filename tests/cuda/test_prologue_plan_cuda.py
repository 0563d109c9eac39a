"""Plans in which a norm or a gate is part of the 1x1 convolution behind it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from launch import DEVICE, DTYPES
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from test_plan_cuda import check, program, randn, settle
from test_pooled_plan_cuda import steps
from torch import Tensor, nn

import pycnn
from pycnn.planning.params import GATE, NORM
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights


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
