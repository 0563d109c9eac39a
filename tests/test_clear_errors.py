"""`optimize`: a bad argument or input is one sentence, the model's own where it has one."""

from __future__ import annotations

import pytest
import torch
from nets import settle
from torch import Tensor, nn

import pycnn


@pytest.mark.parametrize(
    "bad",
    [
        torch.randn(1, 4, 8, 8),
        torch.randn(3, 8),
        torch.randn(1, 3, 2, 2),
        torch.ones(1, 3, 8, 8, dtype=torch.int32),
    ],
)
def test_a_wrong_input_raises_what_the_model_raises(bad: Tensor) -> None:
    net = settle(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(torch.randn(1, 3, 8, 8))
        with pytest.raises(RuntimeError) as expected:
            net(bad)
        with pytest.raises(RuntimeError) as found:
            opt(bad)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("bad", [None, "resnet18", torch.zeros(1), nn.ReLU])
def test_a_non_module_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="must be a torch.nn.Module, got"):
        pycnn.optimize(bad)  # type: ignore[arg-type]


def test_a_bad_thread_count_is_refused() -> None:
    with pytest.raises(ValueError, match="threads=0"):
        pycnn.optimize(nn.ReLU(), threads=0)
