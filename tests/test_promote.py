"""`verify(auto_promote=True)` and `promote`: layers kept in fp32 within a network in bf16."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from nets import error, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn.planning.cpu import runs_bf16

BF16 = torch.bfloat16


class Chain(nn.Module):
    """A layer that is badly conditioned between two that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.differences = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 5, 1)
        with torch.no_grad():  # what is left of sums of large numbers
            self.differences.weight.copy_(torch.randn(8, 8, 1, 1) * 0.05 + 8)
            self.differences.weight[:, 4:] *= -1
            self.first.weight[4:] = self.first.weight[:4] + 0.01 * torch.randn(4, 3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        return self.last(torch.relu(self.differences(x)) + 0.5)


def chain() -> tuple[Chain, Tensor]:
    torch.manual_seed(3)
    net = Chain().eval()
    return net, torch.randn(2, 3, 12, 10)


def test_layers_that_are_too_far_off_are_kept_in_fp32() -> None:
    torch.manual_seed(0)
    net, x = settle(pycnn.create_model("resnet18")), torch.randn(1, 3, 64, 64)
    fast = pycnn.optimize(net, dtype=BF16, strict=runs_bf16())
    before = pycnn.verify(fast, net, x)
    assert before.ok and before.promoted == ()
    tol = 0.9 * max(check.error for check in before.checks)
    assert not pycnn.verify(fast, net, x, tol=tol).ok
    found = pycnn.verify(fast, net, x, tol=tol, auto_promote=True)
    assert found.ok
    assert 0 < len(found.promoted) < 20  # of 21 layers
    assert json.loads(found.to_json())["promoted"] == list(found.promoted)
    assert "kept in fp32: " in str(found)
    fallbacks = pycnn.explain(fast, x).fallbacks
    assert any(f"{found.promoted[-1]}: kept in torch.float32" in line for line in fallbacks)
    with torch.inference_mode():
        y = fast(x)
        assert y.dtype == BF16 and error(y, truth(net, x)) <= tol
        assert torch.equal(copy.deepcopy(fast)(x), y)


class Standardised(nn.Conv2d):
    """A weight that is computed of the model's."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(self.weight.reshape(1, 8, -1), None, None, training=True)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tanh(self.factor).reshape(1, 8, 1, 1)


class Picks(nn.Module):
    """Numbers of channels that are computed: no elements to be cast."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.index_select(x, 1, self.first + 2) + 0.5


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (Standardised(8, 8, 3), nn.BatchNorm2d(8)),
        lambda: (nn.Linear(6, 6), nn.ReLU(), Scaled()),
        lambda: (nn.ReLU(), Picks()),
    ],
    ids=["folded weight", "factor", "indices"],
)
def test_layers_of_computed_tensors_are_kept_in_fp32(
    layers: Callable[[], tuple[nn.Module, ...]],
) -> None:
    net, x = settle(nn.Sequential(nn.Conv2d(3, 8, 1), *layers())), torch.randn(2, 3, 6, 6)
    fast = pycnn.optimize(net, dtype=BF16)
    fast.promote(["1", str(len(net) - 1)])
    with torch.inference_mode():
        y = fast(x)
        assert y.dtype == BF16 and error(y, truth(net, x)) < 0.02
    assert any("kept in torch.float32" in line for line in pycnn.explain(fast, x).fallbacks)


def test_what_is_kept_follows_the_weights() -> None:
    net, x = chain()
    fast = pycnn.optimize(net, dtype=BF16)
    fast.promote(["differences", "first"])
    with torch.inference_mode():
        fast(x)
        net.differences.weight[:, 4:] *= 0.5
        net.first.weight += 0.1
        y = fast(x)
        again = pycnn.optimize(net, dtype=BF16)
        again.promote(["differences", "first"])
        assert torch.equal(y, again(x))


def test_results_of_kept_layers_are_not_rounded_between_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)).eval()
    x = torch.randn(1, 3, 9, 9).to(BF16).float()
    fast = pycnn.optimize(net, dtype=BF16)
    fast.promote(["0", "1", "2"])
    with torch.inference_mode():
        assert torch.equal(fast(x), net(x).to(BF16))


def test_a_model_that_is_in_bf16_and_one_in_fp16() -> None:
    for dtype in (BF16, torch.float16):
        net, x = chain()
        net, x = net.to(dtype), x.to(dtype)
        fast = pycnn.optimize(net)
        found = pycnn.verify(fast, net, x, tol=1e-2, auto_promote=True)
        assert found.ok
        assert fast(x).dtype == dtype


def test_a_bound_that_no_rounding_keeps_ends() -> None:
    net, x = chain()
    found = pycnn.verify(pycnn.optimize(net, dtype=BF16), net, x, tol=1e-6, auto_promote=True)
    assert not found.ok and {"first", "differences", "last"} <= set(found.promoted)


def test_gates_and_residuals() -> None:
    net = settle(pycnn.create_model("mobilenet_v3_small"))
    x = torch.randn(1, 3, 64, 64)
    fast = pycnn.optimize(net, dtype=BF16)
    fast.promote(path for path, m in net.named_modules() if not any(m.children()))
    with torch.inference_mode():
        assert error(fast(x), truth(net, x)) <= 8e-3


def test_what_is_refused() -> None:
    net, x = chain()
    fast = pycnn.optimize(net)
    with pytest.raises(ValueError, match="keeps layers in fp32, where this module computes"):
        pycnn.verify(fast, net, x, auto_promote=True)
    with pytest.raises(ValueError, match="the model has no module 'layer9'"):
        fast.promote(["first", "layer9"])
