"""`pycnn summary`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from pycnn.cli.app import Json, command
from pycnn.cli.network import Batch, Size, ZooName
from pycnn.models import create_model
from pycnn.registry import find_model
from pycnn.summary import summary


@command("summary")
def summary_command(
    name: ZooName,
    batch: Batch = 1,
    size: Size = None,
    svg: Annotated[Path | None, typer.Option(help="Write a picture of the network.")] = None,
    as_json: Json = False,
) -> None:
    """Show the layers of a model: shapes, stages, parameters, MACs, receptive fields, memory. Nothing is computed.

    Examples: [bold]pycnn summary resnet18[/], [bold]pycnn summary googlenet --svg googlenet.svg[/]
    """
    variant = find_model(name)
    c, h, w = variant.input_size
    shape = (batch, c, h, w) if size is None else (batch, c, size, size)
    with torch.device("meta"):
        model = create_model(name)
    found = replace(summary(model, shape, *variant.family.extra_inputs), model=name)
    if svg is not None:
        found.to_svg(svg)
    print(found.to_json() if as_json else found)
