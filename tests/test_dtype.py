"""`optimize(dtype=...)`: the network in another dtype, beside the model that keeps its own."""

from __future__ import annotations

import copy
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import error, settle, truth
from random_nets import random_net
from torch import Tensor, nn

import pycnn
from pycnn.planning.cpu import runs_bf16

BF16 = torch.bfloat16
OWN = 1.5  # times torch's own error in the dtype: what ours may be


class Gated(nn.Module):
    """A stem, a depthwise block with squeeze and excite, a residual, a join, a head; a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.depthwise, self.point = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 16, 1)
        self.squeeze, self.excite = nn.Conv2d(16, 5, 1), nn.Conv2d(5, 16, 1)
        self.up, self.head = nn.ConvTranspose2d(32, 9, 2, 2), nn.Linear(9, 7)
        self.scale = torch.tensor(0.5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = F.silu(self.norm(self.stem(x)))
        y = F.hardswish(self.depthwise(x))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        y = self.point(y * gate) + x
        y = F.max_pool2d(self.up(torch.cat([x, y], 1)), 3, 2, 1)
        return {"map": y, "out": self.head(y.mean((2, 3)) * self.scale).softmax(-1)}


def own_error(net: nn.Module, x: Tensor, dtype: torch.dtype) -> tuple[Any, Any]:
    """torch's result in the dtype, and fp64's of the model as it is."""
    with torch.inference_mode():
        return copy.deepcopy(net).to(dtype)(x.to(dtype)), truth(net, x)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_error_dtype_and_format_are_torchs_own(n: int, layout: torch.memory_format) -> None:
    net = settle(Gated())
    x = torch.randn(n, 3, 30, 26).to(memory_format=layout)
    own, ref = own_error(net, x, BF16)
    fast = pycnn.optimize(net, dtype=BF16)
    with torch.inference_mode():
        for given in (x, x.to(BF16), x, x.double()):
            y = fast(given)
            for name in ("map", "out"):
                assert y[name].dtype == BF16
                assert y[name].stride() == own[name].stride()
                assert error(y[name], ref[name]) <= OWN * error(own[name], ref[name])
    assert net.stem.weight.dtype == torch.float32
    if runs_bf16():
        report = pycnn.explain(fast, x)
        (apart,) = report.fallbacks  # the plain attribute, which stays in fp32 as in torch
        assert "scale is torch.float32" in apart
        assert any("bf16" in step.kernel for step in report.steps)


class Attentive(nn.Module):
    """Attention of heads, one written out with a bias, and embedded steps that are cast, as diffusion networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv, self.out = nn.Conv2d(3, 24, 3), nn.Linear(24, 72), nn.Linear(24, 24)
        self.bias, self.time = nn.Parameter(torch.randn(2, 80, 80)), nn.Linear(16, 24)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        steps = self.time(pycnn.ops.timestep_embedding(t, 16, cosine_first=True).to(x.dtype))
        x = (torch.relu(self.stem(x)) + steps[:, :, None, None]).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).unflatten(2, (3, 2, 12)).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        scores = (q @ k.transpose(-1, -2)) * 12**-0.5 + self.bias
        return self.out(x + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)) + steps[:, None]


@pytest.mark.parametrize("steps", [torch.int64, torch.float32])
def test_attention_products_and_embedded_steps(steps: torch.dtype) -> None:
    net, x, t = Attentive().eval(), torch.randn(2, 3, 10, 12), torch.tensor([3, 900]).to(steps)
    with torch.inference_mode():
        own, ref = copy.deepcopy(net).to(BF16)(x.to(BF16), t), truth(net, x, t)
        y = pycnn.optimize(net, dtype=BF16, strict=runs_bf16() and steps == torch.int64)(x, t)
    assert y.dtype == BF16
    assert error(y, ref) <= OWN * error(own, ref)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "densenet121", "efficientnet_b0"])
def test_networks_of_the_zoo(name: str) -> None:
    net = settle(pycnn.create_model(name))
    x = torch.randn(2, 3, 96, 96)
    own, ref = own_error(net, x, BF16)
    with torch.inference_mode():
        y = pycnn.optimize(net, dtype=BF16, strict=runs_bf16())(x)
    assert error(y, ref) <= OWN * error(own, ref)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed: int) -> None:
    torch.manual_seed(seed)
    net, c = random_net(Random(seed))
    settle(net)
    x = torch.randn(2, c, 20, 17)
    own, refs = own_error(net, x, BF16)
    with torch.inference_mode():
        found = pycnn.optimize(net, dtype=BF16)(x)
    for y, of_torch, ref in zip(found, own, refs, strict=True):
        assert y.dtype == of_torch.dtype and y.shape == of_torch.shape
        if ref.abs().max() > 0 and torch.isfinite(of_torch).all():
            assert error(y, ref) <= OWN * error(of_torch, ref) + 2.0**-8


