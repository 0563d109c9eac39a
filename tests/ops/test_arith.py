"""arith and channel_gate against torch."""

import itertools
from collections.abc import Callable

import pinned
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pycnn
from pycnn import ops
from pycnn.ops.arith import KINDS, apply_kind

SLOPE = 0.3


def check(z: Tensor, x: Tensor, b: Tensor, kind: str, act: str = "none") -> None:
    """One rounding of the result; the activation as in test_elementwise.py, times up to 100."""
    expected = ops.apply_act(apply_kind(x.double(), b.double(), kind), act, SLOPE)
    assert z.shape == expected.shape
    torch.testing.assert_close(z.double(), expected, rtol=4e-7, atol=100 * 4e-7, equal_nan=True)


def within(kind: str, x: Tensor) -> Tensor:
    """x where the kind is defined, so that nothing is NaN."""
    return x.abs() if kind in ("sqrt", "rsqrt") else x


def operand(n: int, pixels: int, c: int, repeats: tuple[bool, bool, bool]) -> Tensor:
    """[n, pixels, c], an axis 1 where it repeats; away from 0, which divides."""
    sizes = [1 if r else s for r, s in zip(repeats, (n, pixels, c), strict=True)]
    return (torch.rand(sizes) + 0.5) * torch.randn(sizes).sign()


def run(
    kernel: str, x: Tensor, b: Tensor, kind: str, act: str, gap: int = 0, workers: int = 1
) -> Tensor:
    """One kernel on x [n, pixels, c] and b, rows `gap` floats apart."""
    n, pixels, c = x.shape
    rows = pinned.spread(b.reshape(-1, b.shape[2]), b.shape[2] + gap)
    params = {"n": n, "pixels": pixels, "c": c, "ldx": c + gap, "ldy": c + gap}
    params |= {"bn": rows.stride(0) * b.shape[1] * (b.shape[0] > 1), "bc": int(b.shape[2] > 1)}
    params |= {"bp": rows.stride(0) * (b.shape[1] > 1), "kind": KINDS[kind]}
    params |= {"act": ops.ACTS[act], "act_param": SLOPE}
    source = pinned.spread(x.reshape(-1, c), c + gap)
    y = pinned.call("arith", kernel, params, source, (n * pixels, c), rows, workers)
    return y.view(n, pixels, c)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", pinned.kernels("arith"))
def test_every_kernel_at_vector_edges(kernel: str, kind: str) -> None:
    for c in (*pinned.EDGES, 1030):
        x = torch.randn(2, 3, c) + 2
        for repeats in itertools.product((False, True), repeat=3):
            b = operand(2, 3, c, repeats)
            for gap in (0, 3):
                check(run(kernel, x, b, kind, "none", gap), x, b, kind)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", pinned.kernels("arith"))
def test_every_activation(kernel: str, act: str) -> None:
    for repeats, workers in itertools.product(((False,) * 3, (False, True, False)), (1, 3)):
        x, b = torch.randn(3, 5, 37) * 4, operand(3, 5, 37, repeats)
        check(run(kernel, x, b, "mul", act, workers=workers), x, b, "mul", act)


@pytest.mark.parametrize("kernel", pinned.kernels("arith"))
def test_a_scalar_needs_no_operand(kernel: str) -> None:
    x = torch.randn(5, 19)
    params = {"pixels": 5, "c": 19, "ldx": 19, "ldy": 19, "kind": KINDS["rdiv"], "scalar": 0.7}
    y = pinned.call("arith", kernel, params, x.contiguous(), (5, 19))
    check(y, x, torch.tensor(0.7), "rdiv")


def layouts(*shape: int) -> list[Tensor]:
    n, c, h, w = shape
    wide = torch.randn(n + 1, c + 3, h + 2, w + 1) + 4
    last = wide.contiguous(memory_format=torch.channels_last)
    x = torch.randn(shape) + 4
    return [x, x.contiguous(memory_format=torch.channels_last), wide[:n, 1 : c + 1, :h, :w],
            last[:n, 1 : c + 1, :h, :w], x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)]  # fmt: skip


