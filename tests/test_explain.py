"""explain tells what runs: kernels, fusions, fallbacks, memory."""

import json

import pytest
import torch
from nets import Branches, Views, conv_bn, settle
from torch import nn

import pycnn


def test_a_plain_net_is_all_kernels() -> None:
    opt = pycnn.optimize(settle(Branches()))
    report = pycnn.explain(opt, torch.randn(1, 3, 12, 12))
    stem = report.steps[0]
    assert (stem.path, stem.op, stem.fused) == ("stem.0.0", "conv2d", "batch_norm + relu")
    assert stem.kernel.startswith(("conv2d_patch", "conv2d_planar")) and stem.output == (
        1,
        8,
        12,
        12,
    )
    assert report.peak_bytes > 0 and report.packed_bytes > 0
    assert json.loads(report.to_json())["steps"][0]["op"] == "conv2d"
    assert "stem.0.0" in str(report)


def test_torch_steps_are_named_with_their_reason() -> None:
    report = pycnn.explain(pycnn.optimize(settle(Views())), torch.randn(1, 3, 12, 12))
    (line,) = [f for f in report.fallbacks if f.startswith("interpolate")]
    assert ":" in line
    assert [s.op for s in report.steps if not s.kernel].count("interpolate") == 1


def test_reasons_for_not_fusing() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = conv_bn(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.pair[0](x)
            return self.pair[1](y) + y

    report = pycnn.explain(pycnn.optimize(settle(Shared())), torch.randn(1, 3, 8, 8))
    assert any("fold_batch_norm" in note for note in report.notes)


def test_concat_costs_no_step() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 9, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.a(x), self.b(x)], 1).mean((2, 3))

    report = pycnn.explain(pycnn.optimize(settle(Join())), torch.randn(2, 3, 8, 8))
    assert [s.op for s in report.steps] == ["conv2d", "conv2d", "global_pool"]


def test_misuse() -> None:
    with pytest.raises(TypeError, match="expected what optimize"):
        pycnn.explain(nn.ReLU(), torch.zeros(1))
    with pytest.raises(ValueError, match="training mode"):
        pycnn.explain(pycnn.optimize(nn.ReLU()), torch.zeros(1))
