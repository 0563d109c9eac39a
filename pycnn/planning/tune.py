"""Measuring the kernels of a plan's steps where they stand: on its memory, behind the steps before them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pycnn import _C
from pycnn.planning.cpu import CpuTarget
from pycnn.planning.lower import Lowered
from pycnn.planning.step import Step
from pycnn.planning.tuned import Table, log, problem

_LEAST, _MOST = 5, 200  # calls of a plan
_SECONDS = 4.0  # for all plans of a segment, besides the least number of calls
_FIFTH = (
    5  # of the times of a step the fifth part is faster: calls that others disturbed do not decide
)

Run = Callable[[Lowered], list[int]]


@dataclass(frozen=True)
class Trial:
    """A plan whose steps run the kernel of one variant, or the rule's where they have no other."""

    lowered: Lowered
    calls: list[list[int]]  # nanoseconds of each step


def tune(
    lower: Callable[[CpuTarget], Lowered],
    run: Run,
    target: CpuTarget,
    table: Table,
    progress: Callable[[int, int], None],
) -> None:
    """Enter the choice for every step that has a choice and none in the table yet.

    Args:
        lower: the plan for a target. run: calls a plan and tells what its `run_timed` does.
        progress: told how many of how many calls are done. An interruption leaves the table as it was.
    """
    first = lower(replace(target, variant=0))
    open_steps = [s for s in first.steps if _is_open(s, target, table)]
    if not open_steps:
        return
    variants = max(len(_of(target, s).candidates(s.op, s.params)) for s in open_steps)
    plans = [first, *(lower(replace(target, variant=v)) for v in range(1, variants))]
    trials = [Trial(plan, []) for plan in plans if len(plan.steps) == len(first.steps)]
    _measure(trials, run, progress)
    times: dict[
        str, dict[str, list[int]]
    ] = {}  # problem -> kernel -> nanoseconds: a problem may come several times
    for i, step in enumerate(first.steps):
        if _is_open(step, target, table):
            of = times.setdefault(problem(step.op, step.params, _of(target, step).threads), {})
            for trial in trials:
                kernel = trial.lowered.steps[i].kernel
                of.setdefault(kernel, []).extend(call[i] for call in trial.calls)
    for step in open_steps:
        key = problem(step.op, step.params, _of(target, step).threads)
        rule = _of(target, step).rule(step.op, step.params)
        table.add(target.processor, key, _microseconds(times[key]), rule)
    try:
        table.save()
    except OSError as error:  # the choices hold for this process
        log.warning("measured kernels are not kept: %s", error)


def _of(target: CpuTarget, step: Step) -> CpuTarget:
    """The target a step was chosen for: one worker where it runs image by image."""
    return target if step.images == 1 else replace(target, threads=1)


def _is_open(step: Step, target: CpuTarget, table: Table) -> bool:
    of = _of(target, step)
    if len(of.candidates(step.op, step.params)) < 2:
        return False
    return table.find(of.processor, problem(step.op, step.params, of.threads)) is None


def _measure(trials: Sequence[Trial], run: Run, progress: Callable[[int, int], None]) -> None:
    """Calls by turns, so that a slow phase of the machine falls on all."""
    for trial in trials:
        run(trial.lowered)
    stop, began = time.perf_counter() + _SECONDS, time.perf_counter()
    for done in range(_MOST):
        if done >= _LEAST and time.perf_counter() > stop:
            break
        for trial in trials:
            trial.calls.append(_step_times(trial.lowered, run(trial.lowered)))
        pace = (time.perf_counter() - began) / (done + 1)
        progress(done + 1, max(_LEAST, min(_MOST, done + 1, int(_SECONDS / pace))))
    progress(1, 1)


def _step_times(lowered: Lowered, times: Sequence[int]) -> list[int]:
    """Nanoseconds of each step: from the first begin to the last end of its workers; of the longest worker's own where
    workers are at different images."""
    assert isinstance(lowered.plan, _C.Plan)
    width = 2 * lowered.plan.workers
    found = []
    for i, step in enumerate(lowered.steps):
        of = times[i * width : (i + 1) * width]
        spans = [(begin, end) for begin, end in zip(of[::2], of[1::2], strict=True) if begin]
        if step.images > 1:
            found.append(max(end - begin for begin, end in spans))
        else:
            found.append(max(end for _, end in spans) - min(begin for begin, _ in spans))
    return found


def _microseconds(times: dict[str, list[int]]) -> dict[str, float]:
    """The time of each kernel that is short of a fifth of its calls."""
    return {
        kernel: round(max(sorted(of)[len(of) // _FIFTH], 1) / 1e3, 3)
        for kernel, of in times.items()
    }
