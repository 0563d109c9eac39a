"""softmax against torch's, rows and channels, eager and in plans."""

import pinned
import pytest
import torch
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import ops


def check(y: Tensor, x: Tensor, dim: int = -1) -> None:
    expected = torch.softmax(x.double(), dim)
    torch.testing.assert_close(y.double(), expected, rtol=2e-6, atol=1e-9, equal_nan=True)


def run(kernel: str, x: Tensor, workers: int = 1) -> Tensor:
    rows, c = x.shape
    params = {"pixels": rows, "c": c, "ldx": c + 3, "ldy": c + 5}
    return pinned.call(
        "softmax", kernel, params, pinned.spread(x, c + 3), (rows, c), workers=workers
    )


@pytest.mark.parametrize("kernel", pinned.kernels("softmax"))
def test_every_kernel_at_vector_edges(kernel: str) -> None:
    for c in (*pinned.EDGES, 63, 64, 130):
        for x in (torch.randn(5, c) * 4, torch.randn(5, c) * 100 + 1000):
            y = run(kernel, x)
            check(y, x)
            assert torch.equal(run(kernel, x, workers=3), y)


@pytest.mark.parametrize("kernel", pinned.kernels("softmax"))
def test_infinities_and_nan(kernel: str) -> None:
    inf, nan = torch.inf, torch.nan
    for c in (4, 20, 70):
        x = torch.randn(6, c)
        x[0, 1:] = -inf  # all weight on one
        x[1, c - 1], x[2, 0], x[3] = nan, inf, -inf
        x[4, 1] = nan
        y = run(kernel, x)
        check(y, x)
        assert torch.equal(y[0], torch.eye(c)[0])


def test_views_keep_torchs_values_and_strides() -> None:
    maps = torch.randn(2, 19, 5, 4)
    last = maps.contiguous(memory_format=torch.channels_last)
    for x, dim in ((maps, -1), (maps, 1), (last, 1), (last, -3), (last, 3), (last[:, :, 1:3], 1), (maps[0, 0, 0], 0),
                   (torch.randn(3, 24)[:, 2:21], 1), (torch.randn(19, 5).T, 1), (maps[:0], 3)):  # fmt: skip
        y = ops.softmax(x, dim)
        check(y, x, dim)
        assert y.stride() == torch.softmax(x, dim).stride()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.softmax(3), TypeError, "x must be a Tensor, got int"),
        (lambda: ops.softmax(torch.zeros(2, 3), 2), ValueError, "dim=2 is none of x's 2 dimensions"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_opcheck_and_gradients() -> None:
    x = torch.randn(3, 7, requires_grad=True)
    torch.library.opcheck(torch.ops.pycnn.softmax.default, (x, ""))
    g = torch.randn(3, 7)
    (ours,) = torch.autograd.grad(torch.ops.pycnn.softmax(x, ""), x, g)
    (torchs,) = torch.autograd.grad(torch.softmax(x, -1), x, g)
    assert torch.equal(ours, torchs)


def test_heads_of_classifiers_and_segmenters_run_in_the_plan() -> None:
    for net, shape in (
        (nn.Sequential(nn.Linear(9, 21), nn.Softmax(dim=1)), (3, 9)),
        (nn.Sequential(nn.Conv2d(3, 21, 1), nn.Softmax(dim=1)), (2, 3, 6, 5)),
        (nn.Sequential(nn.Conv2d(3, 21, 1), nn.Softmax2d()), (2, 3, 6, 5)),
        (nn.Sequential(nn.Linear(9, 21), nn.Softmax(dim=-1)), (2, 5, 9)),
    ):
        x = torch.randn(shape)
        fast = pycnn.optimize(net.eval(), strict=True)
        with torch.inference_mode():
            y = fast(x)
            assert error(y, truth(net, x)) < 1e-5 and y.stride() == net(x).stride()
            assert pycnn.explain(fast, x).steps[1].op == "softmax"
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(dim=2)).eval()
    with torch.inference_mode():
        x = torch.randn(2, 3, 6, 5)
        assert error(pycnn.optimize(other)(x), truth(other, x)) < 1e-5
