"""Helpers of the capture tests: a module around a function, and a capture checked against eager."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pycnn import ir
from pycnn.frontend import capture


class Fn(nn.Module):
    """A module around a function of (module, *args)."""

    def __init__(self, function: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.function(self, *args, **kwargs)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(math.prod(shape)))


def captured(model: nn.Module, x: Tensor, *others: Tensor) -> ir.Graph:
    """The graph of model(x); it gives eager's numbers for x and for each other input."""
    graph = capture(model.eval(), (x.clone(),))
    for inputs in (x, *others):
        with torch.no_grad():
            expected = model(inputs.clone())
        torch.testing.assert_close(ir.run_torch(graph, [inputs.clone()]), expected, rtol=0, atol=0)
    return graph


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Dropout(0.5), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    return layers.eval()
