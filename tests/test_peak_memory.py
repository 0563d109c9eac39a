"""What passes between layers, against the most that torch's own run has alive at once."""

from __future__ import annotations

import pytest
import torch
from peak import eager_peak
from torch import nn

import pycnn

NETS = {"resnet50": 224, "densenet121": 224, "unet": 256}
# Of torch's peak, rounded up to hundredths: what a plan without a limit has. At batch 1, ResNet-50 holds the sum, which
# takes the memory of the skip, and the middle of its first blocks; DenseNet-121 a block's join and the product.
PLAIN = {
    ("resnet50", 1): 0.47, ("resnet50", 8): 0.40,
    ("densenet121", 1): 0.59, ("densenet121", 8): 0.28,
    ("unet", 1): 0.60, ("unet", 8): 0.41,
}  # fmt: skip
LIMITED = 0.5


def test_torchs_peak_is_counted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1), nn.ReLU(inplace=True))
    maps = 16 * 16 * 4
    assert eager_peak(net.eval(), torch.zeros(1, 3, 16, 16)) == (8 + 8) * maps
    assert eager_peak(net.eval(), torch.zeros(2, 3, 16, 16)) == 2 * (8 + 8) * maps


@pytest.mark.parametrize(("name", "batch"), PLAIN)
def test_the_arena_against_torchs_peak(name: str, batch: int) -> None:
    size = NETS[name]
    net, x = pycnn.create_model(name, in_channels=3).eval(), torch.zeros(batch, 3, size, size)
    eager = eager_peak(net, x)
    with torch.inference_mode():
        plain = pycnn.explain(pycnn.optimize(net, threads=2), x)
        assert plain.peak_bytes <= PLAIN[name, batch] * eager
        limit = int(LIMITED * eager) + plain.workspace_bytes
        limited = pycnn.explain(pycnn.optimize(net, threads=2, memory_limit=limit), x)
    assert limited.peak_bytes <= LIMITED * eager
    assert [s.kernel for s in limited.steps if s.op == "conv2d"] == [
        s.kernel for s in plain.steps if s.op == "conv2d"
    ]
