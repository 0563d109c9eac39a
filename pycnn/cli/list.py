"""`pycnn list`."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pycnn.cli.app import Json, command
from pycnn.cli.network import cite
from pycnn.models.figures import describe
from pycnn.registry import find_model, list_models


@command("list")
def list_command(
    pattern: Annotated[str | None, typer.Argument(help="Shell pattern; default: all.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's, as segmentation.")] = None,
    as_json: Json = False,
) -> None:
    """List the models that create_model knows.

    GMACs are 10⁹ multiply-adds of the convolutions and linear layers for one image of the input size.

    Examples: [bold]pycnn list[/], [bold]pycnn list 'resnet*' --json[/], [bold]pycnn list --task segmentation[/]
    """
    rows = [describe(name) for name in list_models(pattern, task=task)]
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        # a terminal's own width; one line a model for whoever reads a pipe
        console = Console() if sys.stdout.isatty() else Console(width=180)
        table = Table("model", "family", "task", "input")
        table.add_column("parameters", justify="right")
        table.add_column("GMACs", justify="right")
        table.add_column("paper")
        for row in rows:
            table.add_row(*_cells(row))
        for column in table.columns[:-1]:
            column.no_wrap = True
        console.print(table)
    if not rows:
        wanted = repr(pattern) if task is None else f"{pattern or '*'!r} with task {task!r}"
        raise ValueError(f"no model matches {wanted}; `pycnn list` shows all")


def _cells(row: dict[str, Any]) -> list[str]:
    c, h, w = row["input_size"]
    paper = cite(find_model(row["name"]).family.paper)
    return [
        row["name"], row["family"], row["task"], f"{c}×{h}×{w}", f"{row['parameters']:,}",
        f"{row['macs'] / 1e9:.3f}", paper,
    ]  # fmt: skip
