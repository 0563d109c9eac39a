"""The steps of a compiled model, with what each reads, moves and was kept apart from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from pycnn.compiled import Compiled, describe
from pycnn.explain.flow import Flow
from pycnn.explain.report import Report, StepReport
from pycnn.ir import (
    Arith,
    BatchNorm,
    Conv2d,
    Excitation,
    InvertedResidual,
    MatMul,
    Mlp,
    Norm,
    NormedConv2d,
    Note,
    PooledConv2d,
    Scale,
    Shape,
    SummedConv2d,
    Torch,
)
from pycnn.planning.lower import Lowered
from pycnn.planning.params import CONVOLUTIONS
from pycnn.planning.program import Program
from pycnn.planning.segments import TorchStep
from pycnn.planning.step import Step
from pycnn.work import COPIES, work_of


def report(
    model: str, compiled: Compiled, inputs: list[Tensor], stages: Mapping[str, str]
) -> Report:
    """The steps for these inputs; `stages`: module path -> stage of the network."""
    program, now = compiled.program, compiled.program.at(inputs)
    target = program.target()
    plans = iter(program.plans(inputs))
    flow = Flow(program.graph.inputs)
    notes = [(note.value, note) for note in program.graph.notes]
    steps: list[StepReport] = []
    fallbacks: list[str] = []
    issued: list[str] = []
    largest: Lowered | None = None
    for item in now.items:
        if isinstance(item, TorchStep):
            found = _torch_report(item, program, now.shapes)
            steps.append(replace(found, inputs=flow.torch_step(item)))
            fallbacks.append(f"{describe(item)}: {item.reason}")
            continue
        lowered = next(plans)
        issued.append(lowered.target.issued(lowered.plan))
        if largest is None or lowered.plan.memory_bytes > largest.plan.memory_bytes:
            largest = lowered
        read, parts = flow.segment(item, lowered), Counter(lowered.parts)
        for i, (step, sources) in enumerate(zip(lowered.steps, read, strict=True)):
            made = _kernel_report(step, now.shapes, notes, target.itemsize)
            layout = f"{made.layout}, in {parts[i]} parts" if parts[i] > 1 else made.layout
            steps.append(replace(made, inputs=sources, layout=layout))
    return Report(
        model,
        _staged(steps, stages),
        tuple(fallbacks),
        tuple(_sentence(note) for note in program.graph.notes),
        0 if largest is None else largest.arena_bytes,
        0 if largest is None else largest.workspace_bytes,
        program.weights.bytes(),
        target.threads,
        target.name,
        tuple(tuple(x.shape) for x in inputs),
        tuple(filter(None, issued)),
    )


def _staged(steps: Sequence[StepReport], stages: Mapping[str, str]) -> tuple[StepReport, ...]:
    """With the stage of each step's module, or of the step before."""
    last, staged = next(iter(stages.values()), ""), []
    for step in steps:
        last = stages.get(step.path, last)
        staged.append(replace(step, stage=last))
    return tuple(staged)


_FUSING = (
    *CONVOLUTIONS,
    *(
        "excitation",
        "inverted_residual",
        "mlp",
        "conv_transpose2d",
        "linear",
        "add_act",
        "arith",
        "matmul",
    ),
)
_WHOLE = (NormedConv2d, PooledConv2d, SummedConv2d)  # a convolution and something more


