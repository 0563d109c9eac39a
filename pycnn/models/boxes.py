"""Boxes of a detector, in plain torch: anchors, decoding, and which of those that overlap stay.

A box is (x1, y1, x2, y2) in pixels of the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = (0.5, 1.0, 2.0)  # height over width
LARGEST_STEP = math.log(1000 / 16)  # of the logarithm of a size: decoded boxes stay finite


class Boxes(NamedTuple):
    """What was found in one image, the most probable first.

    Attributes:
        boxes: [k, 4].
        scores: probabilities, [k].
        labels: classes, int64 [k].
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def anchors(image_size: tuple[int, int], levels: Iterable[int]) -> list[Tensor]:
    """RetinaNet's anchors: for each level l, whose map is 1/2^l of the image, [h w 9, 4] around each of its pixels.

    Nine a pixel: side 2^(l + 2) times 1, 2^(1/3), 2^(2/3), each in the shapes 1:2, 1:1, 2:1; sides and corners are
    rounded to pixels as torchvision's.
    """
    found = []
    for level in levels:
        h, w = (_halved(size, level) for size in image_size)
        side = 2 ** (level + 2)
        sides = torch.tensor([float(int(side * 2 ** (i / 3))) for i in range(3)])
        tall = torch.tensor(SHAPES).sqrt()
        widths = (tall.reciprocal()[:, None] * sides).flatten()
        heights = (tall[:, None] * sides).flatten()
        cell = (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()
        y = torch.arange(h) * (image_size[0] // h)
        x = torch.arange(w) * (image_size[1] // w)
        ys, xs = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([xs, ys, xs, ys], dim=-1).reshape(-1, 1, 4)
        found.append((centres + cell).reshape(-1, 4))
    return found


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = (size + 1) // 2
    return size


def decode(deltas: Tensor, boxes: Tensor) -> Tensor:
    """Anchors moved and scaled by a network's answers (dx, dy, log dw, log dh): [k, 4], [k, 4] -> [k, 4]."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + 0.5 * sizes + deltas[:, :2] * sizes
    half = 0.5 * (deltas[:, 2:].clamp(max=LARGEST_STEP).exp() * sizes)
    return torch.cat([centres - half, centres + half], dim=1)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that stay, the most probable first: none overlaps a better one of its class by more.

    Overlap is intersection over union. Equivalent to `torchvision.ops.batched_nms`.

    Args:
        boxes: [k, 4].
        scores: [k].
        labels: classes, [k].
        iou_threshold: two boxes overlapping by more than this are one object.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = torch.zeros_like(order, dtype=torch.bool)
    for label in set(labels.tolist()):
        mine = (labels[order] == label).nonzero().flatten()
        kept[mine[_nms(boxes[order[mine]], iou_threshold)]] = True
    return order[kept]


def _nms(boxes: Tensor, iou_threshold: float) -> Tensor:
    """Of boxes ordered by falling score, the mask of those that stay."""
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    stays = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if stays[i]:
            rest = boxes[i + 1 :]
            corner = torch.minimum(boxes[i, 2:], rest[:, 2:])
            sides = (corner - torch.maximum(boxes[i, :2], rest[:, :2])).clamp(min=0)
            shared = sides.prod(dim=1)
            stays[i + 1 :] &= shared <= iou_threshold * (sizes[i] + sizes[i + 1 :] - shared)
    return stays


def select(
    levels: Sequence[tuple[Tensor, Tensor, Tensor]],
    image_size: tuple[int, int],
    thresholds: tuple[float, float],
    candidates: int,
    per_image: int,
) -> Boxes:
    """One image's boxes from the outputs of each level.

    Args:
        levels: (logits [k, classes], deltas [k, 4], anchors [k, 4]) of each map.
        image_size: (h, w), to which boxes are cut.
        thresholds: least probability, greatest overlap.
        candidates: the most probable (box, class) pairs kept of each level.
        per_image: boxes returned at most.
    """
    boxes, scores, labels = [], [], []
    for logits, deltas, cells in levels:
        probability = logits.sigmoid().flatten()
        at = (probability > thresholds[0]).nonzero().flatten()
        best, order = probability[at].topk(min(candidates, len(at)))
        at = at[order]
        anchor = at // logits.shape[1]
        box = decode(deltas[anchor], cells[anchor].to(deltas))
        limits = box.new_tensor(image_size[::-1]).repeat(2)
        boxes.append(torch.minimum(box.clamp(min=0), limits))
        scores.append(best)
        labels.append(at % logits.shape[1])
    found = Boxes(torch.cat(boxes), torch.cat(scores), torch.cat(labels))
    kept = batched_nms(*found, thresholds[1])[:per_image]
    return Boxes(*(t[kept] for t in found))
