"""The benchmark: networks on every engine of this machine, then every layer, into one JSON record.

python -m bench run [NETWORK[:BATCH[:SIZE]] ... | --set main|outside] [--engines all] [--layers NETWORK ...]

NETWORK is of the zoo, or torchvision/NAME or timm/NAME; SIZE is 256 or 200x320 (HxW), and without it the network's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import layers
from bench.shapes import FOLDER, Layer, read
from pycnn.limits import limits, remeasure
from pycnn.processor import cpu_name
from pycnn.timing import Record

LAYERS = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
)  # behind the networks, unless others are asked for
RESULTS = Path(__file__).parent / "results" / "cpu"


def default_path(set_name: str | None = None) -> Path:
    """bench/results/cpu/<processor>-<date>.json, of a set besides the main one <processor>-<date>-<set>.json, with a
    number behind it where there is such a file; the folder is made."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    words = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    name = f"{words}-{date.today().isoformat()}"
    name += "" if set_name in (None, "main") else f"-{set_name}"
    free = (RESULTS / f"{name}{f'-{n}' if n > 1 else ''}.json" for n in count(1))
    return next(path for path in free if not path.exists())


def read_shapes(networks: Sequence[str]) -> dict[str, list[Layer]]:
    """The layers of each network.

    Raises:
        ValueError: a network has no file; says how to make it.
    """
    for network in networks:
        if not (FOLDER / f"{network}.txt").exists():
            known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.txt")))
            raise ValueError(
                f"no shapes of {network!r}, only of {known}: python -m bench shapes {network}"
            )
    return {network: read(FOLDER / f"{network}.txt") for network in networks}


def run_layers(networks: Sequence[str], batches: Sequence[int], record: Record) -> Record:
    """The record with a row for every distinct layer of the networks.

    Raises:
        ValueError: a network has no file in bench/shapes.
    """
    torch.manual_seed(0)
    shapes = read_shapes(networks)
    columns = (TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn())
    rows = []
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=1) as progress:
        total = len(batches) * sum(map(len, shapes.values()))
        task = progress.add_task("layers", total=total)
        for network, found in shapes.items():
            for batch in batches:
                for layer in found:
                    progress.update(task, description=f"{network}, batch {batch}: {layer.name}")
                    row = layers.measure(layer, batch, record.threads)
                    rows.append({"network": network, **row})
                    progress.advance(task)
    # The better of two measurements of the limits: a busy moment in one would flatter every layer.
    return replace(record, layers=tuple(rows), limits=remeasure(record.threads))


def empty_record(threads: int) -> Record:
    """A record for layers alone."""
    limits(threads)
    return Record.begin(threads, rounds=0, seconds=0.0)
