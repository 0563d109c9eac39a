"""`pycnn profile`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pycnn.cli.app import Json, command
from pycnn.cli.network import Batch, DtypeName, Name, Size, Threads, dtype_of, network
from pycnn.extras import load_matplotlib
from pycnn.optimize import optimize
from pycnn.profile import profile


@command("profile")
def profile_command(
    name: Name,
    batch: Batch = 1,
    size: Size = None,
    threads: Threads = None,
    dtype: DtypeName = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure.")] = 1.0,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the roofline as a PNG.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write a Chrome trace for ui.perfetto.dev.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time every layer of an optimised model and hold it against what this machine can do.

    Examples: [bold]pycnn profile resnet50[/], [bold]pycnn profile small_cnn --batch 8 --html p.html --plot p.png[/]
    """
    if plot is not None:
        load_matplotlib()  # a missing package is said before the work, not after
    model, arguments = network(name, batch, size)
    with Console(stderr=True).status(f"measuring {name} and the machine"):
        fast = optimize(model, threads=threads, dtype=dtype_of(dtype))
        found = profile(fast, *arguments, seconds=seconds)
    found = replace(found, model=name)
    for path, write in ((html, found.to_html), (plot, found.plot), (trace, found.to_trace)):
        if path is not None:
            write(path)
    print(found.to_json() if as_json else found)
