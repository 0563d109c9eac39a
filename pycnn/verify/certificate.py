"""What `verify` found, as values, a table and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pycnn.verify.deviation import relative


@dataclass(frozen=True)
class LayerCheck:
    """One value of the plan beside the same value of the original in fp64.

    Attributes:
        path: what makes it, "layer1.0.conv1 + bn1 + relu", or "output".
        op, kernel: the op, and the kernels that ran, in order; no kernel where torch ran it.
        shape: of the value.
        max_abs: max|y - ref|.
        error: max|y - ref| / max|ref|; infinite where only one of y and ref is finite.
        cosine: <y, ref> / (|y| |ref|).
        torch_error: `error` of the original in its own dtype.
        tol: what `error` may be.
        module: path of the module it belongs to, "" for the model itself and for outputs.
    """

    path: str
    op: str
    kernel: str
    shape: tuple[int, ...]
    max_abs: float
    error: float
    cosine: float
    torch_error: float
    tol: float
    module: str = ""

    @property
    def ok(self) -> bool:
        """Whether error <= tol."""
        return self.error <= self.tol

    @property
    def share(self) -> float:
        """error / tol: above 1 is too far off."""
        if math.isinf(self.error) and math.isinf(self.tol):
            return 1.0
        return relative(self.error, self.tol)

    def record(self) -> dict[str, Any]:
        """Plain data for JSON; a number that is not finite is None."""
        fields = {**asdict(self), "ok": self.ok}
        odd = [k for k, v in fields.items() if isinstance(v, float) and not math.isfinite(v)]
        return {**fields, **dict.fromkeys(odd)}


@dataclass(frozen=True)
class Certificate:
    """What `verify` found; print it for the table.

    Attributes:
        layers: one entry a layer of the plan, in order.
        outputs: one entry a tensor that the ordinary call returned.
        same_bits: the ordinary call gave, bit for bit, what the plan gave with every value in memory of its own: no
            buffer is used again too early and no barrier is missing.
        notes: what was not compared, and why.
        promoted: paths of the modules whose layers `auto_promote` keeps in fp32.
    """

    layers: tuple[LayerCheck, ...]
    outputs: tuple[LayerCheck, ...]
    same_bits: bool
    notes: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()

    @property
    def checks(self) -> tuple[LayerCheck, ...]:
        """Layers, then outputs."""
        return (*self.layers, *self.outputs)

    @property
    def ok(self) -> bool:
        """Whether every layer and output is within its tolerance, and the bits are the same."""
        return self.same_bits and all(check.ok for check in self.checks)

    @property
    def worst(self) -> LayerCheck | None:
        """The layer or output with the largest error in terms of its tolerance; None if there is none."""
        return max(self.checks, key=lambda check: check.share, default=None)

    @property
    def first_bad(self) -> LayerCheck | None:
        """The first layer (or output) that is not ok: the place to look at, since errors travel on from there."""
        return next((check for check in self.checks if not check.ok), None)

    def to_json(self) -> str:
        """A JSON object; a number that is not finite is null there."""
        found = {
            "ok": self.ok,
            "same_bits": self.same_bits,
            "worst": _path(self.worst),
            "first_bad": _path(self.first_bad),
            "layers": [check.record() for check in self.layers],
            "outputs": [check.record() for check in self.outputs],
            "notes": list(self.notes),
            "promoted": list(self.promoted),
        }
        return json.dumps(found, indent=2, allow_nan=False)

    def table(self) -> Table:
        """One row a layer, as a rich table."""
        table = Table(title=self.verdict())
        for title in ("layer", "kernel"):
            table.add_column(title, overflow="fold")
        for title in ("max |y-ref|", "/ max |ref|", "torch's own", "allowed", "1 - cosine"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("")
        for check in self.checks:
            numbers = (check.max_abs, check.error, check.torch_error, check.tol, 1 - check.cosine)
            texts = (f"{number:.1e}" for number in numbers)
            torch = "" if check.op == "output" else "torch"
            mark = "[green]ok[/]" if check.ok else "[red]off[/]"
            table.add_row(check.path, check.kernel or torch, *texts, mark)
        return table

    def verdict(self) -> str:
        """The result in a sentence."""
        good = sum(check.ok for check in self.checks)
        sentence = f"{good} of {len(self.checks)} layers and outputs within their tolerance"
        if self.first_bad is not None:
            sentence += f"; the first that is not: {self.first_bad.path}"
        if not self.same_bits:
            sentence += "; the call's bits differ from those of the plan without reuse of memory"
        return sentence

    def _kept(self) -> list[str]:
        names = (path or "the model's own ops" for path in self.promoted)
        return [f"kept in fp32: {', '.join(names)}"] if self.promoted else []

    def __str__(self) -> str:
        console = Console(width=140)
        with console.capture() as captured:
            console.print(self.table())
            for note in (*self.notes, *self._kept()):
                console.print(note, markup=False, highlight=False)
        return captured.get()


def _path(check: LayerCheck | None) -> str | None:
    return None if check is None else check.path
