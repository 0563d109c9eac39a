"""pycnn.ops.linear against F.linear; every kernel called by name."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import pinned
import pytest
import tolerance
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pycnn import ops
from pycnn.ops.linear import reference

KERNELS = pinned.kernels("linear")
LANES = {"avx512": 16, "avx2": 8, "baseline": 4, "reference": 4}
ROWS = {"avx512": 14, "avx2": 6, "baseline": 6, "reference": 6}
SLOPE = 0.3
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


@functools.cache
def problem(m: int, c: int, k: int) -> Problem:
    """x, weight, bias, residual."""
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn(m, c, generator=g), torch.randn(k, c, generator=g)
    return x, weight, torch.randn(k, generator=g), torch.randn(m, k, generator=g)


def expected(p: Problem, extras: bool = True) -> tuple[Tensor, Tensor]:
    """fp64's result before the activation, and its bound."""
    x, weight, bias, residual = (t.double() for t in p)
    bias, residual = bias * extras, residual * extras
    magnitude = F.linear(x.abs(), weight.abs(), bias.abs()) + residual.abs()
    return F.linear(x, weight, bias) + residual, tolerance.sums(x.shape[-1], magnitude)


def run(
    kernel: str, p: Problem, act: str = "none", gap: int = 5, extras: bool = True, workers: int = 1
) -> Tensor:
    """y [m, k]; the rows of x, residual and y lie in wider ones, with NaN between, before and after."""
    x, weight, bias, residual = p
    (m, c), k = x.shape, weight.shape[0]
    params = {
        "m": m, "c": c, "k": k, "ldx": c + gap, "ldr": k + 2 * gap, "ldy": k + 3 * gap,
        "act": ops.ACTS[act], "act_param": SLOPE,
    }  # fmt: skip
    guarded = F.pad(pinned.spread(x, c + gap), (0, 0, 1, 1), value=torch.nan)
    r = pinned.spread(residual, k + 2 * gap) if extras else None
    b = bias if extras else None
    return pinned.call("linear", kernel, params, guarded[1:-1], (m, k), r, workers, weight, b)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_number_of_rows_and_panels(kernel: str) -> None:
    isa = kernel.rsplit("_", 1)[1]
    for panels in (1, 2, 3, 5, 8, 15):
        for m in (*range(1, ROWS[isa] + 2), 2 * ROWS[isa] + 1):
            p = problem(m, 9, panels * LANES[isa] - panels % 3)
            tolerance.check(run(kernel, p), *expected(p))


@pytest.mark.parametrize("kernel", KERNELS)
def test_features_at_vector_edges(kernel: str) -> None:
    for c in (1, 2, *pinned.EDGES, 300):
        for k in (1, *pinned.EDGES, 129):
            p = problem(3, c, k)
            tolerance.check(run(kernel, p), *expected(p))
            y = run(kernel, p, gap=0, extras=False)
            tolerance.check(y, *expected(p, extras=False))


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations(kernel: str, act: str) -> None:
    p = problem(9, 19, 35)
    before, bound = expected(p)
    for gap in (0, 5):
        after = ops.apply_act(before, act, SLOPE)
        y = run(kernel, p, act, gap)
        tolerance.check(y, after, tolerance.activated(before, bound))


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str, act: str) -> None:
    x, weight, bias, residual = (t.clone() for t in problem(9, 19, 35))
    x[1, 3], x[4, 5], x[7, 0], bias[6] = torch.nan, torch.inf, -torch.inf, torch.nan
    before = F.linear(x.double(), weight.double(), bias.double()) + residual.double()
    y = run(kernel, (x, weight, bias, residual), act)
    tolerance.check_values(y, ops.apply_act(before, act, SLOPE))


@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str, act: str) -> None:
    for m, c, k in ((90, 19, 35), (5, 33, 300), (2, 7, 3)):
        p = problem(m, c, k)
        one = run(kernel, p, act)
        for workers in (2, 3, 7):
            assert torch.equal(run(kernel, p, act, workers=workers), one)
        assert torch.equal(run(kernel, p, act, gap=0), one)
        alone = (p[0][1:2].clone(), p[1], p[2], p[3][1:2])
        assert torch.equal(run(kernel, alone, act), one[1:2])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    lead=st.lists(st.integers(0, 4), max_size=3),
    c=st.integers(1, 40),
    k=st.integers(1, 40),
    extras=st.booleans(),
    act=st.sampled_from(list(ops.ACTS)),
)
def test_any_leading_dimensions(lead: list[int], c: int, k: int, extras: bool, act: str) -> None:
    x, weight = torch.randn(*lead, c), torch.randn(k, c)
    bias, residual = torch.randn(k), torch.randn(*lead, k)
    before, bound = expected((x, weight, bias, residual), extras)
    y = ops.linear(
        x,
        weight,
        bias if extras else None,
        act=act,
        act_param=SLOPE,
        residual=residual if extras else None,
    )
    tolerance.check(y, ops.apply_act(before, act, SLOPE), tolerance.activated(before, bound))
    assert y.is_contiguous()


