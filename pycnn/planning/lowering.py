"""A plan under construction: its steps, and where their operands lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pycnn.ir import Node, Shapes, TensorTable
from pycnn.planning import params as fields
from pycnn.planning.homes import Home, Homes, Rows, same_memory
from pycnn.planning.params import Params
from pycnn.planning.segments import Segment
from pycnn.planning.step import Step
from pycnn.planning.target import Target
from pycnn.planning.weights import Weights

Pins = Mapping[tuple[int, str], str]  # (value a node makes, op) -> the kernel to take where it can


@dataclass
class Lowering:
    """What the lowering of each op (lower_ops.py) adds its steps to."""

    segment: Segment
    shapes: Shapes
    homes: Homes
    tensors: TensorTable
    weights: Weights
    target: Target
    steps: list[Step] = field(default_factory=list)
    weighted: list[int] = field(default_factory=list)  # indices of steps that read packed weights
    converted: dict[int, Home] = field(default_factory=dict)  # NCHW inputs copied to NHWC
    constants: list[Tensor] = field(default_factory=list)  # plans hold on to them by address
    extra: int = 0
    images: int = 1
    one: tuple[Shapes, Target] | None = None  # those within sections
    pins: Pins = field(default_factory=dict)
    copies: bool = False  # an NCHW input is copied even where a convolution could read it
    averaged: frozenset[int] = frozenset()  # whose mean is taken in the stretch being lowered
    means: dict[int, Home] = field(default_factory=dict)  # of rows, left by what made such a value

    @contextmanager
    def section(self, images: int) -> Iterator[None]:
        """Steps added within are those of one image, run by one worker."""
        whole = self.shapes, self.target, self.converted
        if self.one is None:  # a plan has tens of sections, all of as many images
            one = {v: (1, *s[1:]) if s[:1] == (images,) else s for v, s in whole[0].items()}
            self.one = one, replace(self.target, threads=1)
        self.shapes, self.target = self.one
        self.converted, self.images = dict(self.converted), images
        yield
        self.shapes, self.target, self.converted = whole
        self.images = 1

    def emit(
        self,
        op: str,
        node: Node,
        params: Params,
        x: Home,
        y: Home,
        residual: Home | None = None,
        weighted: bool = False,
        third: Home | None = None,
    ) -> None:
        params = self.target.complete(op, params)
        kernel = self.pins.get((node.outputs[0], op))
        if kernel is None or not self.target.takes(op, kernel, params, x.offset):
            kernel = self.target.choose(op, params, x.offset)
        if weighted:
            self.weighted.append(len(self.steps))
        self.steps.append(Step(op, kernel, params, node, x, y, residual, third, images=self.images))

    def pack(self) -> None:
        """Give the steps their weights: all at once, for several threads to share the work."""
        wanted = [
            (s.node, s.op, s.kernel, s.params) for s in map(self.steps.__getitem__, self.weighted)
        ]
        for at, packed in zip(
            self.weighted, self.weights.get_all(wanted, self.target.threads), strict=True
        ):
            self.steps[at] = replace(self.steps[at], packed=packed)

    def constant(self, value: float) -> Home:
        """One element of memory with that value."""
        held = self.target.operand(torch.tensor([value], dtype=torch.float32))
        self.constants.append(held)
        return Home("const", held.data_ptr(), 1)

    def buffer(self, floats: int, ld: int) -> Home:
        """A fresh arena buffer that belongs to no value."""
        return Home("arena", self.fresh(floats), ld)

    def fresh(self, floats: int) -> int:
        """The key of such a buffer."""
        self.extra += 1
        self.homes.buffers[-self.extra] = floats
        return -self.extra

    def nhwc(self, value: int, node: Node) -> Home:
        """The value's home, an NCHW input copied once."""
        home = self.homes[value]
        if not home.nchw:
            return home
        if value not in self.converted:
            shape = self.shapes[value]
            ld = self.target.pixel_stride(shape[1])
            made = replace(self.buffer(Rows.of(shape).count * ld, ld), image=Rows.image(shape) * ld)
            self.emit("layout", node, fields.layout(shape, False, ld), home, made)
            self.converted[value] = made
        return self.converted[value]

    def deliver(self, index: int, value: int, channels_last: bool) -> None:
        """The last copy of an output that does not lie in its tensor yet."""
        home, shape = self.homes[value], self.shapes[value]
        node = next(n for n in self.segment.nodes if value in n.outputs)
        if home.kind == "output" and home.index == index:
            return
        rows = Rows.of(shape)
        target = Home("output", index, rows.c, image=Rows.image(shape) * rows.c)
        if len(shape) == 4 and not channels_last and not same_memory(shape):
            self.emit("layout", node, fields.layout(shape, True, home.ld), home, target)
        else:
            self.emit("concat", node, fields.rows(shape, home, target), home, target)