def test_a_model_in_bf16_is_planned_as_it_is() -> None:
    net = settle(Gated())
    x = torch.randn(2, 3, 30, 26)
    cast = pycnn.optimize(net, dtype=BF16)
    own = pycnn.optimize(copy.deepcopy(net).to(BF16))
    with torch.inference_mode():
        assert torch.equal(cast(x)["map"], own(x.to(BF16))["map"])


def test_weights_are_live_and_gradients_those_of_the_model() -> None:
    net = settle(Gated())
    x = torch.randn(2, 3, 30, 26, requires_grad=True)
    fast = pycnn.optimize(net, dtype=BF16)
    with torch.inference_mode():
        before = fast(x)["map"]
        net.point.weight.mul_(2)
        after = fast(x)["map"]
        assert not torch.equal(before, after)
        assert torch.equal(after, pycnn.optimize(net, dtype=BF16)(x)["map"])
    fast(x)["map"].sum().backward()
    found = [x.grad, net.stem.weight.grad]
    x.grad = None
    net.zero_grad()
    net(x)["map"].sum().backward()
    for a, b in zip(found, [x.grad, net.stem.weight.grad], strict=True):
        assert a is not None and b is not None and torch.equal(a, b)
    assert fast.train()(x.detach())["map"].dtype == torch.float32


def test_saved_in_the_dtype(tmp_path: Path) -> None:
    net = settle(Gated())
    x = torch.randn(2, 3, 30, 26)
    fast = pycnn.optimize(net, dtype=BF16)
    with torch.inference_mode():
        y = fast(x)["map"]
        pycnn.save(fast, tmp_path / "net.pycnn")
        loaded = pycnn.load(tmp_path / "net.pycnn")
        assert torch.equal(loaded(x)["map"], y) and torch.equal(loaded(x.to(BF16))["map"], y)
    assert {p.dtype for p in loaded.parameters()} == {BF16}
    with pytest.raises(ValueError, match="saved in torch.bfloat16; its graphs do not hold"):
        pycnn.load(tmp_path / "net.pycnn", dtype=torch.float32)


def test_reports_and_verify() -> None:
    net = settle(Gated())
    x = torch.randn(1, 3, 30, 26)
    fast = pycnn.optimize(net, dtype=BF16)
    certificate = pycnn.verify(fast, net, x)
    assert certificate.ok and certificate.layers
    assert any(layer.error > 1e-4 for layer in certificate.layers)
    assert pycnn.profile(fast, x, seconds=0.02).layers
    assert not pycnn.verify(fast, net, x, tol=1e-5).ok


def test_bits_do_not_depend_on_batch_or_threads() -> None:
    net = settle(Gated())
    x = torch.randn(5, 3, 30, 26)
    outs = []
    for threads in (1, 2):
        fast = pycnn.optimize(net, dtype=BF16, batch_invariant=True, threads=threads)
        with torch.inference_mode():
            outs += [fast(x)["map"], torch.cat([fast(x[i : i + 1])["map"] for i in range(5)])]
    assert all(torch.equal(outs[0], y) for y in outs[1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_dtypes(dtype: torch.dtype) -> None:
    net, x = settle(Gated()), torch.randn(2, 3, 30, 26)
    own, ref = own_error(net, x, dtype)
    with torch.inference_mode():
        y = pycnn.optimize(net, dtype=dtype)(x)
    assert y["map"].dtype == dtype
    assert error(y["map"], ref["map"]) <= max(OWN * error(own["map"], ref["map"]), 1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="dtype must be a torch.dtype, got 'bfloat16'"):
        pycnn.optimize(nn.ReLU(), dtype="bfloat16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dtype=torch.int8 is none of"):
        pycnn.optimize(nn.ReLU(), dtype=torch.int8)

    class ByValue(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(NotImplementedError, match="dtype=torch.bfloat16 needs a plan"):
        pycnn.optimize(ByValue().eval(), dtype=BF16)(torch.ones(2))
