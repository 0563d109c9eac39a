"""A record as a table on the terminal, and the one ratio that sums it up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pycnn.timing.engines import ENGINES, OURS
from pycnn.timing.record import Record
from pycnn.timing.results import Timing, Workload

_NARROW = ("network", "engine", "p20 ms", "vs best", "error", "setup s")
_WIDE = (*_NARROW, "min ms", "median ms", "2nd shape ms", "peak MiB")


def workloads(timings: Sequence[Timing]) -> list[Workload]:
    """Each workload once, in order."""
    return list(dict.fromkeys(t.workload for t in timings))


def best_rival(
    timings: Sequence[Timing], workload: Workload, dtype: str = "float32"
) -> Timing | None:
    """The fastest (20th percentile) engine of `dtype`, not ours, that answers one call at a time; None: there was none.

    An engine with several requests in flight answers each of them later than that: it is shown, not compared.
    """
    others = [
        t
        for t in timings
        if t.workload == workload and t.engine not in OURS and t.requests == 1
        if dtype_of(t.engine) == dtype
    ]
    return min(others, key=lambda t: t.p20_s, default=None)


def dtype_of(engine: str) -> str:
    """What it computes in."""
    return ENGINES[engine].dtype if engine in ENGINES else "float32"


def speedup(timings: Sequence[Timing], workload: Workload, engine: str = "pycnn") -> float | None:
    """How many times fewer seconds (20th percentile) `engine` takes than the best rival of its dtype; None: one was not
    timed."""
    own = [t for t in timings if t.workload == workload and t.engine == engine]
    rival = best_rival(timings, workload, dtype_of(engine))
    return None if not own or rival is None else rival.p20_s / own[0].p20_s


def rich_table(record: Record, wide: bool = True) -> Table:
    """One row per network, batch and engine; `wide` takes 130 characters, else 80."""
    limit = f"{record.limits.fma_flops / 1e9:.0f} GFLOP/s, torch {record.versions['torch']}"
    table = Table(
        title=f"{record.cpu}, {record.threads} threads, {limit}",
        caption="p20: 20th percentile; vs best: of others in that dtype; error: max|y - ref| / max|ref|, ref in fp64",
    )
    columns = _WIDE if wide else _NARROW
    for column in columns:
        left = column in ("network", "engine")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for workload in workloads(record.timings):
        rows = [t for t in record.timings if t.workload == workload]
        for t in rows:
            cells = _cells(t, speedup(record.timings, workload, t.engine))
            table.add_row(
                *(cells[column] for column in columns),
                style="bold" if t.engine == "pycnn" else None, end_section=t is rows[-1],
            )  # fmt: skip
    return table


def _cells(t: Timing, ratio: float | None) -> dict[str, str]:
    return {
        "network": t.workload.label,
        "engine": t.engine + (f" ({t.requests} at a time)" if t.requests > 1 else ""),
        "min ms": f"{t.min_s * 1e3:.3f}",
        "p20 ms": f"{t.p20_s * 1e3:.3f}",
        "median ms": f"{t.median_s * 1e3:.3f}",
        "vs best": f"{ratio:.2f}x" if ratio is not None and t.engine in OURS else "",
        "error": f"{t.error:.1e}",
        "setup s": f"{t.setup_s:.2f}",
        "2nd shape ms": "" if t.second_shape_s is None else f"{t.second_shape_s * 1e3:.1f}",
        "peak MiB": f"{t.peak_bytes / 2**20:.0f}",
    }
