"""Stages of a network: rows of layers at one spatial resolution, between a stem and a head.

The resolution of a layer is how many pixels of the image lie between two neighbours of its map (2 after one halving).
The coarsest four resolutions at which there are weights are the stages 1 to 4; what is finer is the stem. With fewer
than five resolutions the stem is the first convolution, with the norm and activation behind it, and what is left of its
resolution is stage 1. A module that strides by a convolution is of the stage it enters with all it holds. The head is
what comes after the last map; where the result is itself a map, what comes from the last layer with weights on, and
layers between the first upsampling and it are the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROLES = {
    "stem": "Early feature extraction",
    "stage 1": "Low-level features",
    "stage 2": "Mid-level features",
    "stage 3": "Object parts",
    "stage 4": "High-level semantics",
    "decoder": "Back to the resolution of the image",
    "head": "Class logits",
}
MAP_HEAD_ROLE = "Class logits of each pixel"


@dataclass(frozen=True)
class Layer:
    """What staging looks at: the module's path; `step` in pixels, None for what is no map; whether it multiplies by
    weights; whether it is a norm or activation, which go with the layer before them."""

    path: str
    step: float | None
    weighted: bool
    follows: bool


def stages(layers: Sequence[Layer]) -> list[str]:
    """The stage of each layer, in order."""
    maps = [i for i, layer in enumerate(layers) if layer.step is not None]
    if not maps:
        return ["head"] * len(layers)
    head = maps[-1] + 1
    down = [layers[i].step for i in maps]
    coarsest = max(step for step in down if step is not None)
    decoder = len(layers)
    if head == len(layers):  # the result is a map
        head = _last_weighted(layers)
        at = next(i for i in maps if layers[i].step == coarsest)
        decoder = next((i for i in maps if i > at and (layers[i].step or 0) < coarsest), head)
    trunk = range(min(head, decoder))
    levels = sorted({layers[i].step or 0 for i in trunk if layers[i].step and layers[i].weighted})
    first, stem_levels = _stem(layers, levels, min(head, decoder))
    entered = _entered(layers, levels, min(head, decoder))
    numbers: list[int] = []
    for i in trunk:
        step = layers[i].step
        number = (
            numbers[-1] if numbers else 0
        )  # a gate's squeeze; the pooling that closes the last stage
        if i >= first and step is not None and levels and step <= levels[-1]:
            number = max(
                number, sum(level <= entered.get(i, step) for level in levels) - stem_levels
            )
        numbers.append(max(number, 0))
    names = [f"stage {number}" if number else "stem" for number in numbers]
    names += ["decoder"] * (min(head, len(layers)) - len(names))
    return names + ["head"] * (len(layers) - len(names))


def _entered(layers: Sequence[Layer], levels: Sequence[float], end: int) -> dict[int, float]:
    """Layer -> the coarser resolution that the module around it enters."""
    found: dict[int, float] = {}
    weighted = [i for i in range(end) if layers[i].weighted]
    for level in levels[1:]:
        at = next((i for i in range(end) if (layers[i].step or 0) >= level), end)
        if at == end or not layers[at].weighted:
            continue
        parts = layers[at].path.split(".")
        for depth in range(1, len(parts)):
            module = ".".join(parts[:depth]) + "."
            inside = [i for i in range(end) if f"{layers[i].path}.".startswith(module)]
            before = [i for i in weighted if i in inside and i < at]
            coarsest = max(layers[i].step or 0 for i in inside)
            if coarsest == level and len(before) <= 2 and weighted[0] not in inside:
                found.update(dict.fromkeys(inside, level))
                break
    return found


def _last_weighted(layers: Sequence[Layer]) -> int:
    """Where the head of a network of maps begins; a lone layer with weights is no head."""
    weighted = [i for i, layer in enumerate(layers) if layer.weighted and not layer.follows]
    return weighted[-1] if len(weighted) > 1 else len(layers)


def _stem(layers: Sequence[Layer], levels: Sequence[float], end: int) -> tuple[int, int]:
    """How many layers are the stem whatever their resolution is, and how many resolutions are all stem."""
    if len(levels) >= 5:
        return 0, len(levels) - 4
    first = next((i for i, layer in enumerate(layers[:end]) if layer.weighted), -1) + 1
    while first < end and layers[first].follows:
        first += 1
    shared = any(x.weighted and x.step == levels[0] for x in layers[first:end]) if levels else True
    return first, 0 if shared else 1
