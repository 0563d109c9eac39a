"""One kernel call of a plan, and the weights it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pycnn.ir import Node
from pycnn.planning.homes import Home
from pycnn.planning.params import Params


@dataclass(frozen=True)
class Packed:
    """`weight` as the kernel's pack() made it; `bias` [k] or None. Plans hold on to it by address."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Step:
    """One kernel call; homes say where its operands lie. `params` are those of one image where there are `images`."""

    op: str
    kernel: str
    params: Params
    node: Node
    x: Home
    y: Home
    residual: Home | None = None
    third: Home | None = (
        None  # a convolution's gate, or the means it writes; without weights, read where they would be
    )
    packed: Packed | None = None
    images: int = 1


def results(step: Step) -> tuple[Home, ...]:
    """What it writes."""
    means = step.third if step.op == "conv2d_means" else None
    return (step.y,) if means is None else (step.y, means)


def operands(step: Step) -> tuple[Home | None, Home | None, Home | None, Home]:
    """x, residual, third and y."""
    return step.x, step.residual, step.third, step.y


def uses_of(steps: Sequence[Step]) -> dict[int, tuple[int, int]]:
    """The first and the last step that has each arena buffer among its operands."""
    found: dict[int, tuple[int, int]] = {}
    for i, step in enumerate(steps):
        for home in operands(step):
            if home is not None and home.kind == "arena":
                found[home.index] = (found.get(home.index, (i, i))[0], i)
    return found
