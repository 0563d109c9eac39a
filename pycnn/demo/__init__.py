"""`pycnn demo`: a LeNet trained on real digits, optimised, compared and timed, with a progress bar.

Needs the `demo` extra: scikit-learn for the digits, matplotlib for the plot.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pycnn.demo.compare import WORKLOADS, Comparison, speedup, train_and_compare
from pycnn.demo.plot import write_plot
from pycnn.extras import MissingExtraError, load_matplotlib
from pycnn.timing import TORCH_ENGINES, Listener, Timing, compare

__all__ = ["DemoResult", "MissingExtraError", "run_demo"]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found; `plot` is the written file, or None."""

    comparison: Comparison
    timings: list[Timing]
    plot: Path | None

    def record(self) -> dict[str, Any]:
        """All figures as plain data for JSON."""
        timings = [asdict(t) | {"speedup": speedup(t, self.timings)} for t in self.timings]
        plot = None if self.plot is None else str(self.plot)
        return {"digits": self.comparison.record(), "timings": timings, "plot": plot}

    def table(self) -> Table:
        """One row per network, batch and engine."""
        table = Table(
            title="each engine in its own process; error: max|y - ref| / max|ref|, ref in fp64"
        )
        for title in ("network", "batch", "engine"):
            table.add_column(title)
        for title in ("min µs", "p20 µs", "speed-up", "error"):
            table.add_column(title, justify="right")
        for t in self.timings:
            table.add_row(
                t.workload.model, str(t.workload.batch), t.engine,
                f"{t.min_s * 1e6:,.1f}", f"{t.p20_s * 1e6:,.1f}",
                f"{speedup(t, self.timings):.2f}×", f"{t.error:.1e}",
                style="bold" if t.engine == "pycnn" else None,
                end_section=t.engine == TORCH_ENGINES[-1],
            )  # fmt: skip
        return table


def run_demo(
    console: Console,
    *,
    epochs: int = 20,
    out: Path | None = Path("demo"),
    rounds: int = 4,
    seconds: float = 0.5,
) -> DemoResult:
    """Train, optimise, compare, time, plot.

    Args:
        console: where the progress is shown.
        epochs: of training; 20 reach 0.98 accuracy on the held-out digits.
        out: folder for demo.png, made if it is missing; None draws no plot.
        rounds, seconds: of timing, see `pycnn.timing.compare`.

    Raises:
        MissingExtraError: scikit-learn or, with a plot, matplotlib is not installed.
        OSError: `out` cannot be written. RuntimeError: a timing process failed.
    """
    if out is not None:
        load_matplotlib("demo")  # a missing package is said before a minute's work, not after
        out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description:40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training LeNet on 1437 digits", total=epochs)

        def on_epoch(loss: float) -> None:
            progress.update(task, advance=1, description=f"training LeNet: loss {loss:.4f}")

        comparison, digits = train_and_compare(epochs, on_epoch)
        timings = _time(progress, rounds, seconds)
    plot = None
    if out is not None:
        plot = out / "demo.png"
        write_plot(plot, digits, comparison, timings)
    return DemoResult(comparison, timings, plot)


def _time(progress: Progress, rounds: int, seconds: float) -> list[Timing]:
    turns = rounds * len(TORCH_ENGINES) * len(WORKLOADS)
    task: TaskID = progress.add_task("timing torch and pycnn", total=turns)
    listener = Listener(on_turn=lambda: progress.advance(task))
    return compare(WORKLOADS, rounds=rounds, seconds=seconds, listener=listener)
