"""Records of one machine as one: the engines of fp32 and those of bf16, or several sets, from runs of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from pycnn.limits import better
from pycnn.timing import Record


def merge(records: Sequence[Record]) -> Record:
    """All that they have, in their order; the limits the better of all, the date the last.

    Raises:
        ValueError: there is none; they are of different machines, threads or versions; two have the same figure, of
            which only one run can stand beside the others'.
    """
    if not records:
        raise ValueError("merge: no record")
    first = records[0]
    for other in records[1:]:
        for what in ("cpu", "threads", "versions"):
            a, b = getattr(first, what), getattr(other, what)
            if a != b:
                raise ValueError(f"merge: the records' {what} differ: {a} and {b}")
    timings = tuple(t for r in records for t in r.timings)
    layers = tuple(row for r in records for row in r.layers)
    figures = [f"{t.workload.title}, {t.engine}" for t in timings]
    figures += [f"{row['network']}, batch {row['batch']}, layer {row['name']}" for row in layers]
    twice = [name for name, count in Counter(figures).items() if count > 1]
    if twice:
        raise ValueError(f"merge: {len(twice)} figures are in two records, such as {twice[0]}")
    return replace(
        first,
        date=max(r.date for r in records),
        limits=reduce(better, (r.limits for r in records)),
        rounds=max(r.rounds for r in records),
        seconds=max(r.seconds for r in records),
        timings=timings,
        failures=tuple(f for r in records for f in r.failures),
        flops={name: n for r in records for name, n in r.flops.items()},
        layers=layers,
    )
