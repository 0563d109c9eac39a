"""Depth first over the batch: stretches of nodes that run one image after the other, each by one worker.

A layer's results for the whole batch may fill the caches several times over before the next layer reads them; those of
one image do not.  What it costs is that each image reads the weights again, and that tiles do not reach over images: so
only layers with few weights beside an image's activations are worth it, and only where the batch does not fit anyway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pycnn import _C
from pycnn.ir import (
    AdaptivePool2d,
    Add,
    Arith,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Elementwise,
    GroupNorm,
    Identity,
    LayerNorm,
    LocalResponseNorm,
    Node,
    Pool2d,
    PooledConv2d,
    Shapes,
    Slice,
    Source,
    TensorTable,
    Upsample,
    is_mean,
    sources,
)
from pycnn.planning.segments import Segment

FLOAT = 4
_CACHES = 0.1  # of the last cache: what a layer's operands and result must exceed, of all images
# Of a last cache no more counts: the large ones are many processors' and slow. A Xeon's 480 MiB give two threads
# 58 GB/s, its L2 415: with this bound MobileNets at batch 8 are 1.15 times as fast there, EfficientNet-B0 1.11,
# DenseNet-121 1.05.
_LAST_CACHE = 32 << 20
_WEIGHTS = 2.0  # of an image's operands and result: the most weights
_BY_IMAGE = (
    *(Conv2d, PooledConv2d, ConvTranspose2d, BatchNorm, Pool2d, AdaptivePool2d, Upsample),
    *(Add, Arith, Elementwise, GroupNorm, LayerNorm, LocalResponseNorm, Concat, Slice, Identity),
)


@dataclass(frozen=True)
class Section:
    """Nodes `begin` up to `end` of a segment, for each of `images`."""

    begin: int
    end: int
    images: int


def sections(segment: Segment, shapes: Shapes, tensors: TensorTable) -> tuple[Section, ...]:
    """The stretches of at least two layers that are worth it."""
    images = next((shapes[v][0] for v in segment.inputs if len(shapes[v]) == 4), 1)
    if images < 2:
        return ()
    found: list[Section] = []
    begin, layers = 0, 0
    caches = _CACHES * min(int(_C.machine()["l3_bytes"]), _LAST_CACHE)
    for at in range(len(segment.nodes) + 1):
        worth = at < len(segment.nodes) and _worth(
            segment.nodes[at], shapes, tensors, images, caches
        )
        if worth is False:
            if layers > 1:
                found.append(Section(begin, at, images))
            begin, layers = at + 1, 0
        elif worth:
            layers += 1
    return tuple(found)


def _worth(
    node: Node, shapes: Shapes, tensors: TensorTable, images: int, caches: float
) -> bool | None:
    """Whether the node may and should run image by image; None: it may, and does nothing, or little beside the layer
    before it, as a mean of a map. `caches`: bytes that its operands and result must exceed."""
    if not by_image(node, shapes, tensors, images):
        return False
    if isinstance(node.op, (Identity, Slice)):
        return None
    floats = sum(math.prod(shapes[v]) for v in (*node.inputs, *node.outputs))
    if floats * FLOAT <= caches:
        return None if is_mean(node.op) else False
    weights = sum(math.prod(tensors.shape(s)) for s in sources(node.op))
    conv = node.op.conv if isinstance(node.op, PooledConv2d) else node.op
    if (
        isinstance(conv, Conv2d)
        and conv.stride == (1, 1)
        and weights > 9 * shapes[node.outputs[0]][1]
    ):
        weights *= 4  # as Winograd's F(4x4, 3x3) has them
    return weights <= _WEIGHTS * floats / images


def by_image(node: Node, shapes: Shapes, tensors: TensorTable, images: int) -> bool:
    """Whether each image's result depends on that image alone, and lies where only its own rows are."""
    op = node.op
    if not isinstance(op, _BY_IMAGE) or (isinstance(op, (Concat, Slice)) and op.dim != 1):
        return False
    values = (*node.inputs, *node.outputs)
    if any(len(shapes[v]) != 4 or shapes[v][0] != images for v in values):
        return False
    if isinstance(op, Arith) and isinstance(op.other, Source):
        other = tensors.shape(op.other)
        return len(other) < 4 or other[0] == 1
    return True
