"""Shuffles of channels and pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch


def pixel_shuffle(x: Tensor, r: int) -> Tensor:
    """r * r channels become r x r pixels: ``y[n, k, h * r + a, w * r + b] = x[n, (k * r + a) * r + b, h, w]``

    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network",
    Shi et al. 2016 (arXiv 1609.05158).

    Equivalent to: ``F.pixel_shuffle(x, r)``

    Args:
        x: [n, c, h, w], r * r dividing c. fp32 on the CPU runs our kernel, whatever the strides; anything else, and a
            call that needs a gradient, runs torch's op.
        r: the factor of both sides.

    Returns: [n, c / r^2, h * r, w * r], channels_last if x is.

    Raises:
        TypeError: x is not a tensor.
        ValueError: r is not positive, or c no multiple of r^2; the message has the values.
    """
    _check("pixel_shuffle", x, "r", r)
    if x.shape[1] % (r * r):
        raise ValueError(f"pixel_shuffle: c={x.shape[1]} is no multiple of r={r} squared")
    return _run("pixel_shuffle", F.pixel_shuffle, x, r)


def pixel_unshuffle(x: Tensor, r: int) -> Tensor:
    """The inverse of `pixel_shuffle`: [n, c, h, w] -> [n, c * r^2, h / r, w / r].

    Equivalent to: ``F.pixel_unshuffle(x, r)``

    Args:
        x: [n, c, h, w], r dividing h and w; else as in `pixel_shuffle`.
        r: the factor of both sides.

    Returns: [n, c * r^2, h / r, w / r], channels_last if x is.

    Raises:
        TypeError: x is not a tensor.
        ValueError: r is not positive or does not divide h and w; the message has the values.
    """
    _check("pixel_unshuffle", x, "r", r)
    if x.shape[2] % r or x.shape[3] % r:
        raise ValueError(f"pixel_unshuffle: {tuple(x.shape[2:])} is no multiple of r={r}")
    return _run("pixel_unshuffle", F.pixel_unshuffle, x, r)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups interleaved: ``y[n, j * groups + i] = x[n, i * (c / groups) + j]``

    "ShuffleNet", Zhang et al. 2017 (arXiv 1707.01083).

    Equivalent to: ``F.channel_shuffle(x, groups)``

    Args:
        x: [n, c, h, w], groups dividing c; else as in `pixel_shuffle`.
        groups: of channels.

    Returns: a tensor of x's shape, channels_last if x is.

    Raises:
        TypeError: x is not a tensor.
        ValueError: groups is not positive or does not divide c; the message has the values.
    """
    _check("channel_shuffle", x, "groups", groups)
    if x.shape[1] % groups:
        raise ValueError(f"channel_shuffle: groups={groups} does not divide c={x.shape[1]}")
    return _run("channel_shuffle", F.channel_shuffle, x, groups)


def _check(op: str, x: Tensor, name: str, number: int) -> None:
    _torch.check_tensor(op, "x", x, (4,))
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{op}: {name}={number!r} must be a positive integer")


def _run(op: str, function: Callable[[Tensor, int], Tensor], x: Tensor, number: int) -> Tensor:
    if _torch.falls_back(op, x):
        return function(x, number)
    y: Tensor = getattr(torch.ops.pycnn, op).default(x, number, "")
    return y


def _register(op: str, function: Callable[[Tensor, int], Tensor]) -> None:
    def raw(x: Tensor, number: int, kernel: str) -> Tensor:
        return function(x, number)

    def fake(x: Tensor, number: int, kernel: str) -> Tensor:
        shape = function(torch.empty(x.shape, device="meta"), number).shape
        return _torch.empty_map(x, shape, _torch.channels_last(x))

    _torch.register(op, fake, raw, tensors=1)


for _name, _function in (
    ("pixel_shuffle", F.pixel_shuffle),
    ("pixel_unshuffle", F.pixel_unshuffle),
    ("channel_shuffle", F.channel_shuffle),
):
    _register(_name, _function)
