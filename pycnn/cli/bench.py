"""`pycnn bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from pycnn import _C
from pycnn.cli.app import Json, command
from pycnn.timing import TORCH_ENGINES, Workload, find_engines
from pycnn.timing.results import parse_size
from pycnn.timing.show import Settings, measure_shown
from pycnn.timing.table import rich_table

_MANY = ("--batch", "--engines")


class _ManyValues(TyperCommand):
    """`--batch 1 8` as `--batch 1 --batch 8`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(args: list[str]) -> list[str]:
    """Repeat an option of `_MANY` before each of its values, which end at the next option."""
    out: list[str] = []
    option = ""
    for arg in args:
        if arg.startswith("-"):
            option = arg if arg in _MANY else ""
        elif option:
            out += [option, arg]
            continue
        if arg not in _MANY:
            out.append(arg)
    return out


@command("bench", cls=_ManyValues)
def bench_command(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Models of `pycnn list`, or torchvision/NAME, timm/NAME of those libraries."
        ),
    ],
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch sizes; default 1.")] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Of images, 256 or 200x320 (HxW); default: each model's own."
        ),
    ] = None,
    engines: Annotated[
        list[str] | None,
        typer.Option(
            help="torch-nchw, torch-nhwc, torch.compile, onnx-runtime, openvino, openvino-throughput, pycnn; "
            "all: every one that can run here. Default: torch's eager ones and pycnn."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of every engine; default: the usable cores.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each engine.")] = 4,
    seconds: Annotated[float, typer.Option(min=0, help="Length of a turn.")] = 0.5,
    save: Annotated[
        Path | None, typer.Option(help="Also write the JSON to this file, after each result.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time models on pycnn and on other engines, each in a process of its own, with the error against fp64.

    Exit status 1 if an engine could not run. A machine that was busy meanwhile is said on stderr: run it again.

    Examples: [bold]pycnn bench resnet50 --batch 1 8[/], [bold]pycnn bench unet --size 200x320[/],
    [bold]pycnn bench torchvision/regnet_y_400mf --engines all --json[/]
    """
    settings = Settings(
        find_engines(engines) if engines else TORCH_ENGINES,
        int(_C.machine()["cores"]) if threads is None else threads,
        rounds,
        seconds,
    )
    image = None if size is None else parse_size(size, f"--size {size!r}")
    wanted = [Workload(name, n, image) for name in names for n in batch or [1]]
    record = measure_shown(wanted, settings, save)
    if as_json:
        print(json.dumps(record.to_dict(), indent=2))
    else:
        console = Console()
        console.print(rich_table(record, wide=console.width >= 130))
    for sentence in record.disturbances():
        print(f"disturbed: {sentence}", file=sys.stderr)
    if record.failures:
        raise RuntimeError("; ".join(failure.sentence for failure in record.failures))
