"""What can be known of the CUDA kernels only on a GPU, piece by piece into one JSON record.

    python -m bench.gpu_check --quick             # ceilings, every kernel, every network: under four minutes
    python -m bench.gpu_check                     # all; a piece that the record has is not run again
    python -m bench.gpu_check --again 'times_*'   # ... unless asked to; names may hold * and ?

Needs a GPU, a torch for it, pycnn built in place (`make gpu-check GPU_CHECK_ARGS=--quick` does both) and pytest; no
network. The record is bench/results/<gpu>/<date>.json, written after every piece. No piece begins after --seconds, so
that a run ends within ten minutes; the next one goes on. Exit status: 0 all agrees; 1 something does not, or there is
nothing to run on; 3 pieces are left; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import gpu_convs, gpu_pieces
from pycnn.files import write_text
from pycnn.planning.devices import NoTargetError, cuda_kernels

RESULTS = Path(__file__).parent / "results"
Found = dict[str, Any]  # of a piece: numbers, and "failures", a list of sentences


@dataclass(frozen=True)
class Piece:
    """`run` takes the record so far; `quick`: part of --quick."""

    name: str
    run: Callable[[Found], Found]
    quick: bool = False


PIECES = (
    Piece("machine", gpu_pieces.machine, True),
    Piece("ceilings", gpu_pieces.ceilings, True),
    Piece("build", gpu_pieces.build),
    Piece("kernels", gpu_pieces.kernels, True),
    *(Piece(f"errors_{n}", partial(gpu_pieces.errors, n), True) for n in gpu_pieces.NETWORKS),
    *(Piece(f"wgmma_{n}", partial(gpu_pieces.wgmma, n)) for n in gpu_convs.NETWORKS),
    *(Piece(f"early_{n}", partial(gpu_pieces.early, n)) for n in gpu_pieces.NETWORKS),
    *(Piece(f"sanitizer_{t}", partial(gpu_pieces.sanitizer, t)) for t in gpu_pieces.TOOLS),
    *(
        Piece(f"times_{batch}_{n}", partial(gpu_pieces.times, n, batch))
        for batch in (1, 8, 64, 256)
        for n in gpu_pieces.NETWORKS
    ),
)


def default_path(gpu: str) -> Path:
    """bench/results/<gpu>/<date>.json."""
    words = re.sub(r"[^a-z0-9]+", "-", gpu.lower().replace("nvidia", "")).strip("-")
    return RESULTS / words / f"{date.today().isoformat()}.json"


def read(path: Path) -> Found:
    """The record, empty where there is none. ValueError: the file is something else."""
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path} is no record of gpu_check")
    return record


def wanted(patterns: Sequence[str], quick: bool) -> list[Piece]:
    """The pieces asked for. ValueError: there is none of that name."""
    for pattern in patterns:
        if not any(fnmatch(piece.name, pattern) for piece in PIECES):
            raise ValueError(
                f"no piece named {pattern}: there are {', '.join(p.name for p in PIECES)}"
            )
    found = [p for p in PIECES if not patterns or any(fnmatch(p.name, each) for each in patterns)]
    return [p for p in found if p.quick or not quick]


def run(pieces: Sequence[Piece], path: Path, again: bool, seconds: float) -> tuple[list[str], int]:
    """Run them into the record at `path`, none begun after `seconds`; what failed, a sentence each, and how many are
    left."""
    record, begin = read(path), time.perf_counter()
    failures: list[str] = []
    left = 0
    for piece in pieces:
        start = time.perf_counter()
        if piece.name not in record or again:
            if start - begin > seconds:
                left += 1
                continue
            try:
                found = piece.run(record)
            except (RuntimeError, OSError, NotImplementedError) as error:
                found = {"failures": [f"{type(error).__name__}: {error}".splitlines()[0]]}
            record[piece.name] = {**found, "took_s": round(time.perf_counter() - start, 1)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(record, indent=1) + "\n")
        mine = record[piece.name].get("failures", [])
        print(told(piece.name, record[piece.name]), flush=True)
        failures += [f"{piece.name}: {sentence}" for sentence in mine]
    return failures, left


def told(name: str, found: Found) -> str:
    """A finished piece in a line."""
    line = f"{name}: {found['took_s']} s, {len(found.get('failures', []))} failures"
    for engine, spent in found.get("seconds", {}).items():
        line += f"; {engine} {spent * 1e3:.3f} ms"
    return line + (f"; {found['of_floor']:.0%} of the floor" if "of_floor" in found else "")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_check", description=__doc__.splitlines()[0]
    )
    parser.add_argument("pieces", nargs="*", metavar="PIECE")
    parser.add_argument("--quick", action="store_true", help="correctness and ceilings alone")
    parser.add_argument("--again", action="store_true", help="run pieces that the record has")
    parser.add_argument("--seconds", type=float, default=420, help="no piece begins after these")
    parser.add_argument("--json", type=Path, help="default: bench/results/<gpu>/<date>.json")
    options = parser.parse_args(arguments)
    try:
        pieces = wanted(options.pieces, options.quick)
        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} sees no CUDA device")
        cuda_kernels()
        path = options.json or default_path(torch.cuda.get_device_name())
        failures, left = run(pieces, path, options.again, options.seconds)
    except (NoTargetError, OSError, RuntimeError, ValueError) as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gpu_check: interrupted; finished pieces are in the record", file=sys.stderr)
        return 130
    for sentence in failures:
        print(f"failed: {sentence}", file=sys.stderr)
    print(f"written: {path}" + (f"; {left} pieces are left, run it again" if left else ""))
    return 1 if failures else 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
