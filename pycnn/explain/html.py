"""The report as one self-contained page: totals, the steps as a picture and as a table, reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycnn.limits import Limits
from pycnn.page import Bar, Cell, Column, Mark, Page
from pycnn.picture import Unit, draw
from pycnn.summary.stages import ROLES
from pycnn.work import COPIES, Roof, describe

if TYPE_CHECKING:
    from pycnn.explain.report import Report, StepReport


def page(report: Report, roofs: Sequence[Roof], limits: Limits) -> Page:
    """Every step is a block of the picture and a row of the table; `roofs` are the steps' times under `limits`."""
    shapes = ", ".join("×".join(map(str, shape)) for shape in report.inputs)
    title = f"What runs: {report.model}" + (f", {shapes}" if shapes else "")
    result = Page(title, describe(limits))
    total = sum(each.seconds for each in roofs)
    result.facts(
        {
            "steps": str(len(report.steps)),
            "steps run by torch": Mark(str(len(report.fallbacks)), not report.fallbacks),
            "predicted, at least": _us(total),
            "operations": f"{sum(s.flops for s in report.steps) / 1e9:,.3f} GFLOP",
            "arena": f"{report.peak_bytes / 2**20:,.2f} MiB",
            "workspaces": f"{report.workspace_bytes / 2**20:,.2f} MiB",
            "packed weights": f"{report.packed_bytes / 2**20:,.2f} MiB",
            "threads": str(report.threads),
            "instruction set": report.isa or "torch's",
        }
    )
    result.section("The steps as a picture")
    caption = (
        "A column a stage. Red blocks run in torch. The time is the least that this machine's measured multiply rate "
        "and bandwidths allow for the direct sum; Winograd multiplies less. Orange lines pass other steps by."
    )
    units = [_unit(step, each) for step, each in zip(report.steps, roofs, strict=True)]
    inputs = ["×".join(map(str, shape)) for shape in report.inputs]
    result.figure(draw(units, f"{report.model}: {len(units)} steps", inputs, ROLES), caption)
    result.section("The steps in order")
    _steps(result, report.steps, roofs)
    result.section("Run by torch")
    if report.fallbacks:
        result.items(report.fallbacks)
    else:
        result.text("Nothing: every step is a kernel.")
    result.section("Fusions that did not happen")
    if report.notes:
        result.items(report.notes)
    else:
        result.text("None was left out: whatever a pass looks for, it fused.")
    return result


def _steps(result: Page, steps: Sequence[StepReport], roofs: Sequence[Roof]) -> None:
    columns = [
        Column("", "", "d"), Column("module", path=True), Column("op"), Column("kernel", path=True),
        Column("fused"), Column("layout"), Column("input"), Column("output"),
        Column("operations", "MFLOP", ",.2f"), Column("activations", "KiB", ",.1f"),
        Column("weights", "KiB", ",.1f"), Column("at least", "µs", ",.1f"), Column("bound"),
        Column("not fused"),
    ]  # fmt: skip
    longest = max((each.seconds for each in roofs), default=0.0) or 1.0
    rows: list[list[Cell]] = []
    for number, (step, each) in enumerate(zip(steps, roofs, strict=True)):
        rows.append(
            [
                number,
                step.path,
                f"{step.op} {step.window}".strip(),
                step.kernel or f"torch: {step.reason}",
                step.fused,
                step.layout,
                "×".join(map(str, step.input)),
                "×".join(map(str, step.output)),
                step.flops / 1e6 if step.flops else None,
                step.activation_bytes / 1024,
                step.weight_bytes / 1024 if step.weight_bytes else None,
                Bar(each.seconds * 1e6, each.seconds / longest),
                each.bound,
                "; ".join(step.unfused),
            ]  # fmt: skip
        )
    result.table(columns, rows)


def _unit(step: StepReport, each: Roof) -> Unit:
    lines = [f"+ {part}" for part in [step.fused] if part]
    lines += [step.kernel or "torch"]
    if step.unfused:
        lines.append(f"not fused: {len(step.unfused)}")
    return Unit(
        path=step.path,
        kind=step.op,
        detail=step.window,
        shape=step.output,
        figures=_us(each.seconds),
        inputs=step.inputs,
        stage=step.stage,
        weighted=True,  # each step is a block of its own
        color="" if step.kernel and step.op not in COPIES else "other" if step.kernel else "torch",
        lines=tuple(lines),
    )


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"
