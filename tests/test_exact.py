"""`optimize(exact=True)`: no algorithm that re-associates products, and the error that goes with it."""

import pytest
import torch
from nets import error, settle, truth
from torch import nn

import pycnn


def kernels(fast: nn.Module, x: torch.Tensor) -> set[str]:
    return {step.kernel.split("_f32")[0] for step in pycnn.explain(fast, x).steps}


def test_exact_forbids_winograd_and_keeps_the_error_within_1e_5() -> None:
    net = settle(pycnn.create_model("resnet18", num_classes=17)).eval()
    x = torch.randn(2, 3, 64, 64)
    reference = truth(net, x)
    with torch.inference_mode():
        free, exact = pycnn.optimize(net), pycnn.optimize(net, exact=True)
        assert error(free(x), reference) <= 1e-4
        assert error(exact(x), reference) <= 1e-5
    assert any("winograd" in name for name in kernels(free, x))
    assert not any("winograd" in name for name in kernels(exact, x))


@pytest.mark.parametrize("option", ["exact", "strict", "batch_invariant"])
def test_flags_are_bools(option: str) -> None:
    with pytest.raises(TypeError, match=f"optimize: {option} must be a bool, got 'yes'"):
        pycnn.optimize(nn.ReLU(), **{option: "yes"})
