"""What `explain` hands back: steps, reasons, table, JSON, page."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from pycnn.explain.html import page
from pycnn.limits import Limits
from pycnn.limits import limits as measured_limits
from pycnn.work import Roof, Work, roof

Shape = tuple[int, ...]


@dataclass(frozen=True)
class StepReport:
    """One step: `kernel` is empty and `reason` set where torch runs it.

    Attributes:
        path: of the module. op, kernel: what runs; input, output: shapes; fused: what it does besides.
        window: of a convolution or pooling: "3×3, stride 2".
        layout: how the operands lie in memory: "NHWC", "NCHW → NHWC"; "" where torch decides.
        stage: of the network, as `summary` tells it.
        inputs: numbers of the steps it reads; -1 - i is input i of the network.
        flops: fp32 operations of the direct sum, a multiply-add being two; 0 where torch runs what nobody counts.
        activation_bytes, weight_bytes: read and written, each once.
        unfused: why a neighbour is not part of this step, a sentence each.
    """

    path: str
    op: str
    kernel: str
    input: Shape
    output: Shape
    fused: str
    reason: str = ""
    window: str = ""
    layout: str = ""
    stage: str = ""
    inputs: tuple[int, ...] = ()
    flops: float = 0.0
    activation_bytes: float = 0.0
    weight_bytes: float = 0.0
    unfused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What `explain` found.

    Attributes:
        model: class of the module; inputs: shapes of its tensor inputs.
        steps: in the order in which they run. fallbacks: those that torch runs, with the reason.
        notes: why a fusion did not happen.
        peak_bytes: of the plan's arena, of the largest where there are several; inputs, outputs and weights come on
            top. workspace_bytes: of kernels, beside that arena. packed_bytes: of the packed weights.
        threads, isa: at most how many threads run it, with the kernels of which instruction set.
        issued: how the steps of each plan reach a GPU: launch by launch, or by a CUDA graph; and why.
    """

    model: str
    steps: tuple[StepReport, ...]
    fallbacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    peak_bytes: int = 0
    workspace_bytes: int = 0
    packed_bytes: int = 0
    threads: int = 1
    isa: str = ""
    inputs: tuple[Shape, ...] = ()
    issued: tuple[str, ...] = ()

    def predict(self, limits: Limits | None = None) -> list[Roof]:
        """The least time of each step on this machine: max(flops / rate, bytes / bandwidths), and which it is.

        Winograd multiplies less than the direct sum it is held against, so its steps may be faster.

        Args:
            limits: default `pycnn.limits` measured with `threads` threads, which takes 0.5 s the first time.
        """
        known = self._limits(limits)
        resident = self.peak_bytes + sum(step.weight_bytes for step in self.steps)
        works = (Work(s.flops, s.activation_bytes, s.weight_bytes) for s in self.steps)
        return [roof(work, known, resident) for work in works]

    def to_json(self) -> str:
        """The report as a JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def to_html(self, path: str | os.PathLike[str], limits: Limits | None = None) -> None:
        """Save one self-contained page: the steps as a picture and a table, predicted times, reasons.

        Args:
            path: the file; it is whole or as it was. OSError if it cannot be written.
            limits: as for `predict`.
        """
        known = self._limits(limits)
        page(self, self.predict(known), known).write(path)

    def _limits(self, given: Limits | None) -> Limits:
        if given is not None:
            return given
        _, _, dtype = self.isa.partition(" ")
        return measured_limits(self.threads, dtype or "float32")

    def table(self) -> Table:
        """One row a step, as a rich table."""
        table = Table(title=f"{len(self.steps)} steps, arena {self.peak_bytes / 2**20:.2f} MiB")
        for title in ("module", "op", "kernel", "input", "output", "fused"):
            table.add_column(title, overflow="fold")
        table.add_column("KiB moved", justify="right")
        for s in self.steps:
            kernel = s.kernel or f"torch: {s.reason}"
            kib = f"{(s.activation_bytes + s.weight_bytes) / 1024:,.0f}"
            table.add_row(s.path, s.op, kernel, _size(s.input), _size(s.output), s.fused, kib)
        return table

    def __str__(self) -> str:
        console = Console(width=150)
        with console.capture() as captured:
            console.print(self.table())
            for line in (*dict.fromkeys(self.issued), *self.fallbacks, *self.notes):
                console.print(line, markup=False, highlight=False)
        return captured.get()


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))
