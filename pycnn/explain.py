"""`explain`: what runs where, and why something did not fuse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pycnn.compiled import Compiled, describe
from pycnn.ir import Note, Shape, Torch
from pycnn.optimize import OptimizedModule
from pycnn.planning.lower import Step
from pycnn.planning.program import readable
from pycnn.planning.segments import Segment, TorchStep


@dataclass(frozen=True)
class StepReport:
    """One step: `kernel` is empty and `reason` set where torch runs it."""

    path: str
    op: str
    kernel: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    fused: str
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What `explain` found. `peak_bytes` is the plans' arenas; inputs, outputs and weights come on top."""

    steps: tuple[StepReport, ...]
    fallbacks: tuple[str, ...]
    notes: tuple[str, ...]
    peak_bytes: int
    packed_bytes: int
    threads: int

    def to_json(self) -> str:
        """The report as a JSON object."""
        return json.dumps(asdict(self), indent=2)

    def table(self) -> Table:
        """One row a step, as a rich table."""
        table = Table(title=f"{len(self.steps)} steps, arena {self.peak_bytes / 2**20:.2f} MiB")
        for title in ("module", "op", "kernel", "input", "output", "fused"):
            table.add_column(title, overflow="fold")
        for s in self.steps:
            kernel = s.kernel or f"torch: {s.reason}"
            table.add_row(s.path, s.op, kernel, _size(s.input), _size(s.output), s.fused)
        return table

    def __str__(self) -> str:
        console = Console(width=140)
        with console.capture() as captured:
            console.print(self.table())
            for line in (*self.fallbacks, *self.notes):
                console.print(line, markup=False, highlight=False)
        return captured.get()


def explain(fast: nn.Module, *args: Any, **kwargs: Any) -> Report:
    """The steps that ``fast(*args, **kwargs)`` runs: kernel, sizes, what was fused, why something was not.

    Args:
        fast: what :func:`pycnn.optimize` returned, in eval mode.
        args, kwargs: the arguments of a call; nothing is computed on them.

    Raises:
        TypeError: fast is not an optimised module. ValueError: it is in training mode.
    """
    if not isinstance(fast, OptimizedModule):
        raise TypeError(f"explain: expected what optimize() returned, got {type(fast).__name__}")
    if fast.training:
        raise ValueError("explain: the module is in training mode and runs as torch; call .eval()")
    compiled = fast._current(args, kwargs)
    if compiled is None:
        state = fast.__dict__["_compiled"]
        whole = StepReport("", "model", "", (), (), "", state.reason)
        return Report((whole,), (f"the model runs as it is: {state.reason}",), (), 0, 0, 1)
    return _report(compiled, compiled.inputs(args, kwargs))


def _report(compiled: Compiled, inputs: list[Tensor]) -> Report:
    program, now = compiled.program, compiled.program.at(inputs)
    shapes = now.shapes
    steps: list[StepReport] = []
    fallbacks: list[str] = []
    peak, known = 0, dict(zip(program.graph.inputs, inputs, strict=True))
    for item in now.items:
        if isinstance(item, TorchStep):
            steps.append(_torch_report(item, shapes))
            fallbacks.append(f"{describe(item)}: {item.reason}")
            continue
        lowered = program.lowered(item, _stand_ins(item, known, shapes), now)
        peak = max(peak, lowered.arena_bytes)
        steps += [_kernel_report(step, shapes) for step in lowered.steps]
    notes = tuple(_sentence(note) for note in program.graph.notes)
    packed = program.weights.bytes()
    return Report(tuple(steps), tuple(fallbacks), notes, peak, packed, program.settings().threads)


def _stand_ins(
    segment: Segment, known: Mapping[int, Tensor], shapes: Mapping[int, Shape]
) -> list[Tensor]:
    """Tensors with the formats the segment will see; where torch makes them, contiguous ones."""
    template = next(iter(known.values()))
    return [
        readable(known[v]) if v in known else template.new_empty(tuple(shapes[v]))
        for v in segment.inputs
    ]


def _kernel_report(step: Step, shapes: Mapping[int, Shape]) -> StepReport:
    node = step.node
    op = node.op if step.op in ("conv2d", "linear", "add_act") else None  # not of the copies around
    parts = []
    if getattr(op, "norms", ()):
        parts.append("batch_norm")
    if getattr(op, "has_residual", False):
        parts.append("residual")
    if getattr(op, "act", None):
        parts.append(str(getattr(op, "act", "")))
    return StepReport(
        node.path,
        step.op,
        step.kernel,
        tuple(shapes[node.inputs[0]]),
        tuple(shapes[node.outputs[0]]),
        " + ".join(parts),
    )


def _torch_report(item: TorchStep, shapes: Mapping[int, Shape]) -> StepReport:
    node, op = item.node, item.node.op
    name = getattr(op.func, "__name__", "torch") if isinstance(op, Torch) else op.name
    sizes = [tuple(shapes[v]) if v in shapes else () for v in (*node.inputs[:1], *node.outputs[:1])]
    source, target = (sizes + [(), ()])[:2]
    return StepReport(node.path, name, "", source, target, "", item.reason)


def _sentence(note: Note) -> str:
    where = note.path or f"%{note.value}"
    return f"{where}: {note.pass_name}: {note.sentence}"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
