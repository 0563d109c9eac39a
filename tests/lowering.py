"""Helpers of the pass tests: structure after all passes, numbers after each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pycnn import ir
from pycnn.frontend import capture
from pycnn.passes import PASSES, Pass, run_passes


class Fn(nn.Module):
    """A module around a function of (module, x)."""

    def __init__(self, function: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def norm(c: int, affine: bool = True) -> nn.BatchNorm2d:
    """A batch norm whose statistics and weights are not the defaults."""
    bn = nn.BatchNorm2d(c, affine=affine)
    for tensor in (bn.running_mean, *bn.parameters()):
        nn.init.normal_(tensor)
    nn.init.uniform_(bn.running_var, 0.5, 2.0)
    return bn


def lowered(
    model: nn.Module, *shapes: tuple[int, ...], passes: tuple[Pass, ...] = PASSES
) -> ir.Graph:
    """The graph after all passes; at every step it gives the numbers of eager for each input shape."""
    model = model.eval()
    inputs = [torch.randn(shape) for shape in shapes]
    graph = capture(model, (inputs[0],))
    for rewrite in (None, *passes):
        graph = graph if rewrite is None else run_passes(graph, (rewrite,))
        for x in inputs:
            with torch.no_grad():
                expected = model(x)
            torch.testing.assert_close(ir.run_torch(graph, [x]), expected, rtol=1e-5, atol=2e-6)
    return graph


def op(graph: ir.Graph, name: str) -> ir.Op:
    """The only op of that name."""
    (found,) = (node.op for node in graph.nodes if node.op.name == name)
    return found


def said(graph: ir.Graph, pass_name: str) -> str:
    return " | ".join(n.sentence for n in graph.notes if n.pass_name == pass_name)


X = (2, 4, 6, 6)
