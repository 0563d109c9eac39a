"""Arithmetic in captured graphs: what becomes a kernel, what torch keeps, and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import error, settle, truth
from torch import Tensor, nn

import pycnn


class Net(nn.Module):
    """A convolution and then a function of (module, map, pooled [n, c, 1, 1])."""

    def __init__(self, function: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.gamma = nn.Parameter(torch.randn(5, 1, 1))
        self.alpha = nn.Parameter(torch.tensor(0.3))
        self.field = nn.Parameter(torch.randn(1, 5, 8, 6))
        self.column = nn.Parameter(torch.randn(5, 8, 1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.function(self, y, y.mean((2, 3), keepdim=True))


TAKEN: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "gate": lambda m, x, s: x * torch.sigmoid(s),
    "gate first": lambda m, x, s: torch.mul(F.hardsigmoid(s), x),
    "gate in place": lambda m, x, s: x.mul_(s.sigmoid()),
    "gate from rows": lambda m, x, s: x * torch.sigmoid(s.flatten(1)).view(-1, 5, 1, 1),
    "gate minus": lambda m, x, s: s - x,
    "gate by": lambda m, x, s: s / (x * x + 1),
    "gate then relu": lambda m, x, s: F.relu(x * s),
    "gate and residual": lambda m, x, s: F.relu(x * s + F.silu(x)),
    "layer scale": lambda m, x, s: x + m.gamma * F.gelu(x),
    "learned scalar": lambda m, x, s: m.alpha * x - x / m.alpha,
    "a field": lambda m, x, s: x + m.field,
    "maximum": lambda m, x, s: torch.maximum(x, m.gamma) + torch.maximum(m.column * 2, x),
    "a learned column": lambda m, x, s: x * m.column,
    "a learned row": lambda m, x, s: m.field[:, :1, 3:4] - F.relu(x),
    "a learned column and a field": lambda m, x, s: (x / (m.field[..., :1] ** 2 + 1) + m.field) * m.column,
    "residual scaling": lambda m, x, s: x + 0.2 * F.relu(x),
    "number first": lambda m, x, s: 1 - x * 3 + 1 / (2 + x * x),
    "hardswish by hand": lambda m, x, s: x * F.relu6(x + 3) / 6,
    "pooled rows": lambda m, x, s: x.mean([2, 3]) * 2,
    "rows": lambda m, x, s: s.flatten(1) * s.flatten(1),
    "both repeat": lambda m, x, s: s * x.mean(1, keepdim=True),
    "both repeat, exchanged": lambda m, x, s: x.amax(1, keepdim=True) - s,
    "one image axis": lambda m, x, s: x * x[:, :, :1],
    "one image axis first": lambda m, x, s: x[:, :, :, :1] / (x * x + 1),
    "a column and a row": lambda m, x, s: x[:, :, :1] - x[:, :, :, :1],
    "an image for all": lambda m, x, s: x[:1] + s,
    "rows of three axes": lambda m, x, s: F.relu(x.flatten(2)[:, :1] * s.flatten(2)),
    "a value of three axes": lambda m, x, s: x * x.mean(0),
    "a value of two axes": lambda m, x, s: x.mean((0, 1)) - x,
    "a value of one axis": lambda m, x, s: x * x.amax((0, 1, 2)),
    "a slice of three axes": lambda m, x, s: x * (x.mean(0)[:, :1] * 2)[:, :, 3:4],
    "five axes": lambda m, x, s: (x[:, :, None] * s[:, None]).flatten(1, 2),
}  # fmt: skip


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", TAKEN)
def test_kernels_take_it(case: str, layout: torch.memory_format) -> None:
    net = settle(Net(TAKEN[case]))
    opt = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for n in (1, 3):
            x = torch.randn(n, 3, 8, 6).contiguous(memory_format=layout)
            y = opt(x)
            assert error(y, truth(net, x)) <= 1e-5
            assert y.stride() == net(x).stride()


KEPT: dict[str, tuple[Callable[[Any, Tensor, Tensor], Tensor], str]] = {
    "larger than x": (lambda m, x, s: s * m.field, "has shape [1, 5, 8, 6]"),
    "alpha": (lambda m, x, s: torch.add(x, s, alpha=2), "alpha=2"),
    "rounding": (lambda m, x, s: torch.div(x, 2, rounding_mode="floor"), "rounding_mode='floor'"),
    "a size": (lambda m, x, s: x * x.shape[2], "no plain number"),
    "integers": (lambda m, x, s: x * torch.arange(6), "torch.int64"),
}


@pytest.mark.parametrize("case", KEPT)
def test_torch_keeps_it_and_explain_says_why(case: str) -> None:
    function, reason = KEPT[case]
    net = settle(Net(function))
    opt, x = pycnn.optimize(net), torch.randn(2, 3, 8, 6)
    with torch.inference_mode():
        assert error(opt(x), truth(net, x)) <= 1e-5
    assert any(reason in line for line in pycnn.explain(opt, x).fallbacks)


def test_a_computed_number() -> None:
    """torch takes the mean of everything; what is multiplied by it is not."""
    net, x = settle(Net(lambda m, x, s: x * x.mean() - x.amax())), torch.randn(2, 3, 8, 6)
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        assert error(opt(x), truth(net, x)) <= 1e-5
    assert [step.op for step in pycnn.explain(opt, x).steps].count("arith") == 2


def test_an_image_of_one_pixel_and_other_sizes() -> None:
    net = settle(Net(lambda m, x, s: x * s + m.gamma))
    opt = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for shape in ((2, 3, 1, 1), (2, 3, 4, 7), (1, 3, 1, 5), (4, 3, 6, 1)):
            x = torch.randn(shape)
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_tensors_of_the_model_stay_live_and_explain_names_the_kind() -> None:
    net = settle(Net(lambda m, x, s: F.relu(m.gamma + x)))
    opt, x = pycnn.optimize(net, strict=True), torch.randn(1, 3, 8, 6)
    with torch.inference_mode():
        opt(x)
        net.gamma.mul_(-2)
        assert error(opt(x), truth(net, x)) <= 1e-5
    assert "add + relu" in [s.fused for s in pycnn.explain(opt, x).steps if s.op == "arith"]
