"""A captured graph as JSON and back. Tensors are named, not written; reading it needs no code of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.utils._pytree as pytree

from .codec import CodecError, decode, decode_expr, encode, encode_expr
from .derived import derive
from .dim import Guard
from .graph import Graph, Node
from .ops import Torch
from .shape_rules import ShapeError
from .shapes import infer_shapes
from .source import Source, TensorTable
from .tree import TENSOR, Const, InputTree, OutputLeaf, OutputTree
from .verify import GraphError, verify

_CONTAINERS = (tuple, list, dict)


def to_json(graph: Graph) -> dict[str, Any]:
    """The graph, less its notes and origins. CodecError: a value, or the type of a result, has no spelling."""
    return {
        "tensors": [source.name for source in graph.tensors],
        "derived": {
            str(source.index): encode(recipe)
            for source in graph.tensors
            if (recipe := graph.tensors.recipe(source)) is not None
        },
        "inputs": _structure(
            graph.input_tree.spec, [_input(c) for c in graph.input_tree.constants]
        ),
        "shapes": [[int.__index__(s) for s in shape] for shape in graph.input_shapes],
        "dtypes": {str(v): encode(dtype) for v, dtype in graph.dtypes.items()},
        "nodes": [[encode(n.op), list(n.inputs), list(n.outputs), n.path] for n in graph.nodes],
        "outputs": _outputs(graph),
        "guards": [
            [encode_expr(g.left), g.op, encode_expr(g.right), g.outcome] for g in graph.guards
        ],
        "sizes_read": graph.sizes_read,
        "layout_read": graph.layout_read,
        "aliased": sorted(graph.aliased),
    }


def _input(constant: Any) -> Any:
    return ["tensor"] if constant is TENSOR else ["const", encode(constant)]


def _outputs(graph: Graph) -> Any:
    if graph.output_tree.nested:
        template = graph.output_tree.nested[0][1]
        raise CodecError(f"the result is a {type(template).__name__}, which a file cannot rebuild")
    return _structure(graph.output_tree.spec, [_leaf(leaf) for leaf in graph.outputs])


def _leaf(leaf: OutputLeaf) -> Any:
    if isinstance(leaf, Const):
        return ["const", encode(leaf.value)]
    return ["value", leaf] if isinstance(leaf, int) else encode(leaf)


class _Leaf:
    def __init__(self, data: Any) -> None:
        self.data = data


def _structure(spec: pytree.TreeSpec, leaves: list[Any]) -> Any:
    """Tuples, lists and dicts around leaves, as JSON."""

    def written(part: Any) -> Any:
        if isinstance(part, _Leaf):
            return part.data
        if type(part) not in _CONTAINERS:
            raise CodecError(
                f"a {type(part).__name__} among arguments or results cannot be rebuilt"
            )
        if isinstance(part, dict):
            return ["dict", *([encode(key), written(value)] for key, value in part.items())]
        return [type(part).__name__, *map(written, part)]

    return written(pytree.tree_unflatten([_Leaf(leaf) for leaf in leaves], spec))


def _read_structure(data: Any) -> Any:
    """The containers, with what is inside as `_Leaf`."""
    if not isinstance(data, list) or not data:
        raise CodecError(f"{data!r} is no structure")
    kind, *parts = data
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(map(_read_structure, parts))
    if kind == "dict":
        return {decode(key, {}): _read_structure(value) for key, value in parts}
    return _Leaf(data)


def from_json(
    data: Mapping[str, Any], tensors: TensorTable, sources: Mapping[str, Source]
) -> Graph:
    """The graph over the tensors named in `sources`.

    Raises:
        CodecError: it is no graph of ours, or one that does not hold together; says why.
    """
    try:
        graph = _graph(data, tensors, sources)
        verify(graph)
        infer_shapes(graph, graph.input_shapes)
    except (GraphError, ShapeError) as error:
        raise CodecError(str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise CodecError(f"{type(error).__name__}: {error}") from error
    return graph


def _derived(recipe: Any, tensors: TensorTable, by_index: Mapping[int, Source]) -> Source:
    op = decode(recipe, by_index)
    if not isinstance(op, Torch):
        raise CodecError(f"{op!r} makes no tensor of the model's")
    return derive(tensors, op)


def _graph(data: Mapping[str, Any], tensors: TensorTable, sources: Mapping[str, Source]) -> Graph:
    by_index: dict[int, Source] = {}
    for i, name in enumerate(data["tensors"]):
        recipe = data.get("derived", {}).get(str(i))
        by_index[i] = sources[name] if recipe is None else _derived(recipe, tensors, by_index)
    leaves, spec = pytree.tree_flatten(_read_structure(data["inputs"]))
    constants = tuple(
        TENSOR if leaf.data == ["tensor"] else decode(leaf.data[1], by_index) for leaf in leaves
    )
    results, result_spec = pytree.tree_flatten(_read_structure(data["outputs"]))
    outputs: list[OutputLeaf] = []
    for leaf in results:
        kind, value = leaf.data
        if kind == "value":
            outputs.append(int(value))
        elif kind == "source":
            outputs.append(by_index[value])
        else:
            outputs.append(Const(decode(value, by_index)))
    nodes = tuple(
        Node(decode(op, by_index), tuple(inputs), tuple(made), str(path))
        for op, inputs, made, path in data["nodes"]
    )
    return Graph(
        inputs=tuple(range(len(data["shapes"]))),
        nodes=nodes,
        outputs=tuple(outputs),
        output_tree=OutputTree(result_spec),
        input_tree=InputTree(spec, constants),
        tensors=tensors,
        dtypes={int(v): _dtype(decode(dtype, by_index)) for v, dtype in data["dtypes"].items()},
        input_shapes=tuple(tuple(shape) for shape in data["shapes"]),
        guards=tuple(
            Guard(decode_expr(left), op, decode_expr(right), bool(outcome))
            for left, op, right, outcome in data["guards"]
        ),
        sizes_read=bool(data["sizes_read"]),
        layout_read=bool(data["layout_read"]),
        aliased=frozenset(data["aliased"]),
    )


def _dtype(value: Any) -> torch.dtype:
    if not isinstance(value, torch.dtype):
        raise CodecError(f"{value!r} is no dtype")
    return value
