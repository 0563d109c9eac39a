"""Products with a matrix of the model, written as matmul or einsum, are 1x1 convolutions or linear layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nets import error, truth
from torch import Tensor, nn

import pycnn


class ByMatrix(nn.Module):
    """`function` of the input and a matrix of the model."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.function, self.matrix = function, nn.Parameter(torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.relu(), self.matrix)


LAYERS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, int], str]] = {
    "channels": (lambda x, w: torch.einsum("nchw,kc->nkhw", x, w), (4, 8), "conv2d"),
    "its transpose": (lambda x, w: torch.einsum("nchw,ck->nkhw", x, w), (8, 4), "conv2d"),
    "a row": (lambda x, w: torch.einsum("nchw,kw->nchk", x, w), (4, 7), "linear"),
    "another order": (lambda x, w: torch.einsum("nchw,kc->khnw", x, w), (4, 8), "conv2d"),
    "columns": (lambda x, w: w @ x.flatten(2), (4, 8), "conv2d"),
    "columns of maps": (lambda x, w: torch.matmul(w, x), (4, 6), "linear"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_matrix_of_the_model_makes_a_layer(name: str) -> None:
    function, shape, kernel = LAYERS[name]
    net = ByMatrix(function, *shape)
    fast = pycnn.optimize(net.eval())
    with torch.inference_mode():
        for n in (2, 3):
            x = torch.randn(n, 8, 6, 7)
            y, own = fast(x), net(x)
            assert error(y, truth(net, x)) <= 1e-5 and y.stride() == own.stride()
        found = pycnn.explain(fast, x)
        assert not found.fallbacks
        assert any(step.kernel.startswith((kernel, "linear")) for step in found.steps)
        net.matrix.mul_(2)
        assert error(fast(x), truth(net, x)) <= 1e-5


@pytest.mark.parametrize(
    "equation", ["nchw,kc->nhw", "nchw,kc->nckhw", "nchw,cc->nchw", "nchw,kl->nkhw"]
)
def test_other_einsums_with_a_matrix_are_torchs(equation: str) -> None:
    size = 8
    net = ByMatrix(lambda x, w: torch.einsum(equation, x, w), size, size).eval()
    fast, x = pycnn.optimize(net), torch.randn(2, 8, 6, 7)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), net(x))
        assert "is no linear layer" in pycnn.explain(fast, x).fallbacks[0]


def test_an_einsum_with_the_matrix_first_is_torchs() -> None:
    """Its result lies in memory as no kernel would lay it."""
    net = ByMatrix(lambda x, w: torch.einsum("kc,nchw->nkhw", w, x), 4, 8).eval()
    fast, x = pycnn.optimize(net), torch.randn(2, 8, 6, 7)
    with torch.inference_mode():
        assert fast(x).stride() == net(x).stride()
        assert "a tensor of the model" in pycnn.explain(fast, x).fallbacks[0]
