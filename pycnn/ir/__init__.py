"""The graph that everything between capture and plan works on: values are ints, ops are frozen dataclasses.

`str(graph)` prints it, `verify` checks it, `infer_shapes` gives every shape for some input shapes, `run_torch`
executes it with plain torch.
"""

from .dim import (
    Dim,
    Expr,
    Guard,
    Shape,
    Shapes,
    Size,
    add_guard,
    evaluate,
    expr_of,
    recording_guards,
)
from .fold import folded_weight
from .graph import Graph, Node, Note, consumers, is_effect, producers, sized_values, sources, walk
from .interpret import run_op, run_torch
from .ops import (
    Act,
    AdaptivePool2d,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    Flatten,
    Identity,
    Linear,
    Norm,
    Op,
    Pad,
    Pool2d,
    Ref,
    Reshape,
    Torch,
)
from .shape_rules import ShapeError
from .shapes import infer_shapes, resolve, resolve_value, same_structure
from .source import Source, TensorTable, meta_like
from .torch_op import on_device, run_torch_op, tensors_in
from .tree import (
    TENSOR,
    Const,
    InputTree,
    OutputLeaf,
    OutputTree,
    flatten_input,
    flatten_output,
    is_plain,
)
from .verify import GraphError, verify

__all__ = [
    "TENSOR",
    "Act",
    "AdaptivePool2d",
    "Add",
    "BatchNorm",
    "Concat",
    "Const",
    "Conv2d",
    "Dim",
    "Elementwise",
    "Expr",
    "Flatten",
    "Graph",
    "GraphError",
    "Guard",
    "Identity",
    "InputTree",
    "Linear",
    "Node",
    "Norm",
    "Note",
    "Op",
    "OutputLeaf",
    "OutputTree",
    "Pad",
    "Pool2d",
    "Ref",
    "Reshape",
    "Shape",
    "ShapeError",
    "Shapes",
    "Size",
    "Source",
    "TensorTable",
    "Torch",
    "add_guard",
    "consumers",
    "evaluate",
    "expr_of",
    "flatten_input",
    "flatten_output",
    "folded_weight",
    "infer_shapes",
    "is_effect",
    "is_plain",
    "meta_like",
    "on_device",
    "producers",
    "recording_guards",
    "resolve",
    "resolve_value",
    "run_op",
    "run_torch",
    "run_torch_op",
    "same_structure",
    "sized_values",
    "sources",
    "tensors_in",
    "verify",
    "walk",
]
