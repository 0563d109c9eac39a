"""What an optimised module returns is what torch would: fresh tensors, of its structure, strides and dtypes."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Branches, Outputs, error, settle, truth

import pycnn


@pytest.mark.parametrize("view", ["crop", "stride0", "transposed", "narrow_channels", "negative"])
def test_views_as_inputs(view: str) -> None:
    net = settle(Branches())
    x = {
        "crop": lambda: torch.randn(2, 3, 30, 30)[:, :, 4:24, 3:23],
        "stride0": lambda: torch.randn(1, 1, 20, 20).expand(2, 3, 20, 20),
        "transposed": lambda: torch.randn(2, 3, 20, 20).transpose(2, 3),
        "narrow_channels": lambda: torch.randn(2, 8, 20, 20).to(memory_format=torch.channels_last)[
            :, 2:5
        ],
        "negative": lambda: torch.randn(2, 3, 20, 20, dtype=torch.cfloat).conj().imag,
    }[view]()
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(torch.randn(2, 3, 20, 20))
        for _ in range(3):
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_outputs_are_ordinary() -> None:
    net = settle(Outputs())
    opt, x = pycnn.optimize(net), torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        first, second = opt(x), opt(x)
        expected = net(x)
    assert list(first) == ["map", "pair", "input"]
    assert first["input"] is x and first["pair"][1] == 7
    assert isinstance(first["pair"], tuple)
    for a, b in ((first["map"], expected["map"]), (first["pair"][0], expected["pair"][0])):
        assert a.stride() == b.stride()
        torch.testing.assert_close(a, b)
    assert first["map"].data_ptr() != second["map"].data_ptr()
    with torch.inference_mode():
        first["map"].zero_()
    torch.testing.assert_close(second["map"], expected["map"])


def test_the_model_is_untouched() -> None:
    net = settle(Branches())
    before = copy.deepcopy(net.state_dict())
    keys = set(vars(net))
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(torch.randn(1, 3, 20, 20))
    assert set(vars(net)) == keys and not net.training
    assert list(opt.state_dict()) == list(before)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
    assert [n for n, _ in opt.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert [n for n, _ in opt.named_modules()] == [n for n, _ in net.named_modules()]
