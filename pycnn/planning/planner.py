"""The plans of a graph's segments: made when a shape is first seen, measured where that is asked for, kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from pycnn.ir import TensorTable
from pycnn.planning.formats import formats_of
from pycnn.planning.kept import KEPT_SHAPES, KeptPlans, packed
from pycnn.planning.limit import Thrift
from pycnn.planning.lower import Lowered, lower
from pycnn.planning.segments import Segment
from pycnn.planning.situation import Situation
from pycnn.planning.sketch import Given
from pycnn.planning.target import Target
from pycnn.planning.tune import tune
from pycnn.planning.weights import Weights
from pycnn.waiting import waiting

Key = tuple[Any, ...]


class Planner:
    """One thread plans at a time; those whose plan is there do not wait. Segment inputs are what `readable` gave."""

    def __init__(
        self,
        tensors: TensorTable,
        weights: Weights,
        target: Callable[[], Target],
        memory_limit: int | None,
    ) -> None:
        """The arguments are those of Program; `tensors`: of the graph."""
        self._tensors, self._weights, self._target = tensors, weights, target
        self._memory_limit = memory_limit
        self._kept = KeptPlans()
        self._tuned: set[Key] = set()
        self._planning, self._lock = threading.RLock(), threading.Lock()  # `_lock`: look-ups alone

    def lowered(self, segment: Segment, inputs: Sequence[Tensor], now: Situation) -> Lowered:
        """The segment's plan; MemoryLimitError where it would need more."""
        target = self._target()
        key = _key(segment, inputs, now, target)
        with self._lock:
            found = self._kept.find(key)
        if found is not None:
            return found
        with self._planning:
            with self._lock:
                found = self._kept.find(key)  # another thread's, made meanwhile
            if found is None:
                limit = self._memory_limit
                thrift = None if limit is None else Thrift(limit, now.outside(segment))
                found = lower(self.given(segment, inputs, now, target), thrift)
                with self._lock:
                    if self._kept.keep(key, found, KEPT_SHAPES * len(now.items)):
                        self._weights.keep_only([t for plan in self._kept for t in packed(plan)])
        return found

    def keeps(self, lowered: Lowered) -> bool:
        """Whether it is among the plans kept."""
        with self._lock:
            return any(plan is lowered for plan in self._kept)

    def observable(self, segment: Segment, inputs: Sequence[Tensor], now: Situation) -> Lowered:
        """A plan of the same kernels over the same weights, in which every value stays in memory."""
        given = self.given(segment, inputs, now, self._target())
        return lower(replace(given, pins=self.lowered(segment, inputs, now).kernels()), None, True)

    def given(
        self, segment: Segment, inputs: Sequence[Tensor], now: Situation, target: Target
    ) -> Given:
        """What a plan of the segment is made for."""
        formats = dict(zip(segment.inputs, map(formats_of, inputs), strict=True))
        nchw, last = ({v: f[i] for v, f in formats.items()} for i in (0, 1))
        pool = now.all_kernels
        return Given(segment, now.shapes, nchw, last, self._tensors, self._weights, target, pool)

    def tune(self, segment: Segment, inputs: list[Tensor], now: Situation) -> None:
        """Have the kernels of the segment's steps measured, once."""
        target = self._target()
        key = _key(segment, inputs, now, target)
        if key in self._tuned or target.table is None:
            return
        weights = self._weights.without(set())  # what the trials pack goes with them

        def run(lowered: Lowered) -> list[int]:
            outputs = lowered.fresh_outputs()
            return lowered.target.times(lowered.plan, lowered.steps, lowered.parts, inputs, outputs)

        def variant(of: Target) -> Lowered:
            return lower(replace(self.given(segment, inputs, now, of), weights=weights))

        with self._planning, waiting("measuring kernels") as progress:
            if key in self._tuned:  # by another thread, meanwhile
                return
            tune(variant, run, target, target.table, progress)
            with self._lock:
                self._tuned.add(key)
                self._kept.drop(key)


def _key(segment: Segment, inputs: Sequence[Tensor], now: Situation, target: Target) -> Key:
    return now.key, segment.outputs, target, tuple(map(formats_of, inputs))
