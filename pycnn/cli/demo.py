"""`pycnn demo`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pycnn.cli.app import Json, command
from pycnn.demo import run_demo


@command("demo")
def demo_command(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for demo.png.")] = Path("demo"),
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Write no demo.png.")] = False,
    seconds: Annotated[
        float, typer.Option(min=0, help="Length of each of the 4 turns of an engine.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Train a LeNet on real handwritten digits, optimise it, compare predictions, time it and a ResNet-18.

    Exit status 1 if torch and pycnn predict differently on any held-out image.

    Examples: [bold]pycnn demo[/], [bold]pycnn demo --out /tmp/demo[/], [bold]pycnn demo --no-plot --json[/]
    """
    progress = Console(stderr=True)
    result = run_demo(progress, epochs=epochs, out=None if no_plot else out, seconds=seconds)
    found = result.comparison
    if as_json:
        print(json.dumps(result.record(), indent=2))
    else:
        console = Console()
        console.print(
            f"held-out digits: accuracy {found.accuracy_pycnn:.4f} (torch {found.accuracy_torch:.4f}), "
            f"{found.images - found.different} of {found.images} predictions equal"
        )
        console.print(result.table())
        if result.plot is not None:
            console.print(f"plot: {result.plot}")
    if found.different:
        raise ValueError(f"{found.different} of {found.images} predictions differ from torch's")
