"""Which operand of arithmetic the kernel reads element by element, which it repeats, and which is copied to full size.

The kernel has x of the result's shape and repeats the other over images, over all pixels of an image, over channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pycnn.ir import Arith, Shape, Source, TensorTable


@dataclass(frozen=True)
class Operands:
    """Of two values, or of one: the index of the kernel's x, and of those that are copied to the result's shape."""

    x: int
    copied: tuple[int, ...] = ()


def operands(inputs: Sequence[Shape], out: Shape) -> Operands:
    """Of these shapes, with the fewest copies."""
    repeated = [_is_repeated(shape, out) for shape in inputs]
    full = next((i for i, shape in enumerate(inputs) if shape == out), None)
    if full is None:  # the copy of the one for which the other is repeated
        alone = [i for i in range(len(inputs)) if all(repeated[:i] + repeated[i + 1 :])]
        full = max(alone or range(len(inputs)), key=lambda i: math.prod(inputs[i]))
    copied = [
        i for i, shape in enumerate(inputs) if (shape != out if i == full else not repeated[i])
    ]
    return Operands(full, tuple(copied))


def _is_repeated(shape: Shape, out: Shape) -> bool:
    """Whether the kernel repeats a value of this shape: of fewer axes than a map its elements lie in another order."""
    in_order = len(out) != 4 or len(shape) == 4 or math.prod(shape) == 1
    return in_order and why_not_repeated(shape, out) is None


def spread(shape: Shape, out: Shape) -> Shape:
    """The shape in which a tensor of the model is packed: one that repeats one image axis of two has both."""
    full = (1,) * (len(out) - len(shape)) + tuple(shape)
    part = len(out) == 4 and full[2:] != tuple(out[2:]) and full[2:] != (1, 1)
    return (*full[:2], *out[2:]) if part else full


def why_not_repeated(shape: Shape, out: Shape) -> str | None:
    """Why the kernel does not repeat an operand whose elements lie as a map's or as rows, or None."""
    if shape == out:
        return None
    if len(out) not in (2, 3, 4):
        return f"{len(out)}-d operands of different shapes"
    full = (1,) * (len(out) - len(shape)) + tuple(shape)
    pixels = full[2:] if len(out) == 4 else full[1:-1]
    sizes = out[2:] if len(out) == 4 else out[1:-1]
    if pixels != sizes and any(p != 1 for p in pixels):
        return f"an operand of shape {list(shape)} repeats one image axis of {list(out)}"
    return None


def why_not_arith(op: Arith, out: Shape, tensors: TensorTable) -> str | None:
    """Why the kernel does not take these operands: values are copied where it does not repeat them, a tensor of the
    model has to be one that it repeats, or that is packed so."""
    if not out:
        return "no kernel for scalars"
    if not isinstance(op.other, Source):
        return None
    return why_not_repeated(spread(op.other_shape(tensors), out), out)
