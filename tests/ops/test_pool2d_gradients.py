"""torch.ops.pycnn.pool2d and adaptive_pool2d under autograd: opcheck, gradcheck, torch's own gradients."""

from typing import Any

import pinned
import pytest
import torch

from pycnn import ops

CHANNELS_LAST = torch.channels_last
MAX, AVG, ADAPTIVE_MAX, ADAPTIVE_AVG = range(4)

CALLS = [
    ("pool2d", (MAX, [3, 2], [2, 1], [1, 1], [1, 2], True, True, 0, "")),
    ("pool2d", (AVG, [3, 2], [2, 1], [1, 1], [1, 1], True, False, 0, "")),
    ("pool2d", (AVG, [2, 2], [2, 2], [0, 0], [1, 1], False, True, 3, "")),
    ("adaptive_pool2d", (ADAPTIVE_MAX, [3, 2], "")),
    ("adaptive_pool2d", (ADAPTIVE_AVG, [3, 2], "")),
]


@pytest.mark.parametrize(("name", "rest"), CALLS)
@pytest.mark.parametrize("last", [False, True])
def test_opcheck(name: str, rest: tuple[Any, ...], last: bool) -> None:
    fmt = CHANNELS_LAST if last else torch.contiguous_format
    x = torch.randn(2, 5, 7, 6).to(memory_format=fmt).requires_grad_()
    torch.library.opcheck(getattr(torch.ops.pycnn, name).default, (x, *rest))


def test_gradcheck() -> None:
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    for call in (
        lambda x: ops.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: ops.avg_pool2d(x, 3, 2, 1, True, False),
        lambda x: ops.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: ops.adaptive_max_pool2d(x, (2, 3)),
    ):
        assert torch.autograd.gradcheck(call, x)


@pinned.fp32_gradcheck
@pytest.mark.parametrize(("name", "rest"), CALLS)
def test_gradcheck_of_the_raw_op(name: str, rest: tuple[Any, ...]) -> None:
    # Whole numbers a step of 1/8 cannot reorder: the differences are exact in fp32.
    x = torch.randperm(2 * 2 * 5 * 4).float().view(2, 2, 5, 4).requires_grad_()
    op = getattr(torch.ops.pycnn, name)
    assert torch.autograd.gradcheck(lambda x: op(x, *rest), x, eps=1 / 8, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("name", "rest"), CALLS)
def test_the_raw_ops_gradient_is_torchs_bit_for_bit(name: str, rest: tuple[Any, ...]) -> None:
    from pycnn.ops.pool2d import adaptive_reference, reference

    x = torch.randn(2, 5, 7, 6, requires_grad=True)
    y = getattr(torch.ops.pycnn, name)(x, *rest)
    g = torch.randn_like(y)
    composition = reference if name == "pool2d" else adaptive_reference
    (ours,) = torch.autograd.grad(y, x, g)
    (torchs,) = torch.autograd.grad(composition(x, *rest), x, g)
    assert torch.equal(ours, torchs)
