"""Timed rounds of one call: kernels by the C++ clock, torch steps and the whole by Python's, which is the same one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pycnn import _C
from pycnn.ir import Node
from pycnn.planning.lower import Lowered
from pycnn.planning.program import Program, Values
from pycnn.planning.segments import Segment, TorchStep
from pycnn.planning.shares import Share, joined, shares_of
from pycnn.planning.situation import Situation
from pycnn.planning.step import Step
from pycnn.planning.target import addresses
from pycnn.work import Work, work_of, work_of_torch

LEAST, MOST = 5, 1000  # rounds


@dataclass(frozen=True)
class Slot:
    """One step of the call: a kernel's, or torch's (`step` is None)."""

    node: Node
    step: Step | None
    work: Work
    workers: int


@dataclass
class Recorder:
    """Walks a program and notes when each step ran."""

    program: Program
    shares: list[Share] = field(default_factory=list)
    _slot: int = 0

    def round(self, inputs: list[Tensor]) -> list[Share]:
        """The shares of one call, in order of slots."""
        self.shares, self._slot = [], 0
        self.program.walk(inputs, self._segment, self._torch)
        return self.shares

    def _segment(self, segment: Segment, inputs: list[Tensor], now: Situation) -> Values:
        lowered = self.program.planner.lowered(segment, inputs, now)
        outputs = lowered.fresh_outputs()
        plan = _timed(lowered)
        times = plan.run_timed(addresses(inputs), addresses(outputs))
        self.shares += _apart(joined(shares_of(times, plan.workers), lowered.parts, self._slot))
        self._slot += len(lowered.steps)
        return dict(zip(segment.outputs, outputs, strict=True))

    def _torch(self, step: TorchStep, inputs: list[Tensor], now: Situation) -> Values:
        begin = time.perf_counter_ns()
        values = self.program.run_torch(step, inputs, now)
        self.shares.append(Share(self._slot, 0, begin, time.perf_counter_ns()))
        self._slot += 1
        return values


def _apart(shares: Iterable[Share]) -> Iterator[Share]:
    """In order of steps, each worker's one after the other: steps in bands of rows take turns."""
    ends: dict[int, int] = {}
    for share in shares:
        late = max(ends.get(share.worker, 0) - share.begin, 0)
        ends[share.worker] = share.end + late
        yield replace(share, begin=share.begin + late, end=share.end + late)


def _timed(lowered: Lowered) -> _C.Plan:
    if not isinstance(lowered.plan, _C.Plan):
        raise NotImplementedError(
            f"profile: steps on {lowered.target.device} are not timed; torch.profiler shows their kernels"
        )
    return lowered.plan


def slots(program: Program, inputs: list[Tensor]) -> tuple[list[Slot], int]:
    """The steps of a call in order, with their work; and the bytes a call touches: packed weights and arenas."""
    found: list[Slot] = []
    arenas: list[Lowered] = []

    def on_segment(segment: Segment, given: list[Tensor], now: Situation) -> Values:
        lowered = program.planner.lowered(segment, given, now)
        arenas.append(lowered)
        for step in lowered.steps:
            found.append(Slot(step.node, step, work_of(step, now.shapes), lowered.workers))
        outputs = lowered.fresh_outputs()
        lowered.target.run(lowered.plan, given, outputs)
        return dict(zip(segment.outputs, outputs, strict=True))

    def on_torch(step: TorchStep, given: list[Tensor], now: Situation) -> Values:
        with FlopCounterMode(display=False) as counter:
            values = program.run_torch(step, given, now)
        work = work_of_torch(given, list(values.values()), float(counter.get_total_flops()))
        found.append(Slot(step.node, None, work, torch.get_num_threads()))
        return values

    program.walk(inputs, on_segment, on_torch)
    resident = program.weights.bytes() + sum(lowered.arena_bytes for lowered in arenas)
    return found, resident


@dataclass(frozen=True)
class Rounds:
    """`shares` of the timed calls, one list a call, and nanoseconds of the ordinary calls between them."""

    shares: list[list[Share]]
    calls: list[int]


def measure(timed: Callable[[], list[Share]], call: Callable[[], Any], seconds: float) -> Rounds:
    """Ordinary and timed calls by turns for `seconds`, 5 to 1000 of each, after two of each to warm up."""
    for _ in range(2):
        call()
        timed()
    rounds = Rounds([], [])
    stop = time.perf_counter() + seconds
    while len(rounds.calls) < LEAST or (len(rounds.calls) < MOST and time.perf_counter() < stop):
        begin = time.perf_counter_ns()
        call()
        rounds.calls.append(time.perf_counter_ns() - begin)
        rounds.shares.append(timed())
    return rounds
