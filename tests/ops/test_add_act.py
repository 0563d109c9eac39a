"""add_act against act(x + y) of torch."""

import itertools
import logging
from collections.abc import Callable

import pinned
import pytest
import torch
from torch import Tensor

from pycnn import ops

NAMES = list(ops.ACTS)
SLOPE = 0.3


def check(z: Tensor, x: Tensor, y: Tensor, act: str) -> None:
    """The sum is rounded once (|x + y| <= 40: 2e-6); the activation as in test_elementwise.py, times up to 30."""
    expected = ops.apply_act(x.double() + y.double(), act, SLOPE)
    assert z.shape == expected.shape
    torch.testing.assert_close(z.double(), expected, rtol=3e-7, atol=30 * 4e-7, equal_nan=True)


def pinned_add(
    kernel: str, x: Tensor, r: Tensor, act: str, lds: tuple[int, int, int], workers: int = 1
) -> Tensor:
    """One kernel on rows [pixels, c] of x and r; lds = ldx, ldr, ldy."""
    params = {"pixels": x.shape[0], "c": x.shape[1], "act": ops.ACTS[act], "act_param": SLOPE}
    params |= zip(("ldx", "ldr", "ldy"), lds, strict=True)
    residual = pinned.spread(r, lds[1])
    return pinned.call(
        "add_act", kernel, params, pinned.spread(x, lds[0]), tuple(x.shape), residual, workers
    )


@pytest.mark.parametrize("act", NAMES)
@pytest.mark.parametrize("kernel", pinned.kernels("add_act"))
def test_every_kernel_at_vector_edges(kernel: str, act: str) -> None:
    for c in (*pinned.EDGES, 2051):
        x, r = torch.randn(2, 3, c) * 4
        for gaps in ((0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1), (5, 7, 9)):
            lds = (c + gaps[0], c + gaps[1], c + gaps[2])
            check(pinned_add(kernel, x, r, act, lds), x, r, act)


@pytest.mark.parametrize("act", NAMES)
@pytest.mark.parametrize("kernel", pinned.kernels("add_act"))
def test_nan_and_infinities_as_in_torch(kernel: str, act: str) -> None:
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -1.0, 1e4, -1e4])
    pairs = torch.cartesian_prod(special, special)
    x, r = pairs[:, 0][None], pairs[:, 1][None]
    c = x.shape[1]
    check(pinned_add(kernel, x, r, act, (c, c, c)), x, r, act)


@pytest.mark.parametrize("kernel", pinned.kernels("add_act"))
def test_bits_do_not_depend_on_workers(kernel: str) -> None:
    x, r = torch.randn(2, 7, 37)
    for lds in ((37, 37, 37), (40, 37, 41)):
        one = pinned_add(kernel, x, r, "silu", lds)
        for workers in (2, 3, 11):
            assert torch.equal(pinned_add(kernel, x, r, "silu", lds, workers), one)


def views() -> list[Tensor]:
    """Tensors of one shape, each laid out in another way."""
    wide = torch.randn(4, 19, 7, 9)
    last = wide.contiguous(memory_format=torch.channels_last)
    shape = (2, 5, 4, 6)
    return [
        torch.randn(shape), torch.randn(shape).contiguous(memory_format=torch.channels_last),
        wide[:2, :5, :4, :6], last[:2, :5, :4, :6], last[:2, 2:7, :4, :6], wide[::2, :5, 3:, 1:7],
        torch.randn(2, 7, 4, 6).contiguous(memory_format=torch.channels_last)[:, 1:6], torch.randn(2, 7, 4, 6)[:, 1:6],
        torch.randn(1, 5, 4, 6).expand(shape), torch.randn(2, 1, 4, 6).expand(shape),
        torch.randn(2, 5, 1, 1).expand(shape), torch.randn(6, 4, 5, 2).permute(3, 2, 1, 0),
        torch.randn(2, 5, 6, 4).mT, torch.randn(()).expand(shape),
    ]  # fmt: skip


def test_pairs_of_layouts_keep_torchs_values_and_strides() -> None:
    for x, y in itertools.product(views(), views()):
        for act in ("none", "relu", "silu"):
            z = ops.add_act(x, y, act=act)
            check(z, x, y, act)
            assert z.stride() == ops.apply_act(x + y, act).stride(), (x.stride(), y.stride())


