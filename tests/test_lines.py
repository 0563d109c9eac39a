"""1-D convolutions, norms and pools on kernels: a line is a map of one row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_reduce import check
from torch import nn


def norm(c: int) -> nn.BatchNorm1d:
    bn = nn.BatchNorm1d(c)
    for tensor in (bn.running_mean, *bn.parameters()):
        nn.init.normal_(tensor)
    nn.init.uniform_(bn.running_var, 0.5, 2.0)
    return bn


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 3},
        {"dilation": 3, "padding": "same"},
        {"padding": "valid", "bias": False},
        {"groups": 3, "padding": 1},
        {"padding": 2, "padding_mode": "reflect"},
    ],
)
def test_convolutions(options: dict) -> None:
    conv = nn.Conv1d(6, 9, 4 if not options else 3, **options)
    check(lambda m, x: m.conv(x), (2, 6, 17), (1, 6, 30), conv=conv)
    check(lambda m, x: m.conv(x.relu()).tanh().flatten(1), (2, 6, 17), conv=conv)


def test_layers_fuse_as_on_maps() -> None:
    """M5 for audio, "Very deep convolutional neural networks for raw waveforms", 2017, made small."""
    layers = {
        "a": nn.Conv1d(1, 8, 9, 4),
        "an": norm(8),
        "b": nn.Conv1d(8, 16, 3),
        "bn": norm(16),
        "fc": nn.Linear(16, 5),
    }

    def forward(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool1d(m.an(m.a(x)).relu(), 4)
        x = F.max_pool1d(m.bn(m.b(x)).relu(), 2)
        return m.fc(x.mean(2))

    ops = check(forward, (2, 1, 200), (1, 1, 320), **layers)
    assert [op for op in ops if op in ("conv2d", "pool2d", "elementwise", "arith")] == [
        "conv2d",
        "pool2d",
    ] * 2


def test_residual_lines() -> None:
    layers = {
        "a": nn.Conv1d(4, 4, 3, padding=1),
        "b": nn.Conv1d(4, 4, 3, padding=2, dilation=2),
        "n": norm(4),
    }
    ops = check(
        lambda m, x: m.n(m.b(m.a(x).relu()) + m.a(x)).relu() * 2, (2, 4, 21), (3, 4, 11), **layers
    )
    assert ops.count("conv2d") >= 3


@pytest.mark.parametrize("pool", [
    lambda x: F.max_pool1d(x, 3, 2, 1), lambda x: F.max_pool1d(x, 2, dilation=2, ceil_mode=True),
    lambda x: F.avg_pool1d(x, 3, 2, 1), lambda x: F.avg_pool1d(x, 4, count_include_pad=False, padding=2),
    lambda x: F.adaptive_avg_pool1d(x, 3), lambda x: F.adaptive_max_pool1d(x, 4), lambda x: F.adaptive_avg_pool1d(x, 1),
])  # fmt: skip
def test_pools(pool) -> None:
    check(lambda m, x: pool(x.relu()), (2, 5, 16), (1, 5, 23))


def test_norm_alone_and_efficient_channel_attention() -> None:
    check(lambda m, x: m.n(x).relu(), (2, 6, 9), (1, 6, 4), n=norm(6))
    gate = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = m.gate(x.mean((2, 3)).view(x.shape[0], 1, -1)).view(x.shape[0], -1, 1, 1).sigmoid()
        return x * y.expand_as(x)

    check(forward, (2, 8, 5, 6), (1, 8, 7, 7), gate=gate)
