"""Rewrites of a graph, one a file, in the order they run."""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Graph, GraphError, folded_weight, verify
from .dead_code import dead_code
from .drop_expand import drop_expand
from .drop_identity import drop_identity
from .flatten_linear import flatten_linear
from .flatten_rows import flatten_rows
from .fold_batch_norm import fold_batch_norm
from .fold_pad import fold_pad
from .fold_scale import fold_scale
from .fuse_activation import fuse_activation
from .fuse_movement import fuse_movement
from .fuse_product import fuse_product
from .fuse_prologue import fuse_prologue
from .fuse_residual import fuse_residual
from .read_through import read_through
from .round_embedding import round_embedding
from .sink_line import sink_line
from .sink_permute import sink_permute
from .sink_reshape import sink_reshape

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    round_embedding,
    drop_identity,
    drop_expand,
    fold_pad,
    sink_permute,
    sink_line,
    sink_reshape,
    dead_code,  # pads that every reader took, and permutes, must not count as readers below
    fold_batch_norm,
    fold_scale,
    fuse_product,
    fuse_activation,
    fuse_residual,
    flatten_linear,
    flatten_rows,
    fuse_movement,
    read_through,
    dead_code,
)


# For targets with `prologues`.
WITH_PROLOGUES: tuple[Pass, ...] = (*PASSES, fuse_prologue)


def run_passes(graph: Graph, passes: tuple[Pass, ...] = PASSES) -> Graph:
    """`graph` rewritten by each pass in turn; GraphError names the pass that broke it.  Reasons go to `graph.notes`."""
    for rewrite in passes:
        graph = rewrite(graph)
        try:
            verify(graph)
        except GraphError as error:
            raise GraphError(f"after {rewrite.__name__}: {error}") from error
    return graph


__all__ = [
    "PASSES",
    "WITH_PROLOGUES",
    "Pass",
    "dead_code",
    "drop_expand",
    "drop_identity",
    "flatten_linear",
    "flatten_rows",
    "fold_batch_norm",
    "fold_pad",
    "fold_scale",
    "folded_weight",
    "fuse_activation",
    "fuse_movement",
    "fuse_product",
    "fuse_prologue",
    "fuse_residual",
    "read_through",
    "round_embedding",
    "run_passes",
    "sink_line",
    "sink_permute",
    "sink_reshape",
]
