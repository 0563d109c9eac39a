"""Sums, means, maxima, softmax along any axes; expand, reshape_as and norms of rows: on kernels, as torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, norm
from torch import nn

import pycnn

SHAPES = {2: (5, 7), 3: (2, 6, 9), 4: (2, 5, 4, 6), 5: (2, 2, 5, 3, 4)}


def check(
    function: Callable[..., object],
    *shapes: tuple[int, ...],
    formats: bool = True,
    **modules: nn.Module,
) -> list[str]:
    """`strict`: nothing runs in torch, at the first size and at another; the kernels. formats: of memory, too."""
    net = Fn(function, **modules).eval()
    fast = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for shape in shapes:
            x = torch.randn(shape)
            for given in (
                x,
                x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x,
            ):
                wanted, found = net(given), fast(given)
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-6)
                assert (
                    not formats
                    or found.dim() != 4
                    or found.stride() == wanted.stride()
                    or 1 in found.shape
                )
    return [step.op for step in pycnn.explain(fast, torch.randn(shapes[0])).steps]


def axes_of(rank: int) -> list[tuple[int, ...]]:
    pairs = [(a, b) for a in range(rank) for b in range(a + 1, rank)] if rank > 2 else []
    return [*((a,) for a in range(rank)), *pairs]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("name", ["mean", "sum", "amax"])
def test_reductions(name: str, rank: int, keepdim: bool) -> None:
    shape = SHAPES[rank]
    for dims in axes_of(rank):
        check(lambda m, x, d=dims: getattr(x.relu(), name)(d, keepdim=keepdim), shape)
    negative = getattr(torch, name)
    check(lambda m, x: negative(x * 2, -1, keepdim), shape, (shape[0] + 1, *shape[1:]))


def test_a_few_entries_are_added_where_they_lie() -> None:
    """Split attention: no copy of what is viewed as [n, radix, c, h, w]."""
    ops = check(lambda m, x: m.conv(x).view(x.shape[0], 2, 8, *x.shape[2:]).sum(1),
                (2, 3, 6, 5), (1, 3, 4, 8), conv=nn.Conv2d(3, 16, 1))  # fmt: skip
    assert "rearrange" not in ops and "add_act" in ops


def test_what_reduces_everything_or_changes_the_dtype_goes_to_torch() -> None:
    for function in (
        lambda m, x: x.relu().mean(),
        lambda m, x: x.relu().sum((0, 1, 2, 3)),
        lambda m, x: x.relu().mean(1, dtype=torch.float64),
    ):
        fast = pycnn.optimize(Fn(function).eval())
        x = torch.randn(2, 3, 4, 5)
        with torch.inference_mode():
            torch.testing.assert_close(fast(x), function(None, x))
        assert len(pycnn.explain(fast, x).fallbacks) == 1


@pytest.mark.parametrize("rank", SHAPES)
def test_softmax_along_any_axis(rank: int) -> None:
    for dim in range(-1, rank - 1):
        check(lambda m, x, d=dim: (x * 3).softmax(d), SHAPES[rank], (3, *SHAPES[rank][1:]))
        check(lambda m, x, d=dim: F.softmax(x, dim=d), SHAPES[rank])


def test_operands_are_expanded_by_arithmetic_itself() -> None:
    ops = check(
        lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid().expand_as(x),
        (2, 3, 4, 5),
        (1, 3, 6, 6),
    )
    assert "rearrange" not in ops and "arith" in ops
    ops = check(lambda m, x: x.relu() + x.amax(1, keepdim=True).expand(-1, 3, -1, -1), (2, 3, 4, 5))
    assert "arith" in ops
    check(lambda m, x: x[:1].expand(2, *x.shape[1:]) + x, (2, 3, 4, 5))


@pytest.mark.parametrize("rank", SHAPES)
def test_variances_and_norms(rank: int) -> None:
    shape, other = SHAPES[rank], (SHAPES[rank][0] + 1, *SHAPES[rank][1:-1], SHAPES[rank][-1] + 2)
    for dims in axes_of(rank):
        for keep in (False, True):
            check(lambda m, x, d=dims, k=keep: (x + 9).var(d, unbiased=False, keepdim=k), shape, other)  # fmt: skip
        check(lambda m, x, d=dims: torch.std(x * 3, d, correction=1), shape, other)
        check(lambda m, x, d=dims: x.relu().norm(dim=d, keepdim=True), shape, other)
        check(lambda m, x, d=dims: torch.linalg.vector_norm(x * 2, dim=d), shape)
    for dim in range(-1, rank - 1):
        check(lambda m, x, d=dim: F.normalize(x.relu(), dim=d, eps=1e-3), shape, other, formats=False)  # fmt: skip


def test_rows_of_nothing_are_normalized_as_in_torch() -> None:
    check(lambda m, x: F.normalize(x * 1e-20, dim=-1), (2, 3, 5))
    check(lambda m, x: F.normalize(x * 0, dim=-1, eps=1e-6), (2, 3, 5))


def test_roots_powers_and_the_larger() -> None:
    x = (2, 3, 4, 5)
    check(lambda m, x: (x.square() + 1).sqrt() - torch.rsqrt(x**2 + 0.5), x, (1, 3, 2, 2))
    check(lambda m, x: (x.relu() + 1).pow(-0.5) + (x.relu() + 1) ** 0.5, x)
    check(lambda m, x: (x.relu() + 2).pow(-1) + torch.maximum(x, x.mean((2, 3), keepdim=True)), x)
    check(lambda m, x: torch.addcmul(x, x.relu(), x.tanh(), value=0.3), x)
    bias, weight = torch.randn(1, 3, 1, 1), torch.randn(3, 1, 1)
    check(lambda m, x: x + torch.addcmul(bias, weight, x * 2), x)


def test_what_torch_keeps_of_them() -> None:
    for function, reason in (
        (lambda m, x: x.relu().var(), "is run by torch"),
        (lambda m, x: x.relu().norm(p=1, dim=1), "p=1"),
        (lambda m, x: x.relu() ** 3, "exponent=3"),
        (lambda m, x: x[:, :1].relu().var(1), "is run by torch"),
        (lambda m, x: torch.addcmul(x[:, :1] * 2, x, x), "larger than what it is added to"),
    ):
        fast, x = pycnn.optimize(Fn(function).eval()), torch.randn(2, 3, 4, 5)
        with torch.inference_mode():
            torch.testing.assert_close(fast(x), function(None, x), equal_nan=True)
        (fallback,) = pycnn.explain(fast, x).fallbacks
        assert reason in fallback


def test_operands_of_fewer_axes() -> None:
    for rank in (2, 3, 4, 5):
        check(lambda m, x: x.relu() * x.mean(0), SHAPES[rank], (1, *SHAPES[rank][1:]))
        check(lambda m, x, r=rank: x.relu() - x.sum((0, 1) if r > 2 else 0), SHAPES[rank])


def test_expand_by_itself_is_a_copy() -> None:
    for function in (
        lambda m, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 3) * 1,
        lambda m, x: x.mean((2, 3))[:, None].expand(-1, 5, -1).relu(),
        lambda m, x: x.mean(1).expand(2, *x.mean(1).shape).contiguous(),
        lambda m, x: x.mean(0, keepdim=True).expand_as(x).relu(),
    ):
        check(function, (2, 3, 4, 5), (2, 3, 6, 5))


def test_reshape_as_takes_the_other_tensors_sizes() -> None:
    check(
        lambda m, x: x.flatten(2).relu().reshape_as(x) * 2,
        (2, 3, 4, 5),
        (3, 3, 7, 2),
        formats=False,
    )
    check(lambda m, x: x.relu().reshape(-1).view_as(x), (2, 3, 4, 5), (1, 3, 2, 2))


def test_contiguous_gives_the_layout_asked_for() -> None:
    last = torch.channels_last
    check(lambda m, x: x.relu().contiguous(memory_format=last), (2, 3, 4, 5))
    check(lambda m, x: x.relu().contiguous(memory_format=last).tanh(), (2, 3, 4, 5), formats=False)
    check(lambda m, x: x.relu().permute(0, 2, 1, 3).contiguous(), (2, 3, 4, 5))
    check(lambda m, x: x.relu().transpose(1, 2).contiguous().flatten(1), (2, 3, 4), (1, 3, 5))


@pytest.mark.parametrize("rank", (2, 3, 4))
def test_stack(rank: int) -> None:
    for dim in range(-1, rank + 1):
        check(
            lambda m, x, d=dim: torch.stack((x.relu(), x, x * 2), d),
            SHAPES[rank],
            (3, *SHAPES[rank][1:]),
        )


def test_layers_on_the_last_of_four_and_five_axes() -> None:
    layers = {"linear": nn.Linear(6, 5), "norm": nn.LayerNorm(6)}
    nn.init.normal_(layers["norm"].weight)
    for shape in ((2, 3, 4, 6), (2, 2, 3, 4, 6)):
        other = (1, shape[1] + 1, *shape[2:])
        check(lambda m, x: m.linear(x.relu()).tanh(), shape, other, formats=False, **layers)
        check(lambda m, x: m.linear(m.norm(x)) * 2, shape, other, formats=False, **layers)


def test_batch_norm_of_rows() -> None:
    bn = nn.BatchNorm1d(6)
    for tensor in (bn.running_mean, *bn.parameters()):
        nn.init.normal_(tensor)
    nn.init.uniform_(bn.running_var, 0.5, 2.0)
    check(lambda m, x: m.bn(x).relu(), (5, 6), (1, 6), bn=bn)
    lines = {"linear": nn.Linear(4, 6), "bn": bn}
    check(
        lambda m, x: m.bn(m.linear(x).flatten(0, 1)).reshape(*x.shape[:2], 6),
        (2, 3, 4),
        (1, 5, 4),
        **lines,
    )
    ops = check(lambda m, x: m.bn(m.linear(x)), (5, 4), **lines)
    assert ops == ["linear"]
    assert check(lambda m, x: m.bn(x).relu(), (2, 3, 4, 4), bn=norm(3)) == [
        "layout",
        "conv2d",
        "layout",
    ]
