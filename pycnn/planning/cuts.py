"""How one step is made in parts: image by image, or band of rows by band of rows.

A part of a step is the same kernel over a smaller problem whose operands begin further on. What a kernel computes for a
pixel does not depend on how many others it is given, as long as a tile of Winograd's begins where it would: bands begin
and end at multiples of `align` rows, or at the map's end, so that the bits are those of the undivided step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pycnn.ir import Arith, Concat, Shape, Shapes, Source
from pycnn.planning.movement import MAX_AXES
from pycnn.planning.params import Params
from pycnn.planning.step import Step, operands

Range = tuple[int, int]
_TILE = 4  # rows of a tile of Winograd's F(4x4, 3x3); those of F(2x2, 3x3) divide it
_ONE_PIXEL = {"kh": 1, "sh": 1, "ph": 0, "dh": 1}
_PIXELS = ("elementwise", "add_act", "concat", "layer_norm", "local_response_norm", "softmax")
_COUNTED = (  # ops whose parameter n is the number of images
    *(
        "conv2d",
        "conv2d_pool",
        "conv2d_layer_norm",
        "mlp",
        "inverted_residual",
        "conv_transpose2d",
        "pool2d",
        "global_pool",
        "upsample",
        "group_norm",
    ),
    *("attention", "layout", "arith"),
)


@dataclass(frozen=True)
class Cut:
    """A step in parts of its result, counted in units: images, or rows of a map.

    Attributes:
        total: units of the result; parts begin and end at multiples of `align`, or at the end.
        reads: units of x that a range of the result needs. part: the parameters of that range.
        units: elements from one unit to the next of x, residual, third and y; 0: read whole by every part.
    """

    total: int
    align: int
    reads: Callable[[int, int], Range]
    part: Callable[[int, int], Params]
    units: tuple[int, int, int, int]


def _same(a: int, b: int) -> Range:
    return a, b


def by_images(step: Step, shapes: Shapes, images: int) -> Cut | None:
    """In whole images; None: they are not apart in it."""
    op, p, node = step.op, step.params, step.node
    values = (*node.inputs, *node.outputs)
    if any(shapes[v][:1] != (images,) for v in values) or step.images > 1:
        return None
    if isinstance(node.op, Concat) and node.op.dim == 0:
        return None
    if isinstance(node.op, Arith) and isinstance(node.op.other, Source) and p.get("bn"):
        return None  # a learned operand of several images
    count = "m" if op == "linear" else "pixels" if op in _PIXELS else "n"
    if op not in (*_COUNTED, *_PIXELS, "linear") or p.get(count, 1) % images:
        return None
    if count == "n" and p.get("n", 1) != images:
        return None
    each = int(p[count]) // images
    units = tuple(0 if home is None else home.image for home in operands(step))
    if any(home is not None and not unit for home, unit in zip(operands(step), units, strict=True)):
        return None

    def part(a: int, b: int) -> Params:
        return {**p, count: (b - a) * each}

    x, residual, third, y = units
    return Cut(images, 1, _same, part, (x, residual, third, y))


def by_rows(step: Step, shapes: Shapes) -> Cut | None:
    """One image in bands of rows; None: its rows are not apart, or do not lie so."""
    node, p = step.node, step.params
    shape, out = shapes[node.inputs[0]], shapes[node.outputs[0]]
    if len(shape) != 4 or len(out) != 4 or out[0] != 1 or step.images > 1 or p.get("n", 1) != 1:
        return None
    if p.get("x_nchw"):
        return _of_planes(step)
    if step.x.nchw:
        return None
    if step.op in ("conv2d", "conv2d_means"):
        return _windows(step, _TILE * int(p.get("dh", 1)))
    if step.op == "pool2d":
        # Padding that counts in a mean is the same above and below, which that of a band is not.
        counted = p["mode"] == 1 and p["count_include_pad"] and p["ph"]
        return None if p["mode"] > 1 or counted else _windows(step, 1)
    if step.op == "conv_transpose2d":
        return _spread(step)
    if step.op == "rearrange":
        return _moved(step, shape, out)
    if step.op in (*_PIXELS, "arith") and int(p["pixels"]) == out[2] * out[3]:
        return _pointwise(step, out)
    return None


def _rows(step: Step, x: int, residual: int, y: int) -> tuple[int, int, int, int]:
    """Elements between rows of x, residual, third and y, from pixels in a row of each; third: the means of y's rows, or
    read whole."""
    ldr = 0 if step.residual is None else step.residual.ld
    third = step.third.ld if step.third is not None and step.op == "conv2d_means" else 0
    return x * step.x.ld, residual * ldr, third, y * step.y.ld


def _windows(step: Step, align: int) -> Cut | None:
    p = _ONE_PIXEL | {name: int(value) for name, value in step.params.items()}
    stride, pad, reach, h = p["sh"], p["ph"], (p["kh"] - 1) * p["dh"] + 1, p["h"]

    def reads(a: int, b: int) -> Range:
        first, last = a * stride - pad, (b - 1) * stride - pad + reach
        return max(first, 0), min(last, h)

    def part(a: int, b: int) -> Params:
        low, high = reads(a, b)
        return {**step.params, "h": high - low, "oh": b - a, "ph": low - (a * stride - pad)}

    if (p["oh"] - 1) * stride - pad >= h or reach - pad < 1:
        return None  # the first or the last row sees padding alone
    return Cut(p["oh"], align, reads, part, _rows(step, p["w"], p["ow"], p["ow"]))


def _of_planes(step: Step) -> Cut:
    """A convolution that reads contiguous NCHW: every part sees the whole of x, from a row further down."""
    p = _ONE_PIXEL | {name: int(value) for name, value in step.params.items()}

    def part(a: int, b: int) -> Params:
        return {**step.params, "oh": b - a, "ph": p["ph"] - a * p["sh"]}

    return Cut(p["oh"], _TILE, lambda a, b: (0, p["h"]), part, _rows(step, 0, p["ow"], p["ow"]))


def _spread(step: Step) -> Cut | None:
    """A transposed convolution whose windows do not overlap."""
    p = {name: int(value) for name, value in step.params.items()}
    stride = p["sh"]
    if p["kh"] != stride or p["ph"] or p["dh"] != 1 or p["oh"] != p["h"] * stride:
        return None

    def reads(a: int, b: int) -> Range:
        return a // stride, -(-b // stride)

    def part(a: int, b: int) -> Params:
        return {**step.params, "h": (b - a) // stride, "oh": b - a}

    return Cut(p["oh"], stride, reads, part, _rows(step, p["w"], p["ow"], p["ow"]))


def _moved(step: Step, shape: Shape, out: Shape) -> Cut | None:
    """A movement within each row of x, which becomes one or several of y's: pixel shuffle."""
    rows, p = out[2] // shape[2], {name: int(value) for name, value in step.params.items()}
    x, y = shape[3] * step.x.ld, out[3] * step.y.ld
    axes = {i: (p[f"s{i}"], p[f"x{i}"], p[f"y{i}"]) for i in range(MAX_AXES)}
    found = [i for i, axis in axes.items() if axis == (shape[2], x, rows * y)]
    others = [axis for i, axis in axes.items() if i not in found]
    within = (
        sum((s - 1) * a for s, a, _ in others) < x
        and sum((s - 1) * b for s, _, b in others) < rows * y
    )
    if len(found) != 1 or out[2] != rows * shape[2] or not within:
        return None

    def reads(a: int, b: int) -> Range:
        return a // rows, -(-b // rows)

    def part(a: int, b: int) -> Params:
        return {**step.params, f"s{found[0]}": (b - a) // rows}

    return Cut(out[2], rows, reads, part, (x, 0, 0, y))


def _pointwise(step: Step, out: Shape) -> Cut | None:
    _, _, h, w = out
    repeated = step.op == "arith" and not step.params.get("bp")
    if step.op == "arith" and step.params.get("bp") and step.residual is None:
        return None  # a learned operand of the map's size

    def part(a: int, b: int) -> Params:
        return {**step.params, "pixels": (b - a) * w}

    return Cut(h, 1, _same, part, _rows(step, w, 0 if repeated else w, w))
