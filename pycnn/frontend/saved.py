"""A network that is its graphs: what a file gives back, without the code that once was its forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..ir import (
    Graph,
    ShapeError,
    Source,
    StoredWeights,
    TensorTable,
    infer_shapes,
    run_graph,
)
from .calls import CaptureError


@dataclass(frozen=True)
class SavedGraph:
    """`sizes`: shapes and strides of inputs that it is known to hold for; None: every one its guards let pass."""

    graph: Graph
    sizes: frozenset[tuple[Any, ...]] | None


class SavedNetwork(nn.Module):
    """Parameters and buffers under their names; a forward that interprets the graph which fits the arguments.

    In eval only: what training does besides is not in the graphs. Gradients are torch's. `stored`: of the file, packed
    already.
    """

    def __init__(self) -> None:
        super().__init__()
        self.graphs: tuple[SavedGraph, ...] = ()
        self.stored: StoredWeights | None = None
        super().train(False)

    def hold(self, name: str, tensor: Tensor, kind: str) -> None:
        """Register a tensor under a dotted name; kind: "parameter", "buffer", "unsaved buffer" or "constant"."""
        *path, key = name.split(".")
        module: nn.Module = self
        for step in path:
            child = module._modules.get(step)
            if child is None:
                child = nn.Module().eval()
                module.add_module(step, child)
            module = child
        if kind == "parameter":
            if not isinstance(tensor, nn.Parameter):  # else another name of one that is held
                tensor = nn.Parameter(tensor, tensor.is_floating_point())
            module.register_parameter(key, tensor)
        elif kind == "constant":
            module.__dict__[key] = tensor
        else:
            module.register_buffer(key, tensor, persistent=kind == "buffer")

    def graph_for(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], any_float: bool = False
    ) -> Graph:
        """The graph that these arguments run; `any_float`: inputs may be fp64, say, where they were fp32.

        CaptureError: there is none; says what there is.
        """
        for saved in self.graphs:
            inputs = saved.graph.input_tree.tensors(args, dict(kwargs))
            if inputs is not None and _holds(saved, inputs, any_float):
                return saved.graph
        known = "; ".join(_spelled(*_example(saved.graph)) for saved in self.graphs)
        raise CaptureError(
            f"the network was saved for inputs like {known}, not for {_spelled(args, kwargs)}"
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        try:
            graph = self.graph_for(args, kwargs, any_float=True)
        except CaptureError as refusal:
            raise ValueError(str(refusal)) from None
        inputs = graph.input_tree.tensors(args, kwargs)
        assert inputs is not None
        return run_graph(graph, inputs)

    def train(self, mode: bool = True) -> SavedNetwork:
        if mode:
            raise ValueError(
                "a saved network runs in eval mode; to train, load its state_dict into its own class"
            )
        return self


def _example(graph: Graph) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that the graph was captured with, their tensors without memory."""
    shapes = graph.input_shapes
    return graph.input_tree.call([torch.empty(shape, device="meta") for shape in shapes])


def _spelled(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Tensors by their shapes, other values as they are, keyword arguments with their names."""

    def leaves(value: Any) -> str:
        found = torch.utils._pytree.tree_leaves(value)
        return " and ".join(str(list(t.shape)) if isinstance(t, Tensor) else repr(t) for t in found)

    named = (f"{name}={leaves(value)}" for name, value in kwargs.items())
    return " and ".join((*map(leaves, args), *named))


def _holds(saved: SavedGraph, inputs: Sequence[Tensor], any_float: bool) -> bool:
    graph = saved.graph
    for t, value, shape in zip(inputs, graph.inputs, graph.input_shapes, strict=True):
        dtype = graph.dtypes[value]
        same = t.dtype == dtype or (any_float and t.is_floating_point() and dtype.is_floating_point)
        if not same or t.dim() != len(shape):
            return False
    if (
        saved.sizes is not None
        and tuple((tuple(t.shape), t.stride()) for t in inputs) not in saved.sizes
    ):
        return False
    try:
        infer_shapes(graph, [tuple(t.shape) for t in inputs])
    except ShapeError:
        return False
    return True


def table_of(network: SavedNetwork, names: Sequence[str]) -> tuple[TensorTable, dict[str, Source]]:
    """A table of the tensors of these names, in order, and their sources. KeyError: there is none of a name."""
    table = TensorTable(network)
    return table, {name: table.source(_tensor(network, name)) for name in names}


def _tensor(network: SavedNetwork, name: str) -> Tensor:
    path, _, key = name.rpartition(".")
    module = network.get_submodule(path)
    for holder in (module._parameters, module._buffers, vars(module)):
        found = holder.get(key)
        if isinstance(found, Tensor):
            return found
    raise KeyError(name)