def test_sizes_of_one_and_none_keep_torchs_values_and_strides() -> None:
    # What adaptive pooling returns for channels_last.
    pooled = torch.randn(2, 5, 1, 1).as_strided((2, 5, 1, 1), (5, 1, 5, 5))
    for x, y in (
        (pooled, pooled), (pooled, torch.randn(2, 5, 1, 1)), (torch.randn(2, 5, 1, 1), pooled),
        (torch.randn(0, 5, 2, 2), torch.randn(0, 5, 2, 2)), (torch.randn(()), torch.randn(())),
        (torch.randn(3), torch.randn(6)[::2]), (torch.randn(4, 3).T, torch.randn(3, 4)),
    ):  # fmt: skip
        z = ops.add_act(x, y, act="relu")
        check(z, x, y, "relu")
        assert z.stride() == torch.relu(x + y).stride()


def test_broadcast_shapes_go_to_torch_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    x, y = torch.randn(2, 5, 4, 6), torch.randn(5, 1, 1)
    with caplog.at_level(logging.DEBUG, "pycnn.ops"):
        assert torch.equal(ops.add_act(x, y, act="relu"), torch.relu(x + y))
    assert "broadcast" in caplog.text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.add_act(1, torch.zeros(1)), TypeError, "add_act: x must be a Tensor, got int"),
        (lambda: ops.add_act(torch.zeros(1), 2.0), TypeError, "add_act: y must be a Tensor, got float"),
        (lambda: ops.add_act(torch.zeros(1), torch.zeros(1).double()), TypeError, "x is torch.float32, y is"),
        (lambda: ops.add_act(torch.zeros(2, 3), torch.zeros(2, 4)), ValueError, r"\(2, 3\), y \(2, 4\), and they"),
        (lambda: ops.add_act(torch.zeros(1), torch.zeros(1), act="r"), ValueError, "act='r' is not one of none, relu"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.randn(3, dtype=torch.float64), "no kernel for torch.float64"),
        (torch.randn(3, requires_grad=True), "a gradient is needed"),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    x: Tensor, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "pycnn.ops"):
        z = ops.add_act(x, x, act="gelu")
    assert torch.equal(z, torch.nn.functional.gelu(x + x))
    assert reason in caplog.text


@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu", "gelu"])
def test_opcheck(act: str) -> None:
    x, y = (torch.randn(2, 5, 3, 4, requires_grad=True) for _ in range(2))
    torch.library.opcheck(torch.ops.pycnn.add_act.default, (x, y, ops.ACTS[act], SLOPE, ""))
    for fmt in (torch.channels_last, torch.contiguous_format):
        z = torch.randn(2, 5, 3, 4).to(memory_format=fmt)
        torch.library.opcheck(
            torch.ops.pycnn.add_act.default, (z, y.detach(), ops.ACTS[act], SLOPE, "")
        )


@pinned.fp32_gradcheck
@pytest.mark.parametrize("act", NAMES)
def test_gradcheck(act: str) -> None:
    # No sum within a step of a kink (0, 6, +-3).
    total = torch.tensor([-4.3, -2.6, -1.2, -0.4, 0.3, 1.7, 2.5, 4.4, 7.1], dtype=torch.float64)
    x = torch.randn(9, dtype=torch.float64)
    y = total - x
    x.requires_grad_(), y.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: ops.add_act(x, y, act=act, act_param=SLOPE), (x, y)
    )
    small = x.detach().float().requires_grad_(), y.detach().float().requires_grad_()
    raw = torch.ops.pycnn.add_act
    assert torch.autograd.gradcheck(
        lambda x, y: raw(x, y, ops.ACTS[act], SLOPE, ""), small, eps=1e-2, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("act", NAMES)
def test_the_raw_ops_gradient_is_torchs_bit_for_bit(act: str) -> None:
    x, y = ((torch.randn(100) * 4).requires_grad_() for _ in range(2))
    g = torch.randn(100)
    ours = torch.autograd.grad(torch.ops.pycnn.add_act(x, y, ops.ACTS[act], SLOPE, ""), (x, y), g)
    torchs = torch.autograd.grad(ops.apply_act(x + y, act, SLOPE), (x, y), g)
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))
