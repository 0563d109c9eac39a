"""`optimize`: any batch and image size, any time: one graph where it holds, another where it does not."""

from __future__ import annotations

import pytest
import torch
from nets import Branches, Views, error, fast, settle, truth
from torch import Tensor, nn

import pycnn

SHAPES = [(1, 3, 20, 20), (2, 3, 20, 20), (1, 3, 33, 21), (3, 3, 8, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("make", [Branches, Views])
def test_any_shape_and_format(
    make: type[nn.Module], memory_format: torch.memory_format, shape: tuple[int, ...]
) -> None:
    net = settle(make())
    x = torch.randn(shape).to(memory_format=memory_format)
    ref = truth(net, x)
    with torch.inference_mode():
        expected = net(x)
    y = fast(net, x)
    assert error(y, ref) <= 1e-5
    assert y.stride() == expected.stride() and y.dtype == expected.dtype


def test_one_module_takes_many_shapes() -> None:
    net = settle(Views())
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        for shape in (*SHAPES, *reversed(SHAPES), (1, 3, 64, 64)):
            x = torch.randn(shape)
            assert error(opt(x), truth(net, x)) <= 1e-5
    assert len(opt._compiled.graphs) == 1, (
        "sizes read from tensors are symbolic: one graph serves all"
    )


def test_a_branch_on_a_size_is_captured_again() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.small(x) if x.shape[2] < 10 else self.large(x)

    net = settle(Branch())
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        for size in (8, 12, 9, 16, 8, 12):
            x = torch.randn(1, 3, size, size)
            assert error(opt(x), truth(net, x)) <= 1e-5


class Tiles(nn.Module):
    """view(-1, 8, 4, 4): nothing at all where the map is 4x4, another tensor where it is larger."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).view(-1, 8, 4, 4))


@pytest.mark.parametrize("sizes", [(4, 8, 4, 12, 8), (8, 4, 8)])
def test_what_a_kernel_takes_is_decided_at_each_size(sizes: tuple[int, ...]) -> None:
    net = settle(Tiles())
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        for size in sizes:
            x = torch.randn(2, 3, size, size)
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_warmup_plans_ahead_and_refuses_what_is_no_shape() -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()))
    fast = pycnn.optimize(net)
    fast.warmup((1, 3, 8, 8), [2, 3, 9, 9], torch.randn(1, 3, 5, 5), (torch.randn(1, 3, 6, 6),))
    assert len(fast.__dict__["_compiled"].match.program.planner._kept) == 4
    for wrong, kind, message in (
        ("8", TypeError, "warmup: '8' is neither a shape nor a tensor"),
        ((1, 0, 3, 3), ValueError, r"shape \(1, 0, 3, 3\) has no elements"),
        (7, TypeError, "warmup: 7 is neither"),
    ):
        with pytest.raises(kind, match=message):
            fast.warmup(wrong)
    with pytest.raises(ValueError, match="training mode"):
        pycnn.optimize(net.train()).warmup((1, 3, 8, 8))
