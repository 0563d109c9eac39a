"""What a loaded network costs at its first call, with its weights packed in the file and without.

    python -m bench saved [NETWORK[:BATCH[:SIZE]] ...]

Files are written, and each is read, in a process of its own; they are in the page cache then.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table

import pycnn
from bench.apart import last_line
from pycnn.timing import Workload
from pycnn.timing.facts import peak_bytes
from pycnn.timing.networks import network_and_input

DEFAULT = ["mobilenet_v2", "efficientnet_b0", "resnet50", "vgg16"]
_CALLS, _ROUNDS = 20, 3


@dataclass(frozen=True)
class Row:
    """Of one file. load_s: of `pycnn.load`; first_s: the first call less a steady one; peak_bytes: of the process."""

    title: str
    packed: bool
    file_bytes: int
    load_s: float
    first_s: float
    steady_s: float
    peak_bytes: int


def write(workload: Workload, folder: str) -> None:
    """plain.pycnn and packed.pycnn."""
    net, x = network_and_input(workload)
    fast = pycnn.optimize(net)
    fast.warmup(x)
    pycnn.save(fast, Path(folder) / "plain.pycnn")
    pycnn.save(fast, Path(folder) / "packed.pycnn", packed=True)


def tell(workload: Workload, folder: str, kind: str) -> None:
    """Print the row of a file as JSON; in a process that has not run anything yet."""
    path = Path(folder) / f"{kind}.pycnn"
    start = time.perf_counter()
    fast = pycnn.load(path)
    load = time.perf_counter() - start
    x = torch.randn(fast.graphs[0].graph.input_shapes[0])
    calls = []
    with torch.inference_mode():
        for _ in range(1 + _CALLS):
            start = time.perf_counter()
            fast(x)
            calls.append(time.perf_counter() - start)
    first, steady = calls[0], min(calls[1:])
    costs = load, first - steady, steady, peak_bytes()
    row = Row(workload.title, kind == "packed", path.stat().st_size, *costs)
    print(json.dumps(asdict(row)))


def measure(workload: Workload) -> list[Row]:
    """The rows of both files: of several processes the one with the least first call.

    Raises:
        RuntimeError: a process failed; with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        _apart(f"write({workload!r}, {folder!r})")
        rows = [
            Row(**json.loads(_apart(f"tell({workload!r}, {folder!r}, {kind!r})")))
            for _ in range(_ROUNDS)
            for kind in ("plain", "packed")
        ]
    return [min(rows[i::2], key=lambda row: row.first_s) for i in range(2)]


def _apart(call: str) -> str:
    return last_line(f"from bench.saved import Workload, tell, write; {call}", call)


def table(rows: list[Row]) -> Table:
    """One line a file."""
    found = Table(title="Loaded networks")
    found.add_column("network, file")
    for head in ("file MiB", "load ms", "first call ms\nless a steady", "steady ms", "peak MiB"):
        found.add_column(head, justify="right")
    for row in rows:
        times = (f"{s * 1e3:.1f}" for s in (row.load_s, row.first_s, row.steady_s))
        sizes = (f"{b / 2**20:.0f}" for b in (row.file_bytes, row.peak_bytes))
        kind = "packed" if row.packed else "plain"
        found.add_row(f"{row.title}, {kind}", next(sizes), *times, next(sizes))
    return found
