"""Plans in which squeeze-and-excitation takes two launches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from launch import DEVICE, DTYPES
from test_optimize_cuda import as_on_cuda  # noqa: F401  (a fixture)
from test_own_op_cuda import last, taken  # noqa: F401  (a fixture)
from test_plan_cuda import check, program, randn, settle
from test_pooled_plan_cuda import steps
from torch import Tensor, nn

import pycnn
from pycnn.planning.program import Program
from pycnn.planning.weights import Weights


class Block(nn.Module):
    """An inverted residual's depthwise convolution, squeeze-and-excitation, projection."""

    def __init__(self, c: int = 16, s: int = 8, stride: int = 1, **fields: Any) -> None:
        super().__init__()
        fields = {"groups": c, **fields}
        self.expand = nn.Conv2d(3, c, 1)
        self.depthwise = nn.Conv2d(c, c, 3, stride, 1, bias=False, **fields)
        self.norm = nn.BatchNorm2d(c)
        self.reduce, self.widen = nn.Conv2d(c, s, 1), nn.Conv2d(s, c, 1)
        self.project = nn.Conv2d(c, 8, 1)

    def map(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.depthwise(self.expand(x))))

    def gate(self, y: Tensor) -> Tensor:
        hidden = F.silu(self.reduce(F.adaptive_avg_pool2d(y, 1)))
        return self.widen(hidden).sigmoid()

    def forward(self, x: Tensor) -> Any:
        y = self.map(x)
        return self.project(y * self.gate(y))


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_is_four_kernels(stride: int, dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    net = settle(Block(stride=stride))
    for shape in ((2, 3, 19, 22), (5, 3, 6, 5)):
        x = randn(*shape).to(dtype).contiguous(memory_format=torch.channels_last)
        found = steps(check(net, x, factor=2), x)
        words = ["conv2d_", f"conv2d_sums3x3{'s2' * (stride == 2)}_", "excitation", "conv2d_gate"]
        assert [s.startswith(w) for s, w in zip(found[:4], words, strict=True)] == [True] * 4


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.usefixtures("last")
def test_torchs_own_depthwise_convolution_with_sums(dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    x = randn(2, 3, 19, 22).to(dtype)
    made = check(settle(Block()), x, factor=2)
    assert "conv2d_sums_torch" in steps(made, x) and taken(made, x) == 3


class Joined(Block):
    """The map lies in a join, where there is no room behind it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.map(x)
        return torch.cat([self.project(y * self.gate(y)), y], 1)


class Returned(Block):
    def forward(self, x: Tensor) -> Any:
        y = self.map(x)
        return y, self.project(y * self.gate(y))


class Shared(Block):
    """The hidden layer is read by others too."""

    def gate(self, y: Tensor) -> Tensor:
        hidden = F.silu(self.reduce(F.adaptive_avg_pool2d(y, 1)))
        return self.widen(hidden).sigmoid() * hidden


@pytest.mark.parametrize(
    ("net", "sums", "gates"),
    [
        (Joined(), 0, 1),
        (Returned(), 0, 1),
        (Shared(s=16), 0, 0),
        (Block(groups=1), 0, 1),
        (Block(c=528, s=504), 0, 0),
        (Block(dilation=2), 1, 1),
    ],
    ids=["joined", "returned", "shared", "dense", "large", "dilated"],
)
def test_where_they_are_apart(net: nn.Module, sums: int, gates: int) -> None:
    torch.manual_seed(6)
    x = randn(2, 3, 9, 7).bfloat16()
    found = steps(check(settle(net), x, factor=3), x)
    assert sum("conv2d_sums" in s for s in found) == sums
    assert sum("excitation" in s for s in found) == gates


class Residual(nn.Module):
    """As SENet: what is added behind the depthwise convolution is summed too."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.after = nn.Conv2d(16, 16, 5, padding=2, groups=16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.block.map(x)
        z = (self.after(y) + y).relu()
        return z * self.block.gate(z)


def test_a_residual_before_the_sums_and_a_gate_of_its_own() -> None:
    torch.manual_seed(6)
    x = randn(2, 3, 9, 7).bfloat16()
    found = steps(check(settle(Residual()), x, factor=2), x)
    assert sum("conv2d_sums5x5" in s for s in found) == 1 and any("arith" in s for s in found)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "gates"), [("mobilenet_v3_small", 9), ("efficientnet_b0", 16), ("seresnet50", 16)]
)
def test_the_zoos_gates(name: str, gates: int) -> None:
    torch.manual_seed(0)
    net, x = (
        settle(pycnn.create_model(name)),
        randn(1, 3, 64, 64).bfloat16(),
    )  # of more than a pixel
    found = steps(check(net, x), x)
    assert sum("excitation" in s for s in found) == gates
    depthwise = 0 if name == "seresnet50" else gates
    assert sum("conv2d_sums" in s for s in found) == depthwise
    assert sum("conv2d_gate" in s for s in found) == depthwise


@torch.no_grad()
def test_what_is_told_of_them_live_weights_and_limits() -> None:
    torch.manual_seed(0)
    net, x = settle(Block()).to(DEVICE, torch.bfloat16), randn(2, 3, 12, 12).bfloat16()
    fast = pycnn.optimize(net)
    told = {step.op: step for step in pycnn.explain(fast, x).steps}
    assert told["conv2d_sums"].fused == "batch_norm + silu + sums of channels"
    assert told["excitation"].fused == "conv2d + silu + conv2d + sigmoid"
    assert told["excitation"].flops == 2 * 2 * 2 * 16 * 8
    assert told["excitation"].activation_bytes == 2 * 2 * 16 * (3 * 2 + 1)  # three sums, a gate
    assert told["conv2d"].fused.startswith("gate")
    certificate = pycnn.verify(fast, net, x)
    assert certificate.ok and certificate.same_bits
    for tensor in (net.reduce.weight, net.widen.bias, net.depthwise.weight, net.norm.running_var):
        tensor.mul_(1.5)
        assert torch.equal(fast(x), pycnn.optimize(net)(x))
    one = pycnn.optimize(net, batch_invariant=True)
    assert torch.equal(one(x)[1:], one(x[1:]))
    made = program(net, x)
    tight = Program(
        made.graph, Weights(made.graph.tensors, made.target()), made.target, memory_limit=1 << 20
    )
    assert not any("sums" in step for step in steps(tight, x))
