"""What `profile` measured, as values, a table and JSON; pages and pictures are drawn from it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pycnn.limits import Limits
from pycnn.profile.html import page
from pycnn.profile.plot import write_plot
from pycnn.profile.trace import write_trace
from pycnn.work import describe


@dataclass(frozen=True)
class LayerTime:
    """One step of the call.

    Attributes:
        path: the module and what is fused into it: "layer1.0.conv1 + bn1 + relu".
        op, kernel: the op, and the kernel that ran; no kernel where torch ran it.
        shape: of what it makes.
        workers: threads it may use.
        min_s, median_s: seconds, from the first worker's begin to the last one's end.
        flops: fp32 operations of the direct sum, a multiply-add being two; 0 where none are counted.
        bytes: read and written, each once.
        limit_s: the least seconds the machine's measured limits allow for that.
        bound: what that limit is: "compute" or "memory"; "" for a view, which does nothing.
    """

    path: str
    op: str
    kernel: str
    shape: tuple[int, ...]
    workers: int
    min_s: float
    median_s: float
    flops: float
    bytes: float
    limit_s: float
    bound: str

    @property
    def flops_s(self) -> float:
        """Operations a second at `min_s`; Winograd's may exceed the multiply rate, its sum being a shorter one."""
        return self.flops / self.min_s if self.min_s > 0 else 0.0

    @property
    def bytes_s(self) -> float:
        """Bytes a second at `min_s`."""
        return self.bytes / self.min_s if self.min_s > 0 else 0.0

    @property
    def percent(self) -> float:
        """limit_s / min_s, in percent: 100 is the measured roofline."""
        return 100 * self.limit_s / self.min_s if self.min_s > 0 else 0.0

    def record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        rates = {"flops_s": self.flops_s, "bytes_s": self.bytes_s, "percent": self.percent}
        return {**asdict(self), **rates}


@dataclass(frozen=True)
class LaneSpan:
    """One worker's share of layer `layer` in the call that `Profile.spans` shows: seconds from its first begin."""

    layer: int
    worker: int
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Profile:
    """What `profile` measured; print it for the table.

    Attributes:
        model: the class of the model.
        inputs: shapes of its tensor inputs.
        layers: one entry a step, in order.
        call_min_s, call_median_s: seconds of the ordinary call.
        sum_min_s, sum_median_s: seconds of all steps of a call together.
        rounds: measured calls of each kind.
        limits: what layers are held against, by number of threads.
        spans: the timed call whose sum is the median.
        notes: what was not measured, and why.
    """

    model: str
    inputs: tuple[tuple[int, ...], ...]
    layers: tuple[LayerTime, ...]
    call_min_s: float
    call_median_s: float
    sum_min_s: float
    sum_median_s: float
    rounds: int
    limits: tuple[Limits, ...]
    spans: tuple[LaneSpan, ...] = ()
    notes: tuple[str, ...] = ()

    def share(self, layer: LayerTime) -> float:
        """The layer's part of all steps' time, from their medians."""
        total = sum(each.median_s for each in self.layers)
        return layer.median_s / total if total > 0 else 0.0

    def kernels(self) -> list[tuple[str, int, float]]:
        """(kernel or torch op, number of steps, seconds together by their medians), the longest first."""
        found: dict[str, list[float]] = {}
        for layer in self.layers:
            found.setdefault(layer.kernel or f"torch: {layer.op}", []).append(layer.median_s)
        rows = [(name, len(times), sum(times)) for name, times in found.items()]
        return sorted(rows, key=lambda row: -row[2])

    def title(self) -> str:
        """Model and sizes in a line."""
        sizes = ", ".join("×".join(map(str, shape)) for shape in self.inputs)
        return f"{self.model}, {sizes}"

    def to_json(self) -> str:
        """A JSON object; seconds, operations and bytes a second, percent."""
        fields = {
            "model": self.model,
            "inputs": self.inputs,
            "call_min_s": self.call_min_s,
            "call_median_s": self.call_median_s,
            "sum_min_s": self.sum_min_s,
            "sum_median_s": self.sum_median_s,
            "rounds": self.rounds,
            "limits": [limits.to_dict() for limits in self.limits],
            "layers": [layer.record() for layer in self.layers],
            "notes": self.notes,
        }
        return json.dumps(fields, indent=2, allow_nan=False)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained page: totals, roofline, every layer. OSError if it cannot be written."""
        page(self).write(path)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write the roofline as a PNG. `MissingExtraError` without matplotlib; OSError if it cannot be written."""
        write_plot(self, path)

    def to_trace(self, path: str | os.PathLike[str]) -> None:
        """Write one call as a Chrome trace (open it in https://ui.perfetto.dev), a lane a worker.

        Raises:
            OSError: it cannot be written.
        """
        write_trace(self, path)

    def table(self) -> Table:
        """One row a layer, as a rich table."""
        table = Table(title=self._heading())
        for title in ("layer", "kernel", "output"):
            table.add_column(title, overflow="fold")
        for title in ("min µs", "median µs", "%", "GFLOP/s", "GB/s", "% of limit"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("bound")
        for layer in self.layers:
            table.add_row(
                layer.path,
                layer.kernel or "torch",
                "×".join(map(str, layer.shape)),
                f"{layer.min_s * 1e6:,.1f}",
                f"{layer.median_s * 1e6:,.1f}",
                f"{100 * self.share(layer):.1f}",
                f"{layer.flops_s / 1e9:,.1f}" if layer.flops else "",
                f"{layer.bytes_s / 1e9:,.1f}",
                f"{layer.percent:.0f}",
                layer.bound,
            )
        return table

    def _heading(self) -> str:
        return (
            f"{self.title()}: call {self.call_median_s * 1e3:,.3f} ms (min {self.call_min_s * 1e3:,.3f}), "
            f"steps {self.sum_median_s * 1e3:,.3f} ms (min {self.sum_min_s * 1e3:,.3f}), {self.rounds} rounds"
        )

    def __str__(self) -> str:
        console = Console(width=160)
        with console.capture() as captured:
            console.print(self.table())
            for line in (*map(describe, self.limits), *self.notes):
                console.print(line, markup=False, highlight=False)
        return captured.get()