OTHERS = [
    (2, 5, 4, 6),
    (2, 5, 1, 1),
    (5, 1, 1),
    (2, 1, 4, 6),
    (4, 6),
    (1, 1, 1, 6),
    (2, 1, 1, 6),
    (),
    (1,),
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_layouts_keep_torchs_values_and_strides(other: tuple[int, ...]) -> None:
    bs = layouts(*other) if len(other) == 4 else [torch.randn(other) + 4]
    for x, b in itertools.product(layouts(2, 5, 4, 6), bs):
        for kind in ("mul", "rsub"):
            z = ops.arith(x, b, kind, act="relu")
            check(z, x, b, kind, "relu")
            assert z.stride() == torch.relu(apply_kind(x, b, kind)).stride(), (
                x.stride(),
                b.stride(),
            )


def test_a_result_larger_than_x_and_no_elements() -> None:
    x, b = torch.randn(2, 5, 1, 1), torch.randn(2, 5, 3, 3)
    check(ops.arith(x, b, "sub"), x, b, "sub")
    assert ops.arith(torch.randn(0, 5), torch.randn(5), "mul").shape == (0, 5)


def test_channel_gate() -> None:
    for x in layouts(2, 5, 4, 6):
        gate, residual = torch.rand(2, 5), torch.randn(2, 5, 4, 6)
        expected = x * gate[:, :, None, None]
        torch.testing.assert_close(ops.channel_gate(x, gate), expected)
        y = ops.channel_gate(x, gate[:, :, None, None], residual, act="relu")
        torch.testing.assert_close(y, torch.relu(expected + residual))


def test_squeeze_excite() -> None:
    w1, w2, b = torch.randn(3, 5, 1, 1), torch.randn(5, 3), torch.randn(3)
    for x in layouts(2, 5, 4, 6):
        inner = torch.relu(torch.nn.functional.conv2d(x.mean((2, 3), keepdim=True), w1, b))
        gate = torch.nn.functional.conv2d(inner, w2[:, :, None, None])
        y = ops.squeeze_excite(x, (w1, b), (w2, None), gate="hardsigmoid")
        torch.testing.assert_close(y, x * torch.nn.functional.hardsigmoid(gate))
    with pytest.raises(ValueError, match="channel_gate: x has shape"):
        ops.squeeze_excite(torch.randn(2, 5, 4, 6), (w1, b), (torch.randn(4, 3), None))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.arith(1, torch.zeros(1), "add"), TypeError, "arith: x must be a Tensor, got int"),
        (lambda: ops.arith(torch.zeros(1), 2.0, "add"), TypeError, "other must be a Tensor, got float"),
        (lambda: ops.arith(torch.zeros(1), torch.zeros(1).double(), "add"), TypeError, "x is torch.float32"),
        (lambda: ops.arith(torch.zeros(2, 3), torch.zeros(2, 4), "mul"), ValueError, r"\(2, 3\), other \(2, 4\)"),
        (lambda: ops.arith(torch.zeros(1), torch.zeros(1), "pow"), ValueError, "kind='pow' is not one of add, sub"),
        (lambda: ops.channel_gate(torch.zeros(2, 3, 1, 1), torch.zeros(3)), ValueError, r"gate \(3,\), expected \(2,"),
        (lambda: ops.channel_gate(torch.zeros(2, 3), torch.zeros(2, 3)), ValueError, "x must have 4 dimensions"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("kind", KINDS)
def test_opcheck_and_gradcheck(kind: str) -> None:
    raw = torch.ops.pycnn.arith.default
    for fmt, shape in itertools.product(
        (torch.channels_last, torch.contiguous_format), ((2, 5, 3, 4), (2, 5, 1, 1), (4,))
    ):
        x = within(kind, torch.randn(2, 5, 3, 4).to(memory_format=fmt)).requires_grad_()
        b = (torch.rand(shape) + 0.5).requires_grad_()
        torch.library.opcheck(raw, (x, b, KINDS[kind], ops.ACTS["silu"], SLOPE, ""))
    x = (torch.rand(2, 3, 2, 2, dtype=torch.float64) + 0.5).requires_grad_()
    b = (torch.rand(2, 3, 1, 1, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, b: ops.arith(x, b, kind, act="silu"), (x, b))
    x = within(kind, torch.randn(2, 5, 3, 3)).requires_grad_()
    b = torch.rand(2, 5, 1, 1, requires_grad=True)
    g = torch.randn(2, 5, 3, 3)
    ours = torch.autograd.grad(raw(x, b, KINDS[kind], ops.ACTS["silu"], SLOPE, ""), (x, b), g)
    torchs = torch.autograd.grad(ops.apply_act(apply_kind(x, b, kind), "silu"), (x, b), g)
    assert all(torch.equal(p, q) for p, q in zip(ours, torchs, strict=True))


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 5, 7), (3, 5)])
def test_prelu_is_torchs(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    x.flatten()[:3] = torch.tensor([0.0, torch.inf, torch.nan])
    for weight in (torch.randn(5), torch.tensor([0.3])):
        assert torch.equal(ops.prelu(x, weight).nan_to_num(), F.prelu(x, weight).nan_to_num())
        if len(shape) == 4:
            last = x.to(memory_format=torch.channels_last)
            z = ops.prelu(last, weight)
            assert z.stride() == last.stride()
            assert torch.equal(z.nan_to_num(), F.prelu(x, weight).nan_to_num())
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        ours = torch.autograd.grad(ops.prelu(a, w).nansum(), (a, w))
        torchs = torch.autograd.grad(F.prelu(a, w).nansum(), (a, w))
        for mine, theirs in zip(ours, torchs, strict=True):
            torch.testing.assert_close(mine, theirs, equal_nan=True)
    with pytest.raises(ValueError, match=r"prelu: x has shape .*weight \(4,\)"):
        ops.prelu(x, torch.zeros(4))


@pytest.mark.parametrize("slopes", [1, 6])
def test_prelu_in_a_plan(slopes: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.PReLU(slopes), nn.Flatten(2), nn.Flatten(), nn.PReLU()
    )
    nn.init.normal_(net[1].weight)
    x = torch.randn(2, 3, 6, 7)
    with torch.inference_mode():
        y = pycnn.optimize(net.eval(), strict=True)(x)
        torch.testing.assert_close(y, net(x), rtol=1e-5, atol=1e-5)
