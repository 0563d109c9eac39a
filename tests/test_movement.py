"""Permutes, changes of shape and shuffles are one copy, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lowering import Fn, lowered
from nets import error, settle, truth
from torch import Tensor, nn

import pycnn

Function = Callable[[Any, Tensor], Tensor]


def net_of(function: Function) -> nn.Module:
    """A convolution to 12 channels, and the function of (module, map), doubled so that it is no view."""
    return settle(Fn(lambda m, x: function(m, m.conv(x)) * 2, conv=nn.Conv2d(3, 12, 3, padding=1)))


def windows(m: Any, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    x = x.view(n, c, h // 2, 2, w // 2, 2)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)


CASES: dict[str, Function] = {
    "channel_shuffle": lambda m, x: F.channel_shuffle(x, 3),
    "channel_shuffle of two": lambda m, x: torch.channel_shuffle(x, 2),
    "pixel_shuffle": lambda m, x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda m, x: F.pixel_unshuffle(x, 2),
    "by hand": lambda m, x: x.view(x.size(0), 3, 4, *x.shape[2:]).transpose(1, 2).flatten(1, 2),
    "to tokens": lambda m, x: x.flatten(2).transpose(1, 2),
    "and back": lambda m, x: x.flatten(2).transpose(1, 2).transpose(1, 2).reshape(x.shape),
    "windows": windows,
    "channels last": lambda m, x: x.permute(0, 2, 3, 1),
    "image transposed": lambda m, x: x.transpose(-1, -2),
    "heads": lambda m, x: x.flatten(2).transpose(1, 2).unflatten(-1, (3, 4)).swapaxes(1, 2),
    "sizes that do not divide": lambda m, x: x.flatten(2).transpose(1, 2).reshape(x.size(0), 9, -1),
    "one more axis": lambda m, x: x.mean((2, 3)).unsqueeze(1) + x.flatten(2).transpose(1, 2),
    "one axis less": lambda m, x: x.mean((2, 3), keepdim=True).squeeze(3).squeeze(-1),
    "rows of four": lambda m, x: x.reshape(-1, 4),
}  # fmt: skip


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", CASES)
def test_movements_are_no_torch_steps(case: str, layout: torch.memory_format) -> None:
    net = net_of(CASES[case])
    opt = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for shape in ((2, 3, 6, 12), (3, 3, 12, 6), (1, 3, 18, 24)):
            x = torch.randn(shape).contiguous(memory_format=layout)
            assert error(opt(x), truth(net, x)) <= 1e-5


@pytest.mark.parametrize("case", ["channel_shuffle", "pixel_shuffle", "windows"])
def test_they_are_the_inputs_too(case: str) -> None:
    net = Fn(lambda m, x: CASES[case](m, x) + 0.0)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 12, 4, 6).contiguous(memory_format=layout)
        with torch.inference_mode():
            assert torch.equal(pycnn.optimize(net, strict=True)(x), net(x))


def steps(function: Function) -> list[str]:
    opt, x = pycnn.optimize(net_of(function)), torch.randn(1, 3, 6, 12)
    opt(x)
    return [s.op for s in pycnn.explain(opt, x).steps]


def test_a_chain_is_one_copy() -> None:
    assert steps(CASES["by hand"])[:3] == ["conv2d", "rearrange", "arith"]
    assert steps(windows) == ["conv2d", "rearrange", "arith"]


def test_what_keeps_the_bytes_is_no_copy() -> None:
    assert steps(CASES["to tokens"]) == ["conv2d", "arith"]


def test_sizes_that_do_not_divide_cost_one_copy_more() -> None:
    found = steps(CASES["sizes that do not divide"])
    assert found.count("rearrange") == 2


def test_a_shuffle_keeps_the_memory_format() -> None:
    net = Fn(lambda m, x: F.pixel_shuffle(torch.relu(x), 2))
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 12, 4, 6).contiguous(memory_format=layout)
        with torch.inference_mode():
            assert pycnn.optimize(net)(x).stride() == net(x).stride()


def test_the_pass_leaves_values_with_other_readers() -> None:
    def twice(m: Any, x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1)
        return tokens.reshape(x.shape[0], -1) + tokens.mean()

    graph = lowered(Fn(twice), (2, 4, 6, 6))
    assert not graph.has(rearrange=1)
    joined = Fn(lambda m, x: x.permute(0, 2, 3, 1).reshape(2, -1) + 1)
    assert lowered(joined, (2, 4, 6, 6)).has(rearrange=1, permute=0, reshape=0, flatten=0)


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_joins_along_any_axis(dim: int) -> None:
    def plain(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        return torch.cat([y, x if dim == 1 else y * 3, y.relu()], dim) * 2

    def rows(m: Any, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([tokens, tokens * 3, tokens.relu()], min(dim, 2)) * 2

    net = settle(Fn(plain, conv=nn.Conv2d(3, 12, 3, padding=1)))
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 3, 6, 8).contiguous(memory_format=layout)
        with torch.inference_mode():
            assert error(pycnn.optimize(net, strict=True)(x), truth(net, x)) <= 1e-5
            moved = net_of(rows)
            assert error(pycnn.optimize(moved, strict=True)(x), truth(moved, x)) <= 1e-5
