"""One segment, at one set of shapes and input formats, as a C++ plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from pycnn import _C
from pycnn.ir import (
    AdaptivePool2d,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    LayerNorm,
    Linear,
    Node,
    Pool2d,
    Shape,
    Shapes,
    TensorTable,
    Upsample,
    resolve,
)
from pycnn.planning import params as fields
from pycnn.planning.check import check
from pycnn.planning.formats import fresh, propagate, strided
from pycnn.planning.homes import (
    FLOAT,
    Home,
    Homes,
    Rows,
    assign,
    is_alias,
    pixel_stride,
    same_memory,
)
from pycnn.planning.memory import Block, Placement, place
from pycnn.planning.params import Params
from pycnn.planning.segments import Segment
from pycnn.planning.settings import Settings
from pycnn.planning.weights import Packed, Weights

_ONE_WORKER = 2e6  # multiply-adds below which waking a second thread costs more than it gives
Slot = tuple[str, int] | tuple[str, int, int]


@dataclass(frozen=True)
class Step:
    """One kernel call; homes say where its operands lie."""

    op: str
    kernel: str
    params: Params
    node: Node
    x: Home
    y: Home
    residual: Home | None = None
    packed: Packed | None = None


@dataclass(frozen=True)
class Lowered:
    """A runnable plan with what `explain` tells about it."""

    plan: _C.Plan
    steps: tuple[Step, ...]
    output_shapes: tuple[Shape, ...]
    output_channels_last: tuple[bool, ...]
    arena_bytes: int
    workers: int
    homes: Homes
    offsets: Mapping[int, int]  # arena key -> bytes

    def fresh_outputs(self) -> list[Tensor]:
        """Tensors for the plan to fill."""
        pairs = zip(self.output_shapes, self.output_channels_last, strict=True)
        return [fresh(shape, strided(shape, last)) for shape, last in pairs]


@dataclass
class _Lowering:
    segment: Segment
    shapes: Shapes
    homes: Homes
    tensors: TensorTable
    weights: Weights
    settings: Settings
    steps: list[Step] = field(default_factory=list)
    converted: dict[int, Home] = field(default_factory=dict)  # NCHW inputs copied to NHWC
    extra: int = 0

    def emit(
        self,
        op: str,
        node: Node,
        params: Params,
        x: Home,
        y: Home,
        residual: Home | None = None,
        weighted: bool = False,
    ) -> None:
        params = self.settings.complete(op, params)
        kernel = self.settings.choose(op, params)
        packed = self.weights.get(node, kernel, params) if weighted else None
        self.steps.append(Step(op, kernel, params, node, x, y, residual, packed))

    def buffer(self, floats: int, ld: int) -> Home:
        """A fresh arena buffer that belongs to no value."""
        self.extra += 1
        self.homes.buffers[-self.extra] = floats
        return Home("arena", -self.extra, ld)

    def nhwc(self, value: int, node: Node) -> Home:
        """The value's home, an NCHW input copied once."""
        home = self.homes[value]
        if not home.nchw:
            return home
        if value not in self.converted:
            shape = self.shapes[value]
            ld = pixel_stride(shape[1])
            made = self.buffer(Rows.of(shape).count * ld, ld)
            self.emit("layout", node, fields.layout(shape, False, ld), home, made)
            self.converted[value] = made
        return self.converted[value]

    def lower(self, node: Node) -> None:
        op = resolve(node.op, self.shapes)
        shape, y_shape = self.shapes[node.inputs[0]], self.shapes[node.outputs[0]]
        y = self.homes[node.outputs[0]]
        if is_alias(node, self.shapes) and self.homes.root(node.outputs[0]) != node.outputs[0]:
            return
        if isinstance(op, (Conv2d, BatchNorm)):
            self._conv2d(op, node, shape, y_shape, y)
        elif isinstance(op, Linear):
            x = self.homes[node.inputs[0]]
            params = fields.linear(op, shape, y_shape)
            self._dense("linear", node, params, x, y, op.has_residual)
        elif isinstance(op, AdaptivePool2d) and op.mode == "avg" and op.output_size == (1, 1):
            x = self.nhwc(node.inputs[0], node)
            self.emit("global_pool", node, {**fields.global_pool(shape), **_lds(x, y)}, x, y)
        elif isinstance(op, (Pool2d, AdaptivePool2d, Upsample)):
            x = self.nhwc(node.inputs[0], node)
            name = "upsample" if isinstance(op, Upsample) else "pool2d"
            self.emit(name, node, {**fields.windows(op, shape, y_shape), **_lds(x, y)}, x, y)
        elif isinstance(op, Add):
            x, r = (self.nhwc(v, node) for v in node.inputs)
            params = {**fields.rows(shape, x, y), "ldr": r.ld, **fields.act_fields(op)}
            self.emit("add_act", node, params, x, y, r)
        elif isinstance(op, Elementwise):
            x = self.nhwc(node.inputs[0], node)
            params = {**fields.rows(shape, x, y), **fields.act_fields(op)}
            self.emit("elementwise", node, params, x, y)
        elif isinstance(op, LayerNorm):
            x = self.homes[node.inputs[0]]
            params = {**fields.rows(shape, x, y), "eps": op.eps}
            self.emit("layer_norm", node, params, x, y, weighted=op.weight is not None)
        elif isinstance(op, Concat):
            self._concat(node, y)
        else:
            self._reshape(node, shape, y)

    def _conv2d(
        self, op: Conv2d | BatchNorm, node: Node, shape: Shape, y_shape: Shape, y: Home
    ) -> None:
        if isinstance(op, BatchNorm):
            params, residual = fields.batch_norm(shape), False
        else:
            params, residual = fields.conv2d(op, shape, y_shape, self.tensors), op.has_residual
        x = self.homes[node.inputs[0]]
        # A stem reads NCHW itself; more channels are worth one copy to NHWC.
        direct = x.nchw and params["c"] // params["groups"] < 8 and params["groups"] == 1
        if x.nchw and not direct:
            x = self.nhwc(node.inputs[0], node)
        self._dense("conv2d", node, {**params, "x_nchw": int(x.nchw)}, x, y, residual)

    def _dense(
        self, op: str, node: Node, params: Params, x: Home, y: Home, has_residual: bool
    ) -> None:
        residual = self.nhwc(node.inputs[1], node) if has_residual else None
        if residual is not None:
            params = {**params, "ldr": residual.ld}
        self.emit(op, node, {**params, **_lds(x, y)}, x, y, residual, weighted=True)

    def _concat(self, node: Node, y: Home) -> None:
        offset = 0
        for v in node.inputs:
            c = Rows.of(self.shapes[v]).c
            target = replace(y, offset=y.offset + offset)
            x = self.nhwc(v, node)
            if (x.kind, x.index, x.offset) != (target.kind, target.index, target.offset):
                self.emit("concat", node, fields.rows(self.shapes[v], x, target), x, target)
            offset += c

    def _reshape(self, node: Node, shape: Shape, y: Home) -> None:
        """The same elements in NCHW order as rows of another width; or an NCHW input as it is, in NHWC."""
        x, out = self.homes[node.inputs[0]], self.shapes[node.outputs[0]]
        if x.nchw and len(out) == 4:
            self.emit("layout", node, fields.layout(out, False, y.ld), x, y)
            return
        n = shape[0]
        width = Rows.of(shape).count * Rows.of(shape).c // n
        if len(shape) == 4 and not x.nchw:
            flat = y if y.ld == width else self.buffer(n * width, width)
            self.emit("layout", node, fields.layout(shape, True, x.ld), x, flat)
            if flat is y:
                return
            x = flat
        else:
            x = replace(x, ld=width if x.nchw else x.ld)
        self.emit("concat", node, {"pixels": n, "c": width, **_lds(x, y)}, x, y)

    def deliver(self, index: int, value: int, channels_last: bool) -> None:
        """The last copy of an output that does not lie in its tensor yet."""
        home, shape = self.homes[value], self.shapes[value]
        node = next(n for n in self.segment.nodes if value in n.outputs)
        if home.kind == "output" and home.index == index:
            return
        rows = Rows.of(shape)
        target = Home("output", index, rows.c)
        if len(shape) == 4 and not channels_last and not same_memory(shape):
            self.emit("layout", node, fields.layout(shape, True, home.ld), home, target)
        else:
            self.emit("concat", node, fields.rows(shape, home, target), home, target)


