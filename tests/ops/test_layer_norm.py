"""layer_norm against torch's, channels last and first, eager and in plans."""

import pinned
import pytest
import torch
import torch.nn.functional as F
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import ops

EPS = 1e-5


def check(y: Tensor, x: Tensor, w: Tensor | None, b: Tensor | None) -> None:
    """Results reach sqrt(c) <= 28 times the weight; a few roundings of that, and of the mean (|mean| <= 4)."""
    to64 = [None if t is None else t.double() for t in (w, b)]
    expected = F.layer_norm(x.double(), x.shape[-1:], *to64, EPS)
    torch.testing.assert_close(y.double(), expected, rtol=2e-6, atol=4e-6, equal_nan=True)


def pinned_norm(
    kernel: str, x: Tensor, w: Tensor | None, b: Tensor | None, workers: int = 1
) -> Tensor:
    rows, c = x.shape
    params = {"pixels": rows, "c": c, "ldx": c + 3, "ldy": c + 5, "eps": EPS}
    spread = pinned.spread(x, c + 3)
    return pinned.call("layer_norm", kernel, params, spread, (rows, c), None, workers, w, b)


@pytest.mark.parametrize("affine", ["none", "weight", "both"])
@pytest.mark.parametrize("kernel", pinned.kernels("layer_norm"))
def test_every_kernel_at_vector_edges(kernel: str, affine: str) -> None:
    for c in (*pinned.EDGES, 63, 64, 130):
        x = torch.randn(5, c) * 2 + 3
        w = None if affine == "none" else torch.randn(c)
        b = torch.randn(c) if affine == "both" else None
        y = pinned_norm(kernel, x, w, b)
        if c == 1:
            assert torch.equal(y, torch.zeros_like(y) if b is None else b.expand(5, 1))
        else:
            check(y, x, w, b)
        assert torch.equal(pinned_norm(kernel, x, w, b, workers=3), y)


@pytest.mark.parametrize("kernel", pinned.kernels("layer_norm"))
def test_nan_and_infinities_spoil_their_row_alone(kernel: str) -> None:
    for c in (9, 35):
        x, w, b = torch.randn(4, c), torch.randn(c), torch.randn(c)
        x[0, 1], x[1, c - 1], x[2, 0] = torch.nan, torch.inf, -torch.inf
        check(pinned_norm(kernel, x, w, b), x, w, b)


@pytest.mark.parametrize("kernel", pinned.kernels("layer_norm"))
def test_a_large_mean_does_not_cancel(kernel: str) -> None:
    """fp32 at 1000 resolves 6e-5 of a deviation of 1: differences are exact, E[x^2] - E[x]^2 would be off by 0.1."""
    x = torch.randn(3, 67) + 1000
    expected = F.layer_norm(x.double(), (67,), None, None, EPS)
    y = pinned_norm(kernel, x, None, None)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=3e-4)


def test_views_keep_torchs_values_and_strides() -> None:
    x = torch.randn(2, 7, 6, 19)
    w, b = torch.randn(19), torch.randn(38)[::2]
    for view in (x, x[:1], x[:, ::2], x.transpose(1, 2), x[0], x[0, 0], x[0, 0, 0], x[:0],
                 torch.randn(3, 24)[:, 2:21], torch.randn(1, 19).expand(4, 19), torch.randn(19, 5).T):  # fmt: skip
        y = ops.layer_norm(view, w, b)
        check(y, view, w, b)
        assert y.stride() == F.layer_norm(view, (19,), w, b).stride()
    maps = torch.randn(2, 19, 5, 4)
    last = maps.contiguous(memory_format=torch.channels_last)
    for view in (maps, last, last[:, :, 1:3], maps[:1, :, :1, :1]):
        y = ops.layer_norm(view, w, b, channels_first=True)
        expected = F.layer_norm(view.permute(0, 2, 3, 1), (19,), w, b).permute(0, 3, 1, 2)
        check(y.permute(0, 2, 3, 1), view.permute(0, 2, 3, 1), w, b)
        assert y.stride() == expected.stride()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.layer_norm(3), TypeError, "x must be a Tensor, got int"),
        (lambda: ops.layer_norm(torch.zeros(())), ValueError, "x has no dimension"),
        (lambda: ops.layer_norm(torch.zeros(2, 3), torch.zeros(4)), ValueError, r"\(4,\), x has 3 channels"),
        (lambda: ops.layer_norm(torch.zeros(3), torch.zeros(3).double()), TypeError, "weight is torch.float64"),
        (lambda: ops.layer_norm(torch.zeros(3), channels_first=True), ValueError, r"4 dimensions, got shape \(3,\)"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_opcheck() -> None:
    x, w, b = (torch.randn(s, requires_grad=True) for s in ((2, 3, 5), 5, 5))
    torch.library.opcheck(torch.ops.pycnn.layer_norm.default, (x, w, b, EPS, ""))
    torch.library.opcheck(torch.ops.pycnn.layer_norm.default, (x, None, None, EPS, ""))


@pinned.fp32_gradcheck
def test_gradients_are_torchs() -> None:
    leaves = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 2, 2), 3, 3)]
    first = lambda x, w, b: ops.layer_norm(x, w, b, channels_first=True)  # noqa: E731
    assert torch.autograd.gradcheck(first, leaves)
    small = [torch.randn(s, requires_grad=True) for s in ((4, 7), 7, 7)]
    g = torch.randn(4, 7)
    ours = torch.autograd.grad(torch.ops.pycnn.layer_norm(*small, EPS, ""), small, g)
    torchs = torch.autograd.grad(F.layer_norm(small[0], (7,), *small[1:], EPS), small, g)
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))


@pytest.mark.parametrize("affine", [True, False])
def test_rows_in_a_plan_run_our_kernel_and_follow_the_weights(affine: bool) -> None:
    net = nn.Sequential(
        nn.Linear(9, 19), nn.LayerNorm(19, elementwise_affine=affine), nn.Linear(19, 4)
    ).eval()
    fast = pycnn.optimize(net)
    for shape in ((3, 9), (2, 5, 9)):
        x = torch.randn(shape)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
            assert [s.op for s in pycnn.explain(fast, x).steps] == [
                "linear",
                "layer_norm",
                "linear",
            ]
    if affine:
        with torch.no_grad():
            net[1].weight.mul_(3), net[1].bias.add_(1)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5


def test_other_norms_are_torchs() -> None:
    net, x = nn.Sequential(nn.ReLU(), nn.LayerNorm((5, 9))).eval(), torch.randn(2, 5, 9)
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) < 1e-5
        assert "layer_norm" not in [s.op for s in pycnn.explain(fast, x).steps if s.kernel]


@pytest.mark.parametrize("kernel", pinned.kernels("layer_norm"))
def test_a_row_of_equal_numbers_becomes_zeros(kernel: str) -> None:
    """Off by one rounding the mean would leave 1e-7 / sqrt(eps) = 4e-5 of each number."""
    for c in (3, 7, 13, 50, 99):
        x = torch.randn(40, 1).expand(40, c).contiguous()
        assert pinned_norm(kernel, x, None, None).abs().max() == 0
