"""Graphs of torch.fx as models: run node by node, so that the module each call came from is known."""

from __future__ import annotations

import re
from typing import Any

from torch import fx, nn

from .trace import Trace


def run(trace: Trace, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``model(*args, **kwargs)``; `trace.path` follows the nodes of a graph module."""
    if not isinstance(model, fx.GraphModule) or kwargs:
        return model(*args, **kwargs)
    return _Nodes(trace, model).run(*args)


class _Nodes(fx.Interpreter):
    def __init__(self, trace: Trace, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.extra_traceback = False  # it would write the node into the message
        self._trace = trace

    def run_node(self, n: fx.Node) -> Any:
        self._trace.path = _path(n)
        return super().run_node(n)


def _path(node: fx.Node) -> str:
    """The module the node was traced in: "L['self'].layers.0.conv" of dynamo's is layers.0.conv."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = list(stack.values())[-1][0]
    return re.sub(r"^[LG]\['[^']*'\]\.?", "", str(path))
