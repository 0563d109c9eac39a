"""A graph made runnable: C++ plans for its segments, torch for the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pycnn import _C
from pycnn.ir import (
    Const,
    Graph,
    Op,
    Shape,
    Shapes,
    Source,
    TensorTable,
    Torch,
    infer_shapes,
    resolve_value,
    run_op,
    run_torch_op,
)
from pycnn.planning.call import Call
from pycnn.planning.formats import readable, strided
from pycnn.planning.fused import fused
from pycnn.planning.kept import KEPT_SHAPES
from pycnn.planning.limit import MemoryLimitError
from pycnn.planning.lower import Lowered
from pycnn.planning.planner import Planner
from pycnn.planning.segments import Item, Segment, TorchStep, split
from pycnn.planning.situation import Situation, situation
from pycnn.planning.sketch import sketched
from pycnn.planning.target import Target
from pycnn.planning.weights import Weights

Key = tuple[Any, ...]
Values = dict[int, Tensor]
OnSegment = Callable[[Segment, list[Tensor], "Situation"], Values]
OnTorch = Callable[[TorchStep, list[Tensor], "Situation"], Values]


class Program:
    """Runs one graph for any shapes it holds for. Thread-safe; weights are fixed at construction."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        target: Callable[[], Target],
        tunes: bool = False,
        promoted: frozenset[str] = frozenset(),
        memory_limit: int | None = None,
    ) -> None:
        """`target`: tells what a plan made now is for; its device and dtype are always the same. `tunes`: the first
        call of a plan measures the kernels of its steps. `promoted`: modules whose layers are computed in fp32.
        `memory_limit`: bytes of a call's values and workspaces."""
        self.graph = graph
        self.weights = weights
        self.target = target if memory_limit is None else lambda: target().divisible()
        self._tunes, self._promoted, self._memory_limit = tunes, promoted, memory_limit
        self._within: dict[Key, None] = {}  # calls whose plans are known to keep within the limit
        self._situations: dict[tuple[Shape, ...], Situation] = {}
        self.planner = Planner(graph.tensors, weights, self.target, memory_limit)
        self._lock = threading.Lock()

    def with_weights(self, weights: Weights) -> Program:
        """The same graph over other packed weights; plans are made again."""
        asked = self._tunes, self._promoted, self._memory_limit
        return Program(self.graph, weights, self.target, *asked)

    def at(self, inputs: Sequence[Tensor]) -> Situation:
        """What holds for inputs of these shapes; ShapeError if the graph does not."""
        key = tuple(tuple(x.shape) for x in inputs)
        found = self._situations.get(key)
        if found is None:
            shapes, target = infer_shapes(self.graph, key), self.target()
            items = split(self.graph, shapes, target.dtype, target.without, self._promoted)
            found = situation(self.graph, key, shapes, [self._fused(i, shapes) for i in items])
            with self._lock:
                self._situations[key] = found
                _trim(self._situations, KEPT_SHAPES)
        return found

    def _fused(self, item: Item, shapes: Shapes) -> Item:
        target = self.target()
        if isinstance(item, TorchStep) or not target.fusing:
            return item
        return fused(item, shapes, self.graph.tensors, target)

    def run(self, inputs: Sequence[Tensor], replay: bool = True) -> Any:
        """The model's result for its tensor inputs in graph order. MemoryLimitError before anything runs. `replay`: as
        for Target.run."""
        if self._memory_limit is not None:
            self._keep_within(inputs)
        return self.walk(inputs, partial(self._run_segment, replay=replay), self.run_torch)

    def walk(
        self,
        inputs: Sequence[Tensor],
        on_segment: OnSegment,
        on_torch: OnTorch,
        readable: Callable[[Tensor], Tensor] | None = None,
    ) -> Any:
        """As `run`, with the segments and torch steps run by the functions given, on what `readable` or the target's
        makes of their inputs."""
        now, readable = self.at(inputs), readable or self.target().readable
        env = dict(zip(self.graph.inputs, inputs, strict=True))
        for item, spent in zip(now.items, now.spent, strict=True):
            given = [env[v] for v in item.inputs]
            if isinstance(item, TorchStep):
                given = given if item.promoted else self._cast(item.inputs, given)
                env.update(on_torch(item, given, now))
            else:
                given = self._cast(item.inputs, given)
                env.update(on_segment(item, [*map(readable, given)], now))
            for v in spent:
                del env[v]
        leaves = [self._leaf(leaf, env, now.shapes) for leaf in self.graph.outputs]
        return self.graph.output_tree.unflatten(leaves)

    def _cast(self, values: Sequence[int], tensors: list[Tensor]) -> list[Tensor]:
        """What promoted steps left in fp32, as the graph has it."""
        if not self._promoted:
            return tensors
        pairs = zip(values, tensors, strict=True)
        return [x.to(self.graph.dtypes[v]) for v, x in pairs]

    def call_for(self, x: Tensor) -> Call | None:
        """A direct call, where the whole graph is one segment from one tensor to one."""
        now = self.at([x])
        if len(now.items) != 1 or not isinstance(now.items[0], Segment):
            return None
        segment = now.items[0]
        single = segment.inputs == self.graph.inputs and segment.outputs == self.graph.outputs
        if not (single and len(segment.inputs) == 1 and self.graph.output_tree.is_leaf):
            return None
        if self.target().readable(x) is not x:
            return None
        lowered = self.planner.lowered(segment, [x], now)
        shape, plan = lowered.output_shapes[0], lowered.plan
        if lowered.target.lends(shape):
            return Call(lowered)
        with torch.inference_mode(False):
            like = lowered.target.fresh(shape, lowered.output_channels_last[0])
        return Call(lowered, like, plan if isinstance(plan, _C.Plan) else None)

    def keeps(self, lowered: Lowered) -> bool:
        """Whether it is among the plans kept."""
        return self.planner.keeps(lowered)

    def _keep_within(self, inputs: Sequence[Tensor]) -> None:
        """MemoryLimitError where a call with these inputs would not."""
        key = self.at(inputs).key, self.target(), tuple(x.stride() for x in inputs)
        if key not in self._within:
            self.plans(inputs)
            with self._lock:
                self._within[key] = None
                _trim(self._within, KEPT_SHAPES)

    def plans(self, inputs: Sequence[Tensor]) -> list[Lowered]:
        """The plans of all segments, in order; torch tells the formats of its own tensors without computing them.
        MemoryLimitError: with what the most demanding item needs."""
        found: list[Lowered] = []
        needs, fake = [0], FakeTensorMode(allow_non_fake_inputs=True)

        def on_segment(segment: Segment, given: list[Tensor], now: Situation) -> Values:
            try:
                found.append(self.planner.lowered(segment, given, now))
                last = found[-1].output_channels_last
            except MemoryLimitError as error:
                needs.append(error.needed)
                outputs = sketched(self.planner.given(segment, given, now, self.target())).outputs
                last = tuple(channels_last for _, channels_last in outputs)
            formats = zip(segment.outputs, last, strict=True)
            with fake:
                return {v: _stand_in(now.shapes[v], channels_last) for v, channels_last in formats}

        def on_torch(step: TorchStep, given: list[Tensor], now: Situation) -> Values:
            needs.append(now.between[now.items.index(step)])
            with fake:
                try:
                    return self.run_torch(step, given, now)
                except Exception:  # it needs numbers
                    return {v: _stand_in(now.shapes.get(v, ()), False) for v in step.outputs}

        self.walk([fake.from_tensor(x) for x in inputs], on_segment, on_torch, readable)
        if self._memory_limit is not None and max(needs) > self._memory_limit:
            raise MemoryLimitError(self._memory_limit, max(needs))
        return found

    def _run_segment(
        self, segment: Segment, inputs: list[Tensor], now: Situation, replay: bool
    ) -> Values:
        if self._tunes:
            self.planner.tune(segment, inputs, now)
        lowered = self.planner.lowered(segment, inputs, now)
        outputs = lowered.fresh_outputs()
        lowered.target.run(lowered.plan, inputs, outputs, replay)
        return dict(zip(segment.outputs, outputs, strict=True))

    def run_torch(self, step: TorchStep, inputs: list[Tensor], now: Situation) -> Values:
        """The values of a step that torch runs."""
        tensors = self.graph.tensors
        if step.promoted:
            inputs = [x.float() if x.is_floating_point() else x for x in inputs]
            tensors = tensors.cast(torch.float32)
        results = _run_torch(step.node.op, inputs, tensors)
        return dict(zip(step.node.outputs, results, strict=True))

    def _leaf(self, leaf: Any, env: dict[int, Tensor], shapes: Shapes) -> Any:
        if isinstance(leaf, Const):
            return resolve_value(leaf.value, shapes)
        if isinstance(leaf, Source):
            return self.graph.tensors[leaf]
        return self._cast([leaf], [env[leaf]])[0]


def _run_torch(op: Op, inputs: list[Tensor], tensors: TensorTable) -> list[Tensor]:
    if isinstance(op, Torch):
        return run_torch_op(op, inputs, tensors.__getitem__)
    return [run_op(op, inputs, tensors)]


def _stand_in(shape: Shape, channels_last: bool) -> Tensor:
    return torch.empty(shape, memory_format=strided(shape, channels_last))


def _trim(cache: dict[Any, Any], kept: int) -> None:
    while len(cache) > kept:
        del cache[next(iter(cache))]