def test_views_keep_torchs_values_and_strides() -> None:
    x = torch.randn(6, 5, 19)
    for view in (
        x[:, :, 3:12], x[:, ::2, :9], x.transpose(0, 1)[..., :9], x[..., :1].expand(-1, -1, 9),
        x[:1, :, :9].expand(4, -1, -1), x.permute(2, 1, 0)[:9].permute(2, 1, 0), torch._neg_view(x[..., :9]),
        x[0, 0, :9], x[:0, :, :9], x[0, 0, ::2][:9],
    ):  # fmt: skip
        for weight in (torch.randn(7, 9), torch.randn(9, 7).T, torch.randn(7, 18)[:, ::2]):
            bias, residual = torch.randn(14)[::2], torch.randn(7, *view.shape[:-1]).movedim(0, -1)
            y = ops.linear(view, weight, bias, residual=residual)
            tolerance.check(y, *expected((view, weight, bias, residual)))
            assert y.stride() == F.linear(view, weight, bias).stride()


def test_no_features_is_the_bias() -> None:
    bias = torch.randn(4)
    y = ops.linear(torch.zeros(2, 0), torch.zeros(4, 0), bias, act="relu")
    assert torch.equal(y, bias.relu().expand(2, 4))


X, W = torch.randn(2, 6), torch.randn(4, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.linear([1], W), TypeError, "x must be a Tensor, got list"),
        (lambda: ops.linear(X, None), TypeError, "weight must be a Tensor, got NoneType"),
        (lambda: ops.linear(X, W, "b"), TypeError, "bias must be a Tensor, got str"),
        (lambda: ops.linear(X, W, residual=1), TypeError, "residual must be a Tensor, got int"),
        (lambda: ops.linear(X, W.double()), TypeError, "x is torch.float32, weight is torch.float64"),
        (lambda: ops.linear(X, W.to("meta")), ValueError, "x is on cpu, weight on meta"),
        (lambda: ops.linear(X, W[0]), ValueError, r"weight must have 2 dimensions, got shape \(6,\)"),
        (lambda: ops.linear(X[:, :5], W), ValueError, r"weight takes 6 features, x has shape \(2, 5\)"),
        (lambda: ops.linear(X[0, 0], W), ValueError, r"weight takes 6 features, x has shape \(\)"),
        (lambda: ops.linear(X, W, torch.zeros(1)), ValueError, r"bias has shape \(1,\), expected \(4,\)"),
        (lambda: ops.linear(X, W, residual=X), ValueError, r"residual has shape \(2, 6\), the output \(2, 4\)"),
        (lambda: ops.linear(X, W, act="swish"), ValueError, "act='swish' is not one of none, relu, "),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^linear: {message}"):
        call()


@pytest.mark.parametrize(
    ("dtype", "grad", "reason"),
    [
        (torch.float64, False, "no kernel for torch.float64"),
        (torch.bfloat16, False, "no kernel for torch.bfloat16"),
        (torch.float32, True, "a gradient is needed"),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    dtype: torch.dtype, grad: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    x, weight = X.to(dtype), W.to(dtype).requires_grad_(grad)
    with caplog.at_level(logging.DEBUG, "pycnn.ops"):
        y = ops.linear(x, weight, act="gelu", residual=x[:, :4])
    assert f"linear: torch's own op runs: {reason}" in caplog.text
    assert torch.equal(y, F.gelu(F.linear(x, weight) + x[:, :4]))


def raw_calls() -> list[tuple[Any, ...]]:
    make = lambda *shape: (torch.randn(*shape) / 2).requires_grad_()  # noqa: E731
    silu = ops.ACTS["silu"]
    return [
        (make(3, 5), make(4, 5), make(4), make(3, 4), silu, 0.0, ""),
        (make(3, 5), make(4, 5), None, None, 0, 0.0, ""),
    ]


@pytest.mark.parametrize("i", range(2))
def test_opcheck(i: int) -> None:
    torch.library.opcheck(torch.ops.pycnn.linear.default, raw_calls()[i])


@pinned.fp32_gradcheck
@pytest.mark.parametrize("i", range(2))
def test_gradients(i: int) -> None:
    *tensors, act, slope, kernel = raw_calls()[i]
    name = {code: name for name, code in ops.ACTS.items()}[act]
    wide = [None if t is None else t.detach().double().requires_grad_() for t in tensors]
    raw = lambda *t: torch.ops.pycnn.linear(*t, act, slope, kernel)  # noqa: E731
    assert torch.autograd.gradcheck(lambda *t: ops.linear(*t[:3], act=name, residual=t[3]), wide)
    assert torch.autograd.gradcheck(raw, tensors, eps=1e-2, atol=2e-3, rtol=1e-3)
    ours, torchs = raw(*tensors), reference(*tensors, name, slope)
    g, leaves = torch.randn_like(ours), [t for t in tensors if t is not None]
    for a, b in zip(
        torch.autograd.grad(ours, leaves, g), torch.autograd.grad(torchs, leaves, g), strict=True
    ):
        assert torch.equal(a, b)


def test_a_kernel_that_does_not_exist() -> None:
    with pytest.raises(RuntimeError, match="no kernel named 'nope'"):
        torch.ops.pycnn.linear(X, W, None, None, 0, 0.0, "nope")
