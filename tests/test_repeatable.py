"""The same input and settings give the same bits, every time and in any order of calls."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from nets import Branches, conv_bn, settle
from torch import nn

import pycnn


def test_same_bits_every_time_and_whatever_the_threads() -> None:
    net, x = settle(Branches()), torch.randn(3, 3, 40, 40)
    many, one = pycnn.optimize(net), pycnn.optimize(net, threads=1)
    with torch.inference_mode():
        y = many(x)
        assert torch.equal(many(x), y) and torch.equal(one(x), y)


def test_the_order_in_which_shapes_are_seen_changes_no_bit() -> None:
    """Which kernel runs a shape follows from the shape alone, whatever is packed already."""
    net = settle(nn.Sequential(*conv_bn(3, 256), nn.ReLU(), *conv_bn(256, 256), nn.ReLU()))
    inputs = [torch.randn(n, 3, 6, 6) for n in (1, 9, 2)]
    forwards, backwards = pycnn.optimize(net), pycnn.optimize(net)
    with torch.inference_mode():
        first = [forwards(x) for x in inputs]
        last = [backwards(x) for x in reversed(inputs)]
        for x, y, z in zip(inputs, first, reversed(last), strict=True):
            assert torch.equal(y, z) and torch.equal(forwards(x), y)


def test_a_module_of_its_own_and_a_loaded_one_give_the_same_bits(tmp_path: Path) -> None:
    net, x = settle(Branches()), torch.randn(2, 3, 24, 24)
    first, second = pycnn.optimize(net), pycnn.optimize(copy.deepcopy(net))
    with torch.inference_mode():
        y = first(x)
        assert torch.equal(second(x), y)
        pycnn.save(first, tmp_path / "net.pycnn")
        assert torch.equal(pycnn.load(tmp_path / "net.pycnn")(x), y)
