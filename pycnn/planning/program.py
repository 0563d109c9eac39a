"""A graph made runnable: C++ plans for its segments, torch for the rest, built when a shape is first seen."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pycnn import _C
from pycnn.ir import (
    Const,
    Graph,
    Op,
    Shape,
    Shapes,
    Source,
    Torch,
    infer_shapes,
    resolve,
    resolve_value,
    run_op,
    run_torch_op,
)
from pycnn.planning.formats import is_channels_last, strided
from pycnn.planning.homes import same_memory
from pycnn.planning.lower import Lowered, lower
from pycnn.planning.segments import Item, Segment, TorchStep, split
from pycnn.planning.settings import Settings
from pycnn.planning.weights import Weights

Key = tuple[Any, ...]
KEPT_SHAPES = 64  # plans kept a segment; the oldest goes first


@dataclass(frozen=True)
class Call:
    """What a direct call needs: one segment from one tensor to one tensor."""

    lowered: Lowered
    like: (
        Tensor  # of the output's shape, dtype and strides: empty_like takes half the time of empty
    )

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.empty_like(self.like)
        self.lowered.plan.run_single(x.data_ptr(), y.data_ptr())
        return y


@dataclass(frozen=True)
class Situation:
    """What one set of input shapes decides: every value's shape, and which nodes kernels run."""

    key: tuple[Shape, ...]
    shapes: Shapes
    items: tuple[Item, ...]

    @property
    def all_kernels(self) -> bool:
        return all(isinstance(item, Segment) for item in self.items)


class Program:
    """Runs one graph for any shapes it holds for. Thread-safe; weights are fixed at construction."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        threads: int | None = None,
        exact: bool = False,
        batch_invariant: bool = False,
    ) -> None:
        self.graph = graph
        self.weights = weights
        self._asked = (threads, exact, batch_invariant)
        self._situations: dict[tuple[Shape, ...], Situation] = {}
        self._plans: dict[Key, Lowered] = {}
        self._lock = threading.RLock()

    def with_weights(self, weights: Weights) -> Program:
        """The same graph over other packed weights; plans are made again."""
        return Program(self.graph, weights, *self._asked)

    def settings(self) -> Settings:
        """Those of a plan made now; threads: torch's setting, or the caller's, within the usable cores."""
        asked, exact, batch_invariant = self._asked
        wanted = torch.get_num_threads() if asked is None else asked
        threads = max(1, min(wanted, int(_C.machine()["cores"])))
        return Settings(threads, exact, batch_invariant)

    def at(self, inputs: Sequence[Tensor]) -> Situation:
        """What holds for inputs of these shapes; ShapeError if the graph does not."""
        key = tuple(tuple(x.shape) for x in inputs)
        found = self._situations.get(key)
        if found is None:
            shapes = infer_shapes(self.graph, key)
            found = Situation(key, shapes, split(self.graph, shapes))
            with self._lock:
                self._situations[key] = found
                _trim(self._situations)
        return found

    def run(self, inputs: Sequence[Tensor]) -> Any:
        """The model's result for its tensor inputs in graph order."""
        now = self.at(inputs)
        shapes = now.shapes
        env = dict(zip(self.graph.inputs, inputs, strict=True))
        for item in now.items:
            if isinstance(item, TorchStep):
                op = resolve(item.node.op, shapes)
                results = _run_torch(op, [env[v] for v in item.node.inputs], self.graph)
                env.update(zip(item.node.outputs, results, strict=True))
            else:
                env.update(self._run_segment(item, env, now))
        leaves = [self._leaf(leaf, env, shapes) for leaf in self.graph.outputs]
        return self.graph.output_tree.unflatten(leaves)

    def call_for(self, x: Tensor) -> Call | None:
        """A direct call, where the whole graph is one segment from one tensor to one."""
        now = self.at([x])
        if len(now.items) != 1 or not isinstance(now.items[0], Segment):
            return None
        segment = now.items[0]
        single = segment.inputs == self.graph.inputs and segment.outputs == self.graph.outputs
        if not (single and len(segment.inputs) == 1 and self.graph.output_tree.is_leaf):
            return None
        if readable(x) is not x:
            return None
        lowered = self.lowered(segment, [x], now)
        shape = lowered.output_shapes[0]
        with torch.inference_mode(False):
            like = _fresh(shape, strided(shape, lowered.output_channels_last[0]))
        return Call(lowered, like)

    def lowered(self, segment: Segment, inputs: Sequence[Tensor], now: Situation) -> Lowered:
        """The segment's plan for tensors that `readable` gave."""
        settings = self.settings()
        formats = tuple((is_nchw(x), is_channels_last(x)) for x in inputs)
        key = (now.key, segment.outputs, settings, formats)
        with self._lock:
            found = self._plans.get(key)
            if found is None:
                nchw = {v: f[0] for v, f in zip(segment.inputs, formats, strict=True)}
                last = {v: f[1] for v, f in zip(segment.inputs, formats, strict=True)}
                tensors, pool = self.graph.tensors, now.all_kernels
                found = lower(
                    segment, now.shapes, nchw, last, tensors, self.weights, settings, pool
                )
                self._plans[key] = found
                _trim(self._plans)
        return found

    def _run_segment(
        self, segment: Segment, env: dict[int, Tensor], now: Situation
    ) -> dict[int, Tensor]:
        inputs = [readable(env[v]) for v in segment.inputs]
        lowered = self.lowered(segment, inputs, now)
        pairs = zip(lowered.output_shapes, lowered.output_channels_last, strict=True)
        outputs = [_fresh(s, strided(s, last)) for s, last in pairs]
        lowered.plan.run([x.data_ptr() for x in inputs], [y.data_ptr() for y in outputs])
        return dict(zip(segment.outputs, outputs, strict=True))

    def _leaf(self, leaf: Any, env: dict[int, Tensor], shapes: Shapes) -> Any:
        if isinstance(leaf, Const):
            return resolve_value(leaf.value, shapes)
        return self.graph.tensors[leaf] if isinstance(leaf, Source) else env[leaf]


def _run_torch(op: Op, inputs: list[Tensor], graph: Graph) -> list[Tensor]:
    if isinstance(op, Torch):
        return run_torch_op(op, inputs, graph.tensors.__getitem__)
    return [run_op(op, inputs, graph.tensors)]


def _fresh(shape: Shape, memory_format: torch.memory_format) -> Tensor:
    """An output tensor, whatever torch's default dtype and device are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=memory_format)


def is_nchw(x: Tensor) -> bool:
    """Contiguous NCHW whose bytes are not NHWC's too."""
    return x.dim() == 4 and x.is_contiguous() and not same_memory(tuple(x.shape))


def readable(x: Tensor) -> Tensor:
    """x itself where a plan reads its memory as it is (contiguous NCHW or NHWC), else a contiguous copy."""
    if x.is_neg():
        x = x.resolve_neg()
    if x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    fmt = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return x.contiguous(memory_format=fmt)


def _trim(cache: dict[Any, Any]) -> None:
    while len(cache) > KEPT_SHAPES:
        del cache[next(iter(cache))]