def _lds(x: Home, y: Home) -> Params:
    return {"ldx": x.ld, "ldy": y.ld}


def lower(
    segment: Segment,
    shapes: Shapes,
    nchw: Mapping[int, bool],
    channels_last: Mapping[int, bool],
    tensors: TensorTable,
    weights: Weights,
    settings: Settings,
    pool: bool,
    keep: bool = False,
) -> Lowered:
    """Choose kernels, place buffers, prove the placement, build the plan.

    `nchw`: which 4-d inputs are contiguous NCHW (the others are NHWC, pixels adjacent); `channels_last`: torch's memory
    format of each input. `pool`: run on our threads; else on OpenMP's. `keep`: no value's memory is used again.
    """
    formats = propagate(segment.nodes, channels_last, shapes, tensors)
    homes = assign(segment, shapes, formats, dict(nchw))
    work = _Lowering(segment, shapes, homes, tensors, weights, settings)
    for node in segment.nodes:
        work.lower(node)
    for i, v in enumerate(segment.outputs):
        work.deliver(i, v, formats[v])
    effort = sum(fields.multiplies(s.op, s.params) for s in work.steps)
    workers = settings.threads if effort >= _ONE_WORKER else 1
    placement = _placed(work.steps, homes, keep)
    plan = _build(segment, work.steps, placement, workers, pool)
    wanted = [(tuple(shapes[v]), formats[v]) for v in segment.outputs]
    return Lowered(
        plan,
        tuple(work.steps),
        tuple(s for s, _ in wanted),
        tuple(f for _, f in wanted),
        placement.total,
        workers,
        homes,
        placement.offsets,
    )


