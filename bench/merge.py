"""Records of one machine as one: the engines of fp32 and those of bf16, or several sets, from runs of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from pycnn.limits import better
from pycnn.timing import Record


def merge(records: Sequence[Record]) -> Record:
    """All that one or more have, in their order; the limits are the better of all, the date is the last.

    Raises:
        ValueError: they are of different processors, threads or versions; or two have the same figure, and only one of
            them can stand beside the others'.
    """
    first = records[0]
    for other in records[1:]:
        a, b = _conditions(first), _conditions(other)
        differing = [f"{k} {a.get(k)} and {b.get(k)}" for k in {**a, **b} if a.get(k) != b.get(k)]
        if differing:
            raise ValueError(f"merge: records under different conditions: {', '.join(differing)}")
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


def _conditions(record: Record) -> dict[str, object]:
    return {"processor": record.cpu, "threads": record.threads, **record.versions}