def _kernel_report(
    step: Step, shapes: Mapping[int, Shape], notes: Sequence[tuple[int, Note]], itemsize: int
) -> StepReport:
    node = step.node
    main = step.op not in COPIES
    op = node.op if step.op in _FUSING else None  # not of the copies around
    whole, parts = op, [op.kind] if isinstance(op, Arith) else []
    op = whole.conv if isinstance(whole, _WHOLE) else whole
    if isinstance(op, Conv2d) and op.prologue is not None:
        parts.append(
            " + ".join(["prologue: batch_norm", *([str(op.prologue.act)] * bool(op.prologue.act))])
        )
    if isinstance(op, Conv2d) and op.has_gate:
        parts.append("gate")
    norms = getattr(op, "norms", ())
    if isinstance(op, BatchNorm) or any(isinstance(norm, Norm) for norm in norms):
        parts.append("batch_norm")
    if any(isinstance(norm, Scale) for norm in norms):
        parts.append("scale")
    if isinstance(op, MatMul):
        parts += ["scale"] * (op.scale != 1)
        parts += ["addition"] * (op.added is not None or len(node.inputs) > 2)
    if getattr(op, "has_residual", False):
        parts.append("residual")
    if getattr(op, "act", None):
        parts.append(str(getattr(op, "act", "")))
    if isinstance(whole, PooledConv2d):
        parts.append(f"max_pool {int(step.params['window'])}×{int(step.params['window'])}")
    if isinstance(whole, NormedConv2d):
        parts.append("layer_norm")
    if isinstance(whole, SummedConv2d):
        parts.append("sums of channels")
    if isinstance(whole, (Excitation, InvertedResidual, Mlp)):
        parts = [part for layer in whole.layers for part in _of_layer(layer)]
    work = work_of(step, shapes, itemsize)
    return StepReport(
        node.path,
        step.op,
        step.kernel,
        tuple(shapes[node.inputs[0]]),
        tuple(shapes[node.outputs[0]]),
        " + ".join(parts),
        window=_window(step) if main else "",
        layout=_layout(step, shapes),
        flops=work.flops,
        activation_bytes=work.activation_bytes,
        weight_bytes=work.weight_bytes,
        unfused=tuple(
            f"{note.pass_name}: {note.sentence}"
            for value, note in notes
            if main and value in node.outputs
        ),
    )


def _of_layer(op: Conv2d) -> list[str]:
    """What one of two layers is and does besides."""
    parts = ["conv2d"]
    parts += ["batch_norm"] * any(isinstance(norm, Norm) for norm in op.norms)
    parts += ["scale"] * any(isinstance(norm, Scale) for norm in op.norms)
    parts += ["residual"] * op.has_residual
    return parts + [str(op.act)] * bool(op.act)


def _window(step: Step) -> str:
    p = {name: int(value) for name, value in step.params.items()}
    if "kh" not in p:
        return ""
    parts = [f"{p['kh']}×{p['kw']}"]
    for name, (a, b) in (("stride", ("sh", "sw")), ("dilation", ("dh", "dw"))):
        h, w = p.get(a, 1), p.get(b, 1)
        if (h, w) != (1, 1):
            parts.append(f"{name} {h}" if h == w else f"{name} {h}×{w}")
    if p.get("groups", 1) != 1:
        parts.append(f"groups {p['groups']}")
    return ", ".join(parts)


def _layout(step: Step, shapes: Mapping[int, Shape]) -> str:
    """Of operands and result; a pixel stride that is not the number of channels is told in floats."""
    return f"{_rows(step, shapes)}, image by image" if step.images > 1 else _rows(step, shapes)


def _rows(step: Step, shapes: Mapping[int, Shape]) -> str:
    node = step.node
    if step.op == "layout":
        return "NHWC → NCHW" if step.params["to_nchw"] else "NCHW → NHWC"
    if len(shapes[node.outputs[0]]) != 4:
        return "NHWC → rows" if len(shapes[node.inputs[0]]) == 4 else "rows"
    layout = "NCHW → NHWC" if step.params.get("x_nchw") else "NHWC"
    c = shapes[node.outputs[0]][1]
    return layout if step.y.ld == c else f"{layout}, {c} of {step.y.ld} channels"


def _torch_report(item: TorchStep, program: Program, shapes: Mapping[int, Shape]) -> StepReport:
    node, op = item.node, item.node.op
    name = getattr(op.func, "__name__", "torch") if isinstance(op, Torch) else op.name
    sizes = [tuple(shapes[v]) if v in shapes else () for v in (*node.inputs[:1], *node.outputs[:1])]
    source, target = (sizes + [(), ()])[:2]
    view = isinstance(op, Torch) and op.view
    widths = {v: program.graph.dtypes[v].itemsize for v in (*node.inputs, *node.outputs)}
    moved = sum(math.prod(shapes[v]) * width for v, width in widths.items() if v in shapes)
    weight = getattr(op, "weight", None)
    weights = 0 if weight is None else math.prod(program.graph.tensors.shape(weight))
    rows = 0 if weight is None else program.graph.tensors.shape(weight)[0]
    return StepReport(
        node.path,
        name,
        "",
        source,
        target,
        "",
        item.reason,
        flops=2.0 * math.prod(target) * weights / rows if rows else 0.0,
        activation_bytes=0.0 if view else float(moved),
        weight_bytes=4.0 * weights,
    )


def _sentence(note: Note) -> str:
    where = note.path or f"%{note.value}"
    return f"{where}: {note.pass_name}: {note.sentence}"
