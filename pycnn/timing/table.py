"""A record as a table on the terminal, and the one ratio that sums it up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pycnn.timing.record import Record
from pycnn.timing.results import Timing, Workload

_COLUMNS = (
    "network", "batch", "engine", "min ms", "p20 ms", "median ms", "vs best", "error", "setup s", "2nd shape ms",
    "peak MiB",
)  # fmt: skip


def workloads(timings: Sequence[Timing]) -> list[Workload]:
    """Each workload once, in order."""
    return list(dict.fromkeys(t.workload for t in timings))


def best_rival(timings: Sequence[Timing], workload: Workload) -> Timing | None:
    """The fastest (20th percentile) engine but pycnn that answers one call at a time; None: there was none.

    An engine with several requests in flight answers each of them later than that: it is shown, not compared.
    """
    others = [
        t for t in timings if t.workload == workload and t.engine != "pycnn" and t.requests == 1
    ]
    return min(others, key=lambda t: t.p20_s, default=None)


def speedup(timings: Sequence[Timing], workload: Workload) -> float | None:
    """How many times fewer seconds (20th percentile) pycnn takes than the best rival; None: one was not timed."""
    own = [t for t in timings if t.workload == workload and t.engine == "pycnn"]
    rival = best_rival(timings, workload)
    return None if not own or rival is None else rival.p20_s / own[0].p20_s


def rich_table(record: Record) -> Table:
    """One row per network, batch and engine."""
    table = Table(
        title=f"{record.cpu}, {record.threads} threads, {record.limits.fma_flops / 1e9:.0f} GFLOP/s, "
        f"torch {record.versions['torch']}; error: max|y - ref| / max|ref|, ref in fp64"
    )
    for column in _COLUMNS:
        left = column in ("network", "engine")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for workload in workloads(record.timings):
        rows = [t for t in record.timings if t.workload == workload]
        ratio = speedup(record.timings, workload)
        for t in rows:
            versus = f"{ratio:.2f}x" if ratio is not None and t.engine == "pycnn" else ""
            second = "" if t.second_shape_s is None else f"{t.second_shape_s * 1e3:.1f}"
            flying = f" ({t.requests} at a time)" if t.requests > 1 else ""
            table.add_row(
                workload.model, str(workload.batch), t.engine + flying,
                *(f"{s * 1e3:.3f}" for s in (t.min_s, t.p20_s, t.median_s)),
                versus, f"{t.error:.1e}", f"{t.setup_s:.2f}", second, f"{t.peak_bytes / 2**20:.0f}",
                style="bold" if t.engine == "pycnn" else None, end_section=t is rows[-1],
            )  # fmt: skip
    return table
