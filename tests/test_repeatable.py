"""The same input and settings give the same bits, every time and in any order of calls."""

from __future__ import annotations

import torch
from nets import Branches, settle

import pycnn


def test_same_bits_every_time_and_whatever_the_threads() -> None:
    net, x = settle(Branches()), torch.randn(3, 3, 40, 40)
    many, one = pycnn.optimize(net), pycnn.optimize(net, threads=1)
    with torch.inference_mode():
        y = many(x)
        assert torch.equal(many(x), y) and torch.equal(one(x), y)
