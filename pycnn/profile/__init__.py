"""`profile`: the time of every layer of an optimised module, held against the machine's measured limits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pycnn.compiled import Compiled
from pycnn.inspection import compiled_for
from pycnn.ir import Identity, Node, Shape, flatten_output
from pycnn.layers import Layers, kind, unique
from pycnn.limits import Limits, limits
from pycnn.optimize import OptimizedModule
from pycnn.planning.cpu import DTYPES
from pycnn.planning.shares import Share, durations
from pycnn.profile.measure import Recorder, Rounds, Slot, measure, slots
from pycnn.profile.report import LaneSpan, LayerTime, Profile
from pycnn.work import COPIES, roof, work_of_torch

__all__ = ["LaneSpan", "LayerTime", "Profile", "profile"]


def profile(fast: nn.Module, *args: Any, seconds: float = 1.0, **kwargs: Any) -> Profile:
    """Time every layer of ``fast(*args, **kwargs)`` and hold it against this machine's measured roofline.

    Ordinary calls and calls in which each worker reads the clock around each step take turns; the ordinary call itself
    has no clock in it. Gradients are off. The machine's limits are measured once a process (about 0.5 s for each number
    of threads that occurs).

    Args:
        fast: what :func:`pycnn.optimize` returned, in eval mode.
        args, kwargs: the arguments of a call: ``profile(fast, x)``.
        seconds: how long to measure; at least 5 calls of each kind, at most 1000.

    Raises:
        TypeError: fast is not an optimised module, seconds not a number.
        ValueError: fast is in training mode, or seconds is negative.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"profile: seconds must be a number, got {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"profile: seconds={seconds} must not be negative")
    with torch.no_grad():
        compiled, reason = compiled_for("profile", fast, args, kwargs)
        assert isinstance(fast, OptimizedModule)

        def call() -> Any:
            return fast(*args, **kwargs)

        if compiled is None:
            return _whole(fast._model, call, seconds, reason, (args, kwargs))
        inputs = compiled.inputs(args, kwargs)
        steps, resident = slots(compiled.program, inputs)
        recorder = Recorder(compiled.program)
        rounds = measure(lambda: recorder.round(inputs), call, seconds)
    return _report(fast._model, compiled, inputs, steps, rounds, resident)


def _report(
    model: nn.Module,
    compiled: Compiled,
    inputs: Sequence[Tensor],
    steps: list[Slot],
    rounds: Rounds,
    resident: int,
) -> Profile:
    by_image = [slot.step is not None and slot.step.images > 1 for slot in steps]
    times = [durations(shares, by_image) for shares in rounds.shares]
    sums = [sum(each) / 1e9 for each in times]
    dtype = DTYPES[compiled.program.target().dtype]
    counts = sorted({slot.workers for slot in steps})
    machine = {workers: limits(workers, dtype) for workers in counts}
    shapes = compiled.program.at(inputs).shapes
    paths = Layers(model, compiled.raw, compiled.program.graph)
    names = unique([_name(slot, paths) for slot in steps])
    layers = [
        _layer(name, slot, [each[i] for each in times], machine[slot.workers], resident, shapes)
        for i, (name, slot) in enumerate(zip(names, steps, strict=True))
    ]
    middle = sorted(range(len(sums)), key=sums.__getitem__)[len(sums) // 2]
    return Profile(
        model=type(model).__name__,
        inputs=tuple(tuple(x.shape) for x in inputs),
        layers=tuple(layers),
        call_min_s=min(rounds.calls) / 1e9,
        call_median_s=statistics.median(rounds.calls) / 1e9,
        sum_min_s=min(sums),
        sum_median_s=statistics.median(sums),
        rounds=len(sums),
        limits=tuple(machine.values()),
        spans=_lanes(rounds.shares[middle]),
    )


def _whole(
    model: nn.Module, call: Callable[[], Any], seconds: float, reason: str, arguments: Any
) -> Profile:
    """A model that runs as it is: one entry, timed as a whole."""
    inputs = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]
    with FlopCounterMode(display=False) as counter:
        leaves, _ = flatten_output(call())
    outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    rounds = measure(list, call, seconds)
    threads = torch.get_num_threads()
    work = work_of_torch(inputs, outputs, float(counter.get_total_flops()))
    slot = Slot(Node(Identity(), (), (0,)), None, work, threads)
    shapes = {0: tuple(outputs[0].shape)} if outputs else {}
    layer = _layer("model", slot, rounds.calls, limits(threads), 0, shapes)
    return Profile(
        model=type(model).__name__,
        inputs=tuple(tuple(x.shape) for x in inputs),
        layers=(replace(layer, op="model"),),
        call_min_s=layer.min_s,
        call_median_s=layer.median_s,
        sum_min_s=layer.min_s,
        sum_median_s=layer.median_s,
        rounds=len(rounds.calls),
        limits=(limits(threads),),
        spans=(LaneSpan(0, 0, 0.0, layer.median_s),),
        notes=(f"the model runs as it is: {reason}",),
    )


def _layer(
    name: str,
    slot: Slot,
    times: list[int],
    machine: Limits,
    resident: int,
    shapes: Mapping[int, Shape],
) -> LayerTime:
    bound = roof(slot.work, machine, resident)
    step, made = slot.step, slot.node.outputs
    return LayerTime(
        path=name,
        op=kind(slot.node) if step is None else step.op,
        kernel="" if step is None else step.kernel,
        shape=tuple(shapes[made[0]]) if made and made[0] in shapes else (),
        workers=slot.workers,
        min_s=min(times) / 1e9,
        median_s=statistics.median(times) / 1e9,
        flops=slot.work.flops,
        bytes=slot.work.bytes,
        limit_s=bound.seconds,
        bound=bound.bound,
    )


def _name(slot: Slot, layers: Layers) -> str:
    """The layer's name; a copy that a layer of another kind needs says so."""
    name = layers.name(slot.node)
    copies = slot.step is not None and slot.step.op in COPIES and slot.node.op.name not in COPIES
    return f"{name}: copy" if copies else name


def _lanes(shares: list[Share]) -> tuple[LaneSpan, ...]:
    start = min((share.begin for share in shares), default=0)
    return tuple(
        LaneSpan(s.slot, s.worker, (s.begin - start) / 1e9, (s.end - start) / 1e9) for s in shares
    )
