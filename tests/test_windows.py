"""Windows of values, and convolutions whose weight is computed: on kernels, as torch.

Of four axes torch's results lie in orders of their own, `formats` that plans do not have.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captured import Fn
from nets import error, truth
from test_reduce import check
from torch import Tensor, nn

import pycnn


@pytest.mark.parametrize(
    ("dim", "size", "step"), [(2, 3, 2), (-1, 4, 4), (3, 2, 1), (1, 5, 1), (0, 2, 3)]
)
def test_windows_of_an_axis(dim: int, size: int, step: int) -> None:
    check(
        lambda m, x: x.relu().unfold(dim, size, step) * 2,
        (3, 5, 7, 9),
        (2, 8, 9, 11),
        formats=False,
    )
    check(lambda m, x: (x * 2).unfold(dim % 4 - 1, size, step).relu(), (5, 7, 9), formats=False)


def halo(m: Any, x: Tensor) -> Tensor:
    """A halo network's keys: blocks of 4 with 2 around them."""
    y = F.pad(m.conv(x), (2, 2, 2, 2)).unfold(2, 8, 4).unfold(3, 8, 4)
    n, c, *blocks = y.shape[:4]
    y = y.reshape(n * 3, c // 3, -1, 64).permute(0, 2, 3, 1)
    return (y @ y.transpose(-1, -2)).softmax(-1)


def test_overlapping_blocks_are_read_where_they_lie() -> None:
    conv = nn.Conv2d(3, 12, 1)
    steps = check(halo, (2, 3, 8, 12), (1, 3, 16, 4), formats=False, conv=conv)
    assert steps.count("matmul") == 1


def test_windows_of_windows_of_slices_and_changed_shapes() -> None:
    check(
        lambda m, x: x.relu()[:, 1:, ::2].unfold(3, 4, 3).unfold(4, 2, 1).flatten(3), (2, 4, 6, 11)
    )
    check(
        lambda m, x: (x * 2).flatten(2).unfold(2, 10, 7).transpose(1, 2),
        (2, 3, 6, 11),
        (1, 3, 5, 5),
        formats=False,
    )
    check(
        lambda m, x: (x * 2).transpose(1, 2).reshape(x.shape[0], -1).unfold(1, 6, 5),
        (2, 3, 5, 4),
        formats=False,
    )


def test_a_product_is_not_written_through_windows() -> None:
    check(lambda m, x: (x @ x.transpose(1, 2)).unfold(1, 3, 1).relu(), (2, 5, 7), formats=False)


def test_windows_that_do_not_fit_are_torchs_error() -> None:
    fast = pycnn.optimize(Fn(lambda m, x: x.relu().unfold(2, 4, 1)).eval())
    with torch.inference_mode():
        fast(torch.randn(1, 2, 5, 5))
        with pytest.raises(RuntimeError, match="maximum size"):
            fast(torch.randn(1, 2, 3, 5))


@pytest.mark.parametrize(
    ("kernel", "dilation", "padding", "stride"),
    [(3, 1, 1, 1), ((2, 3), (2, 1), (0, 2), (1, 3)), (1, 1, 0, 1), (1, 1, 0, 2), ((1, 4), 1, 0, 1)],
)  # fmt: skip
def test_im2col(kernel: Any, dilation: Any, padding: Any, stride: Any) -> None:
    window = kernel, dilation, padding, stride
    check(lambda m, x: F.unfold(x.relu(), *window), (2, 3, 7, 8), (1, 3, 9, 6))
    check(lambda m, x: nn.Unfold(*window)(x * 2).transpose(1, 2), (3, 5, 6, 5))


class Mixture(nn.Module):
    """Weights of a convolution as a mixture of experts, as CondConv's, of every image or of each."""

    def __init__(self, shape: tuple[int, ...], groups: int, bias: str = "", **options: Any) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, shape[1] * groups, 3, padding=1)
        self.route = nn.Linear(shape[1] * groups, 4)
        self.experts = nn.Parameter(torch.randn(4, *shape))
        self.bias = nn.Parameter(torch.randn(shape[0])) if bias == "learned" else None
        self.groups, self.options, self.computed = groups, options, bias == "computed"

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        n, c, h, w = x.shape
        route = torch.sigmoid(self.route(x.mean((2, 3))))
        _, k, *rest = self.experts.shape
        bias = self.bias
        if bias is not None or self.computed:  # one weight for all images
            weight = (route.mean(0, keepdim=True) @ self.experts.flatten(1)).view(k, *rest)
            bias = weight.mean((1, 2, 3)) if self.computed else bias
            return F.conv2d(x, weight, bias, groups=self.groups, **self.options)
        weight = (route @ self.experts.flatten(1)).view(n * k, *rest)
        y = F.conv2d(
            x.reshape(1, n * c, h, w), weight, None, groups=self.groups * n, **self.options
        )
        return y.view(n, k, *y.shape[2:])


CONVS: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((10, 6, 1, 1), 1, {}),
    ((10, 6, 1, 1), 1, {"stride": 2}),
    ((5, 6, 3, 3), 1, {"padding": 1}),
    ((6, 4, 3, 2), 2, {"padding": (2, 0), "stride": (1, 2), "dilation": (2, 1)}),
    ((6, 1, 1, 1), 6, {}),
    ((8, 6, 3, 3), 1, {"padding": "same"}),
]


@pytest.mark.parametrize("bias", ["", "learned", "computed"])
@pytest.mark.parametrize(("shape", "groups", "options"), CONVS)
def test_convolutions_with_a_computed_weight(
    shape: tuple[int, ...], groups: int, options: dict[str, Any], bias: str
) -> None:
    net = Mixture(shape, groups, bias, **options).eval()
    fast = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for size in ((1, 3, 6, 7), (1, 3, 9, 5), (3, 3, 6, 7)):
            x = torch.randn(size)
            assert error(fast(x), truth(net, x)) <= 1e-5


def test_a_computed_window_for_each_channel_is_run_by_torch() -> None:
    net = Mixture((6, 1, 3, 3), 6, padding=1).eval()
    fast, x = pycnn.optimize(net), torch.randn(2, 3, 6, 7)
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) <= 1e-5
    assert any("each channel by itself" in line for line in pycnn.explain(fast, x).fallbacks)
