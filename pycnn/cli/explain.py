"""`pycnn explain`."""

from __future__ import annotations

from typing import Annotated

import torch
import typer

from pycnn.cli.app import Json, command
from pycnn.explain import explain
from pycnn.models import create_model
from pycnn.optimize import optimize
from pycnn.registry import find_model


@command("explain")
def explain_command(
    name: Annotated[str, typer.Argument(help="A model of `pycnn list`.")],
    batch: Annotated[int, typer.Option(min=1, help="Images in the batch.")] = 1,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width; default: the model's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the steps an optimised model runs: kernel, sizes, what was fused, why something was not.

    Examples: [bold]pycnn explain resnet18[/], [bold]pycnn explain small_cnn --batch 8 --json[/]
    """
    variant = find_model(name)
    c, h, w = variant.input_size
    image = (h, w) if size is None else (size, size)
    fast = optimize(create_model(name).eval())
    with torch.inference_mode():
        report = explain(fast, torch.zeros(batch, c, *image), *variant.family.extra_inputs)
    print(report.to_json() if as_json else report)
