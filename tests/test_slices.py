"""Channel slices are addresses: no step of the plan copies them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import error, fast, settle, truth
from torch import Tensor, nn

import pycnn


class Net(nn.Module):
    """A convolution to 12 channels and a function of (module, map)."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.narrow = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, self.conv(x))


def halves(m: Any, x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return m.narrow(a) + F.silu(torch.cat([b, a], 1))


def uneven(m: Any, x: Tensor) -> Tensor:
    a, b, c = torch.split(x, [1, 5, 6], dim=1)
    return m.narrow(c) * a + b.mean((2, 3), keepdim=True)[:, :1]


def sizes(m: Any, x: Tensor) -> Tensor:
    return torch.cat([p.relu() for p in x.split(5, 1)], 1)


def rows(m: Any, x: Tensor) -> Tensor:
    y = x.mean((2, 3))
    return torch.sigmoid(y[:, -3:]) * y[..., 2:5]


def pooled(m: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(x.narrow(1, 3, 7)[:, 1:4], 2).flatten(1)


NETS = [
    halves,
    uneven,
    sizes,
    rows,
    pooled,
    lambda m, x: x[:, 2:9],
    lambda m, x: (x[:, :5] + 0).flatten(1),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("function", NETS)
def test_slices_are_no_torch_steps(function: Any, layout: torch.memory_format) -> None:
    net = settle(Net(function))
    opt = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for shape in ((2, 3, 8, 6), (1, 3, 5, 7)):
            x = torch.randn(shape).contiguous(memory_format=layout)
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_a_slice_costs_no_step() -> None:
    net = settle(Net(lambda m, x: m.narrow(x[:, 3:9])))
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 8, 6).to(memory_format=torch.channels_last)
    opt(x)
    assert [s.op for s in pycnn.explain(opt, x).steps] == ["conv2d", "conv2d"]


def test_slices_of_the_input() -> None:
    class Input(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x[:, 1:4]) + x[:, 4:]

    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 7, 4, 5).contiguous(memory_format=layout)
        assert torch.equal(fast(Input(), x, strict=True), Input()(x))


def test_returned_pieces_share_memory_as_in_torch() -> None:
    net = settle(Net(lambda m, x: x.chunk(3, 1)))
    x = torch.randn(2, 3, 4, 5)
    found = fast(net, x)
    assert len({t.untyped_storage().data_ptr() for t in found}) == 1
    for a, b in zip(found, net(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


PARTS: dict[str, Callable[[Any, Tensor], Any]] = {
    "rows of the image": lambda m, x: x[:, :, 1:3] * 1,
    "a step": lambda m, x: x[:, ::2] * 1,
    "steps of both axes": lambda m, x: (
        torch.cat([x[..., 1::2, ::2], x[..., ::2, 1::2][..., :2, :3]][:1], 1) * 1
    ),
    "an index": lambda m, x: x[:, 1] * 1,
    "the last": lambda m, x: x[..., -1] * 1,
    "an image": lambda m, x: x[0] * 1,
    "images": lambda m, x: x[1:] * 1,
    "two axes": lambda m, x: x[:, 1:3, 1:3] * 1,
    "all but the border": lambda m, x: x[:, :, 1:-1, 1:-1] * 1,
    "more than there is": lambda m, x: x[:, :, 2:100] * 1,
    "new axes": lambda m, x: x.mean((2, 3))[:, :, None, None] * x,
    "a new axis between": lambda m, x: x[:, None, 1:5].flatten(0, 1) * 1,
    "pieces of the image": lambda m, x: x.chunk(2, 2)[1] * 1,
    "up to a size": lambda m, x: x[:, :, : x.shape[3]][..., : x.shape[2]] * 1,
    "narrow to a size": lambda m, x: x.narrow(2, 1, x.shape[2] - 2) * 1,
    "selected": lambda m, x: x.select(2, -1) * 1,
    "unbound": lambda m, x: x.unbind(1)[2] + x.unbind(1)[0],
    "a part of a view": lambda m, x: x.flatten(2)[:, :, 3:7] * 1,
    "half of merged channels": lambda m, x: x.reshape(x.shape[0], 2, -1, *x.shape[2:])[:, 1] * 1,
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", PARTS)
def test_parts_of_any_axis_are_copied_by_the_plan(case: str, layout: torch.memory_format) -> None:
    net = settle(Net(PARTS[case]))
    opt = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for shape in ((2, 3, 8, 6), (2, 3, 8, 8), (3, 3, 9, 7)):
            x = torch.randn(shape).contiguous(memory_format=layout)
            y, expected = opt(x), truth(net, x)
            assert y.shape == expected.shape and (y.dim() != 4 or y.stride() == net(x).stride())
            assert error(y, expected) <= 1e-5


@pytest.mark.parametrize("case", ["an image", "all but the border", "unbound", "a step"])
def test_parts_of_the_input_itself(case: str) -> None:
    class Input(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(PARTS[case](self, x))

    net = Input().eval()
    for shape in ((2, 5, 8, 6), (1, 5, 7, 9)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape).contiguous(memory_format=layout)
            assert torch.equal(fast(net, x, strict=True), net(x))


KEPT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "nothing": lambda m, x: torch.cat([x[:, 3:3], x], 1) * 1,
    "an index of tensors": lambda m, x: x[:, torch.tensor([1, 0])] * 1,
    "where it is positive": lambda m, x: x[:, x.mean((0, 2, 3)).argsort()] * 1,
}


@pytest.mark.parametrize("case", KEPT)
def test_torch_keeps_it(case: str) -> None:
    net, x = settle(Net(KEPT[case])), torch.randn(2, 3, 8, 6)
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        assert error(opt(x), truth(net, x)) <= 1e-5
    assert pycnn.explain(opt, x).fallbacks
