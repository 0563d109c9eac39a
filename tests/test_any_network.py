"""`optimize` takes any network: what has no kernel runs in torch, in the plan or around it; `strict=True` says so."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Branches, conv_bn, error, fast, settle, truth
from torch import Tensor, nn

import pycnn


def test_optimising_twice_is_optimising_once() -> None:
    net = settle(Branches())
    assert pycnn.optimize(pycnn.optimize(net))._model is net


def test_what_cannot_be_captured_runs_as_it_is() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y if y.sum() > 0 else -y

    net = settle(Decides())
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(opt(x), net(x)) and torch.equal(opt(-x), net(-x))
        assert "as it is" in pycnn.explain(opt, x).fallbacks[0]
        with pytest.raises(NotImplementedError, match="strict"):
            pycnn.optimize(net, strict=True)(x)


def test_strict_names_each_op_and_its_module() -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LPPool2d(2, 2), nn.Conv2d(4, 4, 1)))
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode(), pytest.raises(NotImplementedError, match=r"lp_pool2d in 1"):
        pycnn.optimize(net, strict=True)(x)
    assert error(fast(net, x), truth(net, x)) <= 1e-5


def test_other_dtypes_and_empty_batches_are_torchs() -> None:
    net = settle(conv_bn(3, 8))
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        assert opt(torch.randn(0, 3, 8, 8)).shape == (0, 8, 8, 8)
        half = copy.deepcopy(net).double()
        x = torch.randn(1, 3, 8, 8, dtype=torch.double)
        assert torch.equal(pycnn.optimize(half)(x), half(x))
