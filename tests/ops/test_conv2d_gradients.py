"""torch.ops.pycnn.conv2d under autograd: opcheck, gradcheck, torch's own gradients."""

from typing import Any

import pinned
import pytest
import torch
from torch import Tensor

from pycnn import ops
from pycnn.ops.conv2d import reference

CHANNELS_LAST = torch.channels_last


def raw_calls(last: bool) -> list[tuple[Any, ...]]:
    """Arguments of torch.ops.pycnn.conv2d, all tensors with requires_grad: dense with every extra, stem, depthwise."""
    fmt = CHANNELS_LAST if last else torch.contiguous_format
    make = lambda *shape: (torch.randn(*shape) / 2).to(memory_format=fmt).requires_grad_()  # noqa: E731
    bias = torch.randn(4, requires_grad=True)
    silu, tanh = ops.ACTS["silu"], ops.ACTS["tanh"]
    return [
        (
            make(2, 8, 4, 5),
            make(4, 8, 3, 2),
            bias,
            make(2, 4, 3, 3),
            [2, 1],
            [1, 0, 2, 0],
            [1, 2],
            1,
            silu,
            0.0,
            "",
        ),
        (
            make(2, 2, 5, 4),
            make(4, 2, 3, 3),
            None,
            None,
            [1, 1],
            [1, 1, 1, 1],
            [1, 1],
            1,
            tanh,
            0.0,
            "",
        ),
        (
            make(2, 4, 4, 4),
            make(4, 1, 3, 3),
            bias,
            None,
            [1, 1],
            [1, 1, 1, 1],
            [1, 1],
            4,
            0,
            0.0,
            "",
        ),
    ]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("i", range(3))
def test_opcheck(i: int, last: bool) -> None:
    torch.library.opcheck(torch.ops.pycnn.conv2d.default, raw_calls(last)[i])


@pinned.fp32_gradcheck
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("i", range(3))
def test_gradcheck(i: int, last: bool) -> None:
    *tensors, stride, padding, dilation, groups, act, slope, kernel = raw_calls(last)[i]
    name = {code: name for name, code in ops.ACTS.items()}[act]
    wide = [None if t is None else t.detach().double().requires_grad_() for t in tensors]

    def public(*t: Tensor | None) -> Tensor:
        return ops.conv2d(*t[:3], stride, padding, dilation, groups, act=name, residual=t[3])

    def raw(*t: Tensor | None) -> Tensor:
        return torch.ops.pycnn.conv2d(*t, stride, padding, dilation, groups, act, slope, kernel)

    assert torch.autograd.gradcheck(public, wide)
    assert torch.autograd.gradcheck(raw, tensors, eps=1e-2, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("i", range(3))
def test_the_raw_ops_gradients_are_torchs_bit_for_bit(i: int, last: bool) -> None:
    *tensors, stride, padding, dilation, groups, act, slope, kernel = raw_calls(last)[i]
    name = {code: name for name, code in ops.ACTS.items()}[act]
    ours = torch.ops.pycnn.conv2d(*tensors, stride, padding, dilation, groups, act, slope, kernel)
    torchs = reference(*tensors, stride, padding, dilation, groups, name, slope)
    g, leaves = torch.randn_like(torchs), [t for t in tensors if t is not None]
    for a, b in zip(
        torch.autograd.grad(ours, leaves, g), torch.autograd.grad(torchs, leaves, g), strict=True
    ):
        assert torch.equal(a, b)
