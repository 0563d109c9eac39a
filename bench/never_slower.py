"""Every step of a network against torch's own op: a chosen kernel must lose to it nowhere.

    python -m bench never_slower [NETWORK[:BATCH[:SIZE]] ...] [--tune]

torch's op is given its best case: weights folded beforehand, the faster of both memory formats, relu and the sum in
place. A step of ours is timed in its plan, behind the steps before it; a layer's steps (copies too) count together.
Before each call of torch's op the whole network runs, so that its weights lie where ours do, and its inputs are read,
which the layer before would just have written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import pycnn
from pycnn.inspection import compiled_for
from pycnn.ir import Conv2d, Linear, Node, Shapes, TensorTable, folded_weight, resolve, run_op
from pycnn.ops import apply_act
from pycnn.planning.program import Program
from pycnn.planning.shares import durations
from pycnn.profile.measure import Recorder, measure, slots
from pycnn.timing import Workload
from pycnn.timing.networks import network_and_input

ALLOWED = 1.05  # times torch's op,
NOISE_S = 2e-6  # and what a clock and a call cannot tell apart
_CALLS, _SECONDS = 50, 0.2  # of an op in one memory format, at most

Call = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Against:
    """A layer's least time in its plan and as torch's own op, in seconds."""

    workload: Workload
    layer: str
    kernels: str
    ours_s: float
    torch_s: float

    @property
    def slower(self) -> bool:
        """By more than is allowed."""
        return self.ours_s > ALLOWED * self.torch_s + NOISE_S


def hold(workload: Workload, tune: bool = False, seconds: float = 1.0) -> list[Against]:
    """Every layer of one network of the zoo that kernels run, nearest to torch first."""
    net, x = network_and_input(workload)
    fast = pycnn.optimize(net, tune=tune)
    with torch.inference_mode():
        fast(x)
        compiled, reason = compiled_for("never_slower", fast, (x,), {})
        if compiled is None:
            raise ValueError(f"{workload.model} runs as it is: {reason}")
        program = compiled.program
        layers = _layer_times(program, x, lambda: fast(x), seconds)
        shapes, tensors = program.at([x]).shapes, program.graph.tensors
        held = []
        for layer in layers.values():
            node, kernels = layer.node, " + ".join(layer.kernels)
            torch_s = torch_seconds(node, shapes, tensors, lambda: fast(x))
            held.append(Against(workload, node.path, kernels, layer.seconds, torch_s))
    return sorted(held, key=lambda a: a.torch_s / a.ours_s)


@dataclass
class _Layer:
    node: Node
    seconds: float = 0.0
    kernels: list[str] = field(default_factory=list)


def _layer_times(
    program: Program, x: Tensor, call: Callable[[], object], seconds: float
) -> dict[int, _Layer]:
    """The least time of each layer's steps together, in order of the call."""
    found, _ = slots(program, [x])
    recorder = Recorder(program)
    rounds = measure(lambda: recorder.round([x]), call, seconds)
    by_image = [slot.step is not None and slot.step.images > 1 for slot in found]
    times = [durations(shares, by_image) for shares in rounds.shares]
    layers: dict[int, _Layer] = {}
    for slot, of in zip(found, zip(*times, strict=True), strict=True):
        if slot.step is not None:
            layer = layers.setdefault(id(slot.node), _Layer(slot.node))
            layer.seconds += min(of) / 1e9
            layer.kernels.append(slot.step.kernel)
    return layers


def torch_seconds(
    node: Node, shapes: Shapes, tensors: TensorTable, between: Callable[[], object]
) -> float:
    """The least time of the node as torch's own op, on random inputs, over both memory formats; each call behind
    one of `between`."""
    call = _torch_call(node, shapes, tensors)
    best = float("inf")
    for last in (False, True):
        inputs = [torch.randn(shapes[v]) for v in node.inputs]
        if last:
            inputs = [_channels_last(x) for x in inputs]
        call(inputs)
        stop = time.perf_counter() + _SECONDS
        for _ in range(_CALLS):
            between()
            for each in inputs:
                each.sum()
            begin = time.perf_counter()
            call(inputs)
            end = time.perf_counter()
            best = min(best, end - begin)
            if end > stop:
                break
    return best


def _channels_last(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


def _torch_call(node: Node, shapes: Shapes, tensors: TensorTable) -> Call:
    op = resolve(node.op, shapes)
    if not isinstance(op, (Conv2d, Linear)):
        return lambda inputs: run_op(op, inputs, tensors)
    weight, bias = folded_weight(op, tensors)
    weight = _channels_last(weight.detach())
    act = op.act

    def finish(y: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        if op.has_residual:
            y = y.add_(inputs[1])
        return y.relu_() if act.kind == "relu" else apply_act(y, act.kind, act.param)

    if isinstance(op, Linear):
        return lambda inputs: finish(F.linear(inputs[0], weight, bias), inputs)
    top, left, bottom, right = op.padding
    even = (top, left) == (bottom, right)
    pads, padding = (0, 0) if not even else (top, left), (left, right, top, bottom)
    stride, dilation, groups = op.stride, op.dilation, op.groups

    def convolve(inputs: Sequence[Tensor]) -> Tensor:
        x = inputs[0] if op.prologue is None else run_op(op.prologue, inputs[:1], tensors)
        x = x * inputs[-1] if op.has_gate else x
        x = x if even else F.pad(x, padding)
        return finish(F.conv2d(x, weight, bias, stride, pads, dilation, groups), inputs)

    return convolve
