"""`pycnn explain`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from pycnn.cli.app import Json, command
from pycnn.cli.network import Batch, DtypeName, Name, Size, dtype_of, network
from pycnn.explain import explain
from pycnn.optimize import optimize


@command("explain")
def explain_command(
    name: Name,
    batch: Batch = 1,
    size: Size = None,
    dtype: DtypeName = None,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page.")] = None,
    as_json: Json = False,
) -> None:
    """Show the steps an optimised model runs: kernel, sizes, what was fused, why something was not.

    Examples: [bold]pycnn explain resnet18[/], [bold]pycnn explain small_cnn --batch 8 --html small_cnn.html[/]
    """
    with Console(stderr=True).status(f"planning {name}"):
        model, arguments = network(name, batch, size)
        with torch.inference_mode():
            fast = optimize(model, dtype=dtype_of(dtype))
            report = replace(explain(fast, *arguments), model=name)
    if html is not None:
        with Console(stderr=True).status("measuring the machine"):
            report.to_html(html)
    print(report.to_json() if as_json else report)
