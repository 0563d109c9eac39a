"""Whole networks, pycnn against torch eager (NCHW and channels_last), each engine in a process of its own.

    python bench/networks.py [NAME:BATCH ...] [--rounds N] [--seconds S] [--json FILE]

Engines take turns in ABBA order; minimum and 20th percentile a call, the error against the network in fp64 beside them.
Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from pycnn import _C
from pycnn.timing import Timing, Workload, compare

DEFAULT = (
    "lenet_like:1 lenet_like:64 small_cnn:1 small_cnn:8 resnet18:1 resnet18:8 resnet50:1 resnet50:8"
)


def workload(text: str) -> Workload:
    name, _, batch = text.partition(":")
    return Workload(name, int(batch or 1))


def show(timings: list[Timing]) -> Table:
    machine = _C.machine()
    table = Table(title=f"torch {torch.__version__}, {machine['isa']}, {machine['cores']} cores")
    for title in (
        "network",
        "batch",
        "engine",
        "min us",
        "p20 us",
        "error",
        "against the best torch",
    ):
        table.add_column(title, justify="left" if title in ("network", "engine") else "right")
    for t in timings:
        rivals = [u for u in timings if u.workload == t.workload and u.engine != "pycnn"]
        ratio = f"{min(u.p20_s for u in rivals) / t.p20_s:.2f}x" if t.engine == "pycnn" else ""
        cells = (f"{t.min_s * 1e6:.1f}", f"{t.p20_s * 1e6:.1f}", f"{t.error:.1e}", ratio)
        table.add_row(t.workload.model, str(t.workload.batch), t.engine, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", default=DEFAULT.split(), help="NAME:BATCH")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="a turn of an engine")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [workload(text) for text in options.workloads]
    timings = compare(wanted, rounds=options.rounds, seconds=options.seconds)
    Console(width=110).print(show(timings))
    if options.json:
        data = {"machine": _C.machine(), "torch": torch.__version__}
        options.json.write_text(
            json.dumps({**data, "timings": [asdict(t) for t in timings]}, indent=1)
        )


if __name__ == "__main__":
    main()
