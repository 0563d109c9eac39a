"""What a model makes of its own tensors alone, standardised weights or views of scales, is computed at packing."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn
from torch import Tensor, nn

import pycnn


class Standardized(nn.Conv2d):
    """Weight standardisation, as in "Micro-Batch Training with Batch-Channel Normalization", 2019."""

    def __init__(self, c: int, k: int) -> None:
        super().__init__(c, k, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(k) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        rows = F.batch_norm(rows, None, None, weight=self.gain, training=True, momentum=0.0)
        return F.conv2d(x, rows.reshape_as(self.weight), self.bias, padding=1)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Standardized(3, 8)
        self.scale = nn.Parameter(torch.randn(8))
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x) * self.scale.view(1, -1, 1, 1)
        return self.last((y + self.scale.exp().reshape(8, 1, 1)).relu())


def close(fast: nn.Module, net: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        return torch.allclose(fast(x), net(x), rtol=1e-5, atol=1e-5)


def test_weights_and_scales_are_folded_and_packed_once() -> None:
    net, x = Scaled().eval(), torch.randn(2, 3, 6, 5)
    fast = pycnn.optimize(net, strict=True)
    assert close(fast, net, x)
    ops = [step.op for step in pycnn.explain(fast, x).steps]
    assert ops.count("conv2d") == 2 and "arith" in ops
    assert close(fast, net, torch.randn(1, 3, 9, 9))


def test_they_follow_the_tensors_they_are_made_of() -> None:
    net, x = Scaled().eval(), torch.randn(1, 3, 6, 6)
    fast = pycnn.optimize(net, strict=True)
    for change in (
        lambda: net.first.weight.mul_(2).add_(0.1),
        lambda: net.first.gain.mul_(0.5),
        lambda: net.scale.neg_(),
        lambda: net.load_state_dict(Scaled().state_dict()),
        lambda: setattr(net.first, "gain", nn.Parameter(torch.rand(8))),
    ):
        assert close(fast, net, x)
        before = fast(x).detach()
        with torch.no_grad():
            change()
        assert close(fast, net, x) and not torch.equal(fast(x), before)
    assert close(copy.deepcopy(fast), net, x)


def test_gradients_reach_them() -> None:
    net, x = Scaled().eval(), torch.randn(1, 3, 6, 6)
    twin = copy.deepcopy(net)
    fast = pycnn.optimize(net)
    y = fast(x)
    y.sum().backward()
    twin(x).sum().backward()
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert mine.grad is not None and torch.equal(mine.grad, theirs.grad)


def test_saved_networks_make_them_again(tmp_path) -> None:
    net, x = Scaled().eval(), torch.randn(1, 3, 6, 6)
    fast = pycnn.optimize(net)
    assert close(fast, net, x)
    pycnn.save(fast, tmp_path / "net.pycnn")
    again = pycnn.load(tmp_path / "net.pycnn", strict=True)
    assert close(again, net, x) and set(again.state_dict()) == set(net.state_dict())
    with torch.no_grad():
        net.first.weight.add_(0.3)
        net.scale.mul_(2)
    again.load_state_dict(net.state_dict())
    assert close(again, net, x)


def _masked(m: nn.Module, x: Tensor) -> Tensor:
    mask = m.scale.clone()
    mask[2] = 0
    return x * mask.view(1, -1, 1, 1) + m.scale.view(1, -1, 1, 1)


def _added(m: nn.Module, x: Tensor) -> Tensor:
    bias = m.scale * 2
    bias += 1
    return x + bias.view(1, -1, 1, 1)


def _returned(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    return x.relu(), m.scale * 2


@pytest.mark.parametrize("function", [_masked, _added, _returned])
def test_what_is_written_or_returned_is_as_in_torch(function) -> None:
    net = Fn(function).eval()
    net.scale = nn.Parameter(torch.randn(8))
    fast, x = pycnn.optimize(net), torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        for _ in range(2):
            for y, wanted in zip(fast(x), net(x), strict=True):
                torch.testing.assert_close(y, wanted)
            net.scale.mul_(1.5)


def test_random_numbers_are_drawn_at_each_call() -> None:
    net = Fn(lambda m, x: x * F.dropout(m.scale, 0.5, training=True).view(1, -1, 1, 1)).eval()
    net.scale = nn.Parameter(torch.ones(64))
    fast, x = pycnn.optimize(net), torch.ones(1, 64, 2, 2)
    with torch.no_grad():
        first = fast(x)
        assert not all(torch.equal(first, fast(x)) for _ in range(5))


class Caching(nn.Module):
    """A bias gathered from a table at the first call and kept for the next, as LeViT's attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.table = nn.Linear(6, 6), nn.Parameter(torch.randn(4, 9))
        self.register_buffer("index", torch.arange(36).reshape(6, 6) % 9, persistent=False)
        self.kept: dict[str, Tensor] = {}

    def _apply(self, *args, **kwargs):
        self.kept.clear()
        return super()._apply(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        if "bias" not in self.kept:
            self.kept["bias"] = self.table[:, self.index]
        return self.linear(x) + self.kept["bias"]


class Remembering(nn.Module):
    """What it keeps is made of its input: no graph has that."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.kept: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.kept.setdefault("mean", x.mean((0, 1, 2)))
        return self.linear(x - self.kept["mean"])


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("filled", [False, True])
def test_a_cache_of_what_is_made_of_the_models_tensors(
    filled: bool, dtype: torch.dtype | None
) -> None:
    net, x = Caching().eval(), torch.randn(2, 4, 6, 6)
    with torch.inference_mode():
        if filled:
            net(x)
        fast = pycnn.optimize(net, dtype=dtype)
        y = fast(x)
        assert bool(net.kept) is filled, "a capture leaves the model as it was"
        assert not pycnn.explain(fast, x).fallbacks
        own = copy.deepcopy(net).to(dtype or torch.float32)(x.to(dtype or torch.float32))
    assert y.dtype == own.dtype
    torch.testing.assert_close(
        y.float(), own.float(), rtol=2e-2 if dtype else 1e-5, atol=2e-2 if dtype else 1e-5
    )


def test_a_cache_of_what_is_made_of_the_input_is_the_models() -> None:
    net, x = Remembering().eval(), torch.randn(2, 4, 6, 6)
    fast = pycnn.optimize(net)
    with torch.inference_mode():
        first = fast(x)
        assert torch.equal(fast(2 * x), net(2 * x)) and torch.equal(fast(x), first)
        assert "keeps a tensor in kept" in pycnn.explain(fast, x).fallbacks[0]
