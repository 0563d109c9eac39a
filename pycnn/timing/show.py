"""`measure` with a progress bar on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pycnn.timing.record import Record, measure
from pycnn.timing.results import Failure, Workload
from pycnn.timing.rounds import Listener, check_names


@dataclass(frozen=True)
class Settings:
    """What to run: names of `ENGINES`, `threads` of every engine, `rounds` turns of `seconds` each."""

    engines: Sequence[str]
    threads: int
    rounds: int
    seconds: float


def measure_shown(
    workloads: Sequence[Workload], settings: Settings, path: Path | None = None
) -> Record:
    """`measure`, saying what is built and how many turns are left; failures are said at once.

    Raises:
        ValueError: see `check_names`. OSError: `path` cannot be written. Both before anything is timed.
    """
    check_names(workloads, settings.engines)
    columns = (TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # A bar drawn ten times a second is work that engines would feel.
    with Progress(*columns, console=console, refresh_per_second=1, transient=True) as progress:
        turns = settings.rounds * len(settings.engines) * len(workloads)
        task = progress.add_task("measuring the machine's limits", total=turns)

        def on_build(workload: Workload, engine: str) -> None:
            text = f"{workload.title}: building {engine}"
            progress.update(task, description=text)

        def on_turn() -> None:
            progress.update(task, advance=1, description="engines take turns")

        def on_failure(failure: Failure) -> None:
            progress.console.print(failure.sentence, markup=False)

        return measure(
            workloads,
            engines=settings.engines,
            threads=settings.threads,
            rounds=settings.rounds,
            seconds=settings.seconds,
            listener=Listener(on_build=on_build, on_turn=on_turn, on_failure=on_failure),
            path=path,
        )
