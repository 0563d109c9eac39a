"""Receptive fields: how large a patch of the image one number of a layer can see.

With windows of k taps, dilation d and stride s, sizes counted in pixels of the image (Araujo, Norris, Sim 2019):
size_out = size + d (k - 1) step,  step_out = step s.  Paddings do not matter, several operands take the maximum, and
what mixes all positions (a global pool, a linear layer over a flattened map, attention) sees the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

Shape = tuple[int, ...]
WHOLE = math.inf


@dataclass(frozen=True)
class Field:
    """Of one tensor, per spatial axis: `size` in pixels (inf: the whole image), `step` between neighbours in pixels,
    `axes` of the tensor; step and axes are () where positions are gone."""

    size: tuple[float, ...]
    step: tuple[float, ...] = ()
    axes: tuple[int, ...] = ()

    @property
    def is_map(self) -> bool:
        return bool(self.axes)


@dataclass(frozen=True)
class Window:
    """A convolution's or pooling's window, an entry an axis."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    groups: int = 1
    transposed: bool = False

    def __str__(self) -> str:
        parts = ["×".join(map(str, self.kernel))]
        for name, values in (("stride", self.stride), ("dilation", self.dilation)):
            if set(values) != {1}:
                parts.append(
                    f"{name} {'×'.join(map(str, values if len(set(values)) > 1 else values[:1]))}"
                )
        if self.groups != 1:
            parts.append(f"groups {self.groups}")
        return ", ".join(parts)


def of_input(shape: Shape) -> Field | None:
    """Of an input [n, c, ...]: a pixel sees itself; None for what is no map."""
    count = len(shape) - 2
    if count < 1:
        return None
    return Field((1,) * count, (1,) * count, tuple(range(2, 2 + count)))


def window(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Window | None:
    """The window of a call of torch's conv*d, conv_transpose*d, *_pool*d; None for other functions."""
    names = _SIGNATURES.get(name.rstrip("0123456789d"))
    if names is None or not name.endswith("d") or name[-2:-1] not in ("1", "2", "3"):
        return None
    rank = int(name[-2])
    given = {**dict(zip(names, args, strict=False)), **kwargs}

    def axes(key: str, default: Any) -> Shape:
        value = given.get(key)
        value = default if value is None or value == [] or value == () else value
        values = (value,) if isinstance(value, int) else tuple(map(int, value))
        return values * rank if len(values) == 1 else values

    if "weight" in names:
        kernel = tuple(given["weight"].shape[2:])
        transposed = "transpose" in name
        groups = int(given.get("groups", 1))
        return Window(kernel, axes("stride", 1), axes("dilation", 1), groups, transposed)
    kernel = axes("kernel_size", 1)
    return Window(kernel, axes("stride", kernel), axes("dilation", 1))


_SIGNATURES: dict[str, tuple[str, ...]] = {
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose": (
        "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
    ),
    "max_pool": ("input", "kernel_size", "stride", "padding", "dilation"),
    "avg_pool": ("input", "kernel_size", "stride", "padding"),
    "lp_pool": ("input", "norm_type", "kernel_size", "stride"),
}  # fmt: skip

_MOVES = frozenset(
    ["view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"]
)
_CROPS = frozenset(
    ["__getitem__", "chunk", "split", "narrow", "pad", "constant_pad_nd", "zero_pad2d"]
)
_MIXES = frozenset(
    [
        *(
            "linear",
            "matmul",
            "__matmul__",
            "bmm",
            "mm",
            "addmm",
            "baddbmm",
            "einsum",
            "unfold",
            "fold",
        ),
        *("multi_head_attention_forward", "scaled_dot_product_attention"),
    ]
)


