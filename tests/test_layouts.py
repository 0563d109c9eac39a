"""Layouts and dtypes that the caller can see are those torch gives."""

from __future__ import annotations

import random

import pytest
import torch
from nets import Branches, error, fast, settle, truth
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format

import pycnn
from pycnn.planning.formats import is_channels_last


def test_the_format_of_a_tensor_is_torchs_for_all_strides() -> None:
    draw, found = random.Random(3), 0
    for _ in range(6000):
        shape = draw.choices((0, 1, 2, 3), (1, 6, 6, 6), k=4)
        order = draw.choice(((1, 3, 2, 0), draw.sample(range(4), 4)))
        strides, step = [0] * 4, 1
        for axis in order:
            strides[axis] = step
            step *= draw.choice((1, max(shape[axis], 1), 3))
        if draw.random() < 0.3:
            strides[draw.randrange(4)] = draw.choice((0, 1, 2, 6))
        t = torch.empty_strided(shape, strides, device="meta")
        last = suggest_memory_format(t) == torch.channels_last
        assert is_channels_last(t) == last, (shape, strides)
        found += last
    assert found > 500


def test_a_branch_on_the_layout_is_followed() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if x.is_contiguous() else self.b(x)

    net = settle(Asks())
    opt, x = pycnn.optimize(net), torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        for view in (x, x.to(memory_format=torch.channels_last), x, torch.randn(1, 3, 9, 9)):
            assert error(opt(view), truth(net, view)) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torchs_default_dtype_does_not_matter(dtype: torch.dtype) -> None:
    net = settle(Branches())
    x = torch.randn(1, 3, 12, 12)
    ref = truth(net, x)
    torch.set_default_dtype(dtype)
    try:
        with torch.inference_mode():
            opt = pycnn.optimize(net)
            results = [opt(x), opt(x), opt(torch.cat([x, x]))]
    finally:
        torch.set_default_dtype(torch.float32)
    for y in results:
        assert y.dtype == torch.float32 and error(y[:1], ref) <= 1e-5


class Layouts(nn.Module):
    """Layout and dtype changes that the caller sees in the results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.conv(x)
        last = self.conv(x.contiguous(memory_format=torch.channels_last))
        rows = y.permute(0, 2, 3, 1).contiguous()
        return y, last, rows, y.to(torch.float64), y.to("cpu"), y.contiguous(), last.contiguous()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layouts_and_dtypes_asked_for_are_given(memory_format: torch.memory_format) -> None:
    net = settle(Layouts())
    x = torch.randn(2, 3, 7, 5).contiguous(memory_format=memory_format)
    with torch.inference_mode():
        expected = net(x)
    for found, wanted in zip(fast(net, x), expected, strict=True):
        assert found.stride() == wanted.stride() and found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
