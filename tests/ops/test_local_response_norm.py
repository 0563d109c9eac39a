"""local_response_norm against torch's, eager and in plans."""

import pinned
import pytest
import torch
import torch.nn.functional as F
from nets import error, truth
from torch import Tensor, nn

import pycnn
from pycnn import ops


def check(y: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float) -> None:
    expected = F.local_response_norm(x.double(), size, alpha, beta, k)
    torch.testing.assert_close(y.double(), expected, rtol=2e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("kernel", pinned.kernels("local_response_norm"))
def test_every_kernel_at_vector_edges_and_windows(kernel: str) -> None:
    for c in (*pinned.EDGES, 96):
        for size in (1, 2, 5, 8, 40):
            for alpha, beta, k in ((1e-4, 0.75, 1.0), (2.0, 0.5, 2.0), (1.0, 1.3, 0.5)):
                x = torch.randn(5, c) * 3
                params = {"pixels": 5, "c": c, "size": size, "ldx": c + 3, "ldy": c + 5}
                params |= {"alpha": alpha, "beta": beta, "k": k}
                spread = pinned.spread(x, c + 3)
                y = pinned.call("local_response_norm", kernel, params, spread, (5, c))
                check(y.view(5, c, 1), x.view(5, c, 1), size, alpha, beta, k)
                again = pinned.call(
                    "local_response_norm", kernel, params, spread, (5, c), workers=3
                )
                assert torch.equal(again, y)


def test_views_keep_torchs_values_and_format() -> None:
    maps = torch.randn(2, 19, 5, 4)
    last = maps.contiguous(memory_format=torch.channels_last)
    for x in (
        maps,
        last,
        last[:, :, 1:3],
        maps[:, 3:9],
        maps[:1],
        maps[0],
        maps[:0],
        torch.randn(2, 6, 3, 2, 2),
    ):
        y = ops.local_response_norm(x, 5, 1e-2)
        if x.numel():
            check(y, x, 5, 1e-2, 0.75, 1.0)
        assert y.shape == x.shape
        if x.dim() == 4 and x.numel():
            assert y.is_contiguous() or y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.local_response_norm(3, 5), TypeError, "x must be a Tensor, got int"),
        (lambda: ops.local_response_norm(torch.zeros(2, 3), 5), ValueError, r"at least 3 dimensions, got \(2, 3\)"),
        (lambda: ops.local_response_norm(torch.zeros(2, 3, 4), 0), ValueError, "size=0 must be a positive integer"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call, kind, message) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_opcheck_and_gradients() -> None:
    x = torch.randn(3, 7, requires_grad=True)
    torch.library.opcheck(torch.ops.pycnn.local_response_norm.default, (x, 3, 0.1, 0.75, 1.0, ""))
    (ours,) = torch.autograd.grad(
        torch.ops.pycnn.local_response_norm(x, 3, 0.1, 0.75, 1.0, ""), x, torch.ones(3, 7)
    )
    (torchs,) = torch.autograd.grad(
        F.local_response_norm(x[..., None], 3, 0.1), x, torch.ones(3, 7, 1)
    )
    assert torch.equal(ours, torchs)


def test_alexnet_of_2012_begins_in_the_plan() -> None:
    norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    net = nn.Sequential(nn.Conv2d(3, 24, 11, 4), nn.ReLU(), norm, nn.MaxPool2d(3, 2))
    fast = pycnn.optimize(net.eval(), strict=True)
    for shape in ((1, 3, 63, 63), (2, 3, 40, 51)):
        x = torch.randn(shape)
        with torch.inference_mode():
            assert error(fast(x), truth(net, x)) < 1e-5