def propagate(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    operands: Sequence[tuple[Shape, Field | None]],
    out: Shape,
) -> Field | None:
    """The field of a call's result: `operands` are its tensors that depend on an input, `out` the result's shape."""
    known = [(shape, field) for shape, field in operands if field is not None]
    if not known:
        return None
    shape, field = next(((s, f) for s, f in known if _fits(s, f, out)), known[0])
    size = tuple(max(sizes) for sizes in zip(*(f.size for _, f in known), strict=False))
    field = replace(field, size=size)
    found = window(name, args, kwargs)
    if found is not None and field.is_map:
        return _windowed(field, found)
    if name in ("permute", "transpose", "movedim", "swapaxes", "mT", "T"):
        return _moved(name, args, kwargs, field, len(out))
    if name in _MOVES:
        return _reshaped(shape, field, out)
    if name in _CROPS:
        kept = len(out) == len(shape)
        return field if kept else _reshaped(shape, field, out)
    if name in _MIXES:
        pointwise = name == "linear" and field.is_map and len(shape) - 1 not in field.axes
        whole = (WHOLE,) * len(size)
        return field if pointwise else Field(whole, *_where(shape, field, out))
    return _by_sizes(name, kwargs, shape, field, out)


def _fits(shape: Shape, field: Field, out: Shape) -> bool:
    same_rank = field.is_map and len(shape) == len(out)
    return same_rank and all(shape[a] == out[a] for a in field.axes)


def _windowed(field: Field, window: Window) -> Field:
    sizes, steps = [], []
    taps = zip(window.kernel, window.stride, window.dilation, strict=True)
    for size, step, (k, s, d) in zip(field.size, field.step, taps, strict=False):
        reach = d * (k - 1)
        if window.transposed:  # taps that meet one output pixel are s apart
            sizes.append(size + reach // s * step)
            steps.append(step / s)
        else:
            sizes.append(size + reach * step)
            steps.append(step * s)
    return Field(tuple(sizes), tuple(steps), field.axes)


def _by_sizes(
    name: str, kwargs: Mapping[str, Any], shape: Shape, field: Field, out: Shape
) -> Field:
    """What the change of sizes says: the same positions, resampled ones, or none."""
    if not field.is_map or _fits(shape, field, out):
        return field
    if len(shape) != len(out):
        gone = tuple((WHOLE,) * len(field.size))
        return Field(gone) if len(out) < len(shape) else replace(field, step=(), axes=())
    sizes, steps = [], []
    for size, step, axis in zip(field.size, field.step, field.axes, strict=True):
        i, o = shape[axis], max(out[axis], 1)
        taps = _TAPS.get(str(kwargs.get("mode", "nearest")), 1) if o > i else -(-i // o)
        if o == 1 and i > 1:
            return Field((WHOLE,) * len(field.size))
        if name == "pixel_shuffle" or name == "pixel_unshuffle":
            taps = 1 if o >= i else i // o
        sizes.append(size + (taps - 1) * step)
        steps.append(step * i / o)
    return Field(tuple(sizes), tuple(steps), field.axes)


_TAPS = {"nearest": 1, "nearest-exact": 1, "bilinear": 2, "linear": 2, "trilinear": 2, "bicubic": 4}


def _moved(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], field: Field, rank: int
) -> Field:
    order = list(range(rank))
    dims = list(args[1:]) or list(kwargs.values())
    flat = [d for dim in dims for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if name == "permute":
        order = [d % rank for d in flat]
    elif name in ("transpose", "swapaxes") and len(flat) == 2:
        a, b = (d % rank for d in flat)
        order[a], order[b] = b, a
    else:
        return replace(field, step=(), axes=())
    return replace(field, axes=tuple(order.index(a) for a in field.axes))


def _where(shape: Shape, field: Field, out: Shape) -> tuple[tuple[float, ...], tuple[int, ...]]:
    moved = _reshaped(shape, field, out)
    return moved.step, moved.axes


def _reshaped(shape: Shape, field: Field, out: Shape) -> Field:
    """Positions survive where the spatial axes stand side by side in the new shape, as much before them as before."""
    if not field.is_map:
        return field
    first, count = field.axes[0], len(field.axes)
    sizes = shape[first : first + count]
    if field.axes == tuple(range(first, first + count)):
        before = math.prod(shape[:first])
        for start in range(len(out) - count + 1):
            if out[start : start + count] == sizes and math.prod(out[:start]) == before:
                return replace(field, axes=tuple(range(start, start + count)))
    return replace(field, step=(), axes=())


def shape_of(x: Tensor) -> Shape:
    """The sizes as plain ints."""
    return tuple(map(int, x.shape))
