"""Measuring the kernels of a plan's steps where they stand: on its memory, behind the steps before them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pycnn.planning.lower import Lowered
from pycnn.planning.step import Step
from pycnn.planning.target import Target
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
    lower: Callable[[Target], Lowered],
    run: Run,
    target: Target,
    table: Table,
    progress: Callable[[int, int], None],
) -> None:
    """Enter the choice for every step that has a choice and none in the table yet.

    Args:
        lower: the plan for a target. run: calls a plan; nanoseconds of each of its steps.
        progress: told how many of how many calls are done. An interruption leaves the table as it was.
    """
    first = lower(replace(target, variant=0))
    places: dict[str, list[int]] = {}  # of the steps of each problem: it may come several times
    for i, step in enumerate(first.steps):
        if _is_open(step, target, table):
            places.setdefault(_problem(step, target), []).append(i)
    if not places:
        return
    several = [first.steps[at[0]] for at in places.values()]
    variants = max(len(_candidates(s, target)) for s in several)
    plans = [first, *(lower(replace(target, variant=v)) for v in range(1, variants))]
    trials = [Trial(plan, []) for plan in plans if len(plan.steps) == len(first.steps)]
    _measure(trials, run, progress)
    for (key, at), step in zip(places.items(), several, strict=True):
        times: dict[str, list[int]] = {}  # of a kernel, nanoseconds
        for i, trial in itertools.product(at, trials):
            kernel = trial.lowered.steps[i].kernel
            times.setdefault(kernel, []).extend(call[i] for call in trial.calls)
        rule = _of(target, step).rule(step.op, step.params, step.x.offset)
        table.add(target.processor, key, _microseconds(times), rule)
    try:
        table.save()
    except OSError as error:  # the choices hold for this process
        log.warning("measured kernels are not kept: %s", error)


def _of(target: Target, step: Step) -> Target:
    """The target a step was chosen for: one worker where it runs image by image."""
    return target if step.images == 1 else replace(target, threads=1)


def _candidates(step: Step, target: Target) -> Sequence[str]:
    return _of(target, step).candidates(step.op, step.params, step.x.offset)


def _is_open(step: Step, target: Target, table: Table) -> bool:
    if len(_candidates(step, target)) < 2:
        return False
    return not table.has(target.processor, _problem(step, target))


def _problem(step: Step, target: Target) -> str:
    return problem(step.op, step.params, _of(target, step).threads)


def _measure(trials: Sequence[Trial], run: Run, progress: Callable[[int, int], None]) -> None:
    """Calls by turns, so that a slow phase of the machine falls on all."""
    for trial in trials:
        run(trial.lowered)
    stop, began = time.perf_counter() + _SECONDS, time.perf_counter()
    for done in range(_MOST):
        if done >= _LEAST and time.perf_counter() > stop:
            break
        for trial in trials:
            trial.calls.append(run(trial.lowered))
        pace = (time.perf_counter() - began) / (done + 1)
        progress(done + 1, max(_LEAST, min(_MOST, done + 1, int(_SECONDS / pace))))
    progress(1, 1)


def _microseconds(times: dict[str, list[int]]) -> dict[str, float]:
    """The time of each kernel that is short of a fifth of its calls."""
    return {
        kernel: round(max(sorted(of)[len(of) // _FIFTH], 1) / 1e3, 3)
        for kernel, of in times.items()
    }