def _placed(steps: Sequence[Step], homes: Homes, keep: bool) -> Placement:
    """Offsets of the arena's buffers, proved; with `keep` each has bytes of its own."""
    spans: dict[int, list[int]] = {}
    for i, step in enumerate(steps):
        for home in (step.x, step.y, step.residual):
            if home is not None and home.kind == "arena":
                spans.setdefault(home.index, []).append(i)
    last = len(steps) - 1
    blocks = [
        Block(key, homes.buffers[key] * FLOAT, *((0, last) if keep else (at[0], at[-1])))
        for key, at in spans.items()
    ]
    placement = place(blocks)
    check(blocks, placement)
    return placement


def _build(
    segment: Segment, steps: Sequence[Step], placement: Placement, workers: int, pool: bool
) -> _C.Plan:
    workspace = max((_C.workspace(s.op, s.kernel, s.params, workers) for s in steps), default=0)
    plan = _C.Plan(
        placement.total, workspace * FLOAT, workers, len(segment.inputs), len(segment.outputs), pool
    )

    def slot(home: Home | None) -> Slot:
        if home is None:
            return ("none", 0)
        if home.kind == "arena":
            return ("arena", placement.offsets[home.index] + home.offset * FLOAT)
        return (home.kind, home.index, home.offset * FLOAT)

    none: Slot = ("none", 0)
    for s in steps:
        weight, bias = none, none
        if s.packed is not None:
            weight = ("const", s.packed.weight.data_ptr())
            if s.packed.bias is not None:
                bias = ("const", s.packed.bias.data_ptr())
        plan.add(s.op, s.kernel, s.params, slot(s.x), slot(s.residual), weight, bias, slot(s.y))
    return plan
