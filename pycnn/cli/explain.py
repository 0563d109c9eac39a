"""`pycnn explain`."""

from __future__ import annotations

import torch

from pycnn.cli.app import Json, command
from pycnn.cli.network import Batch, Name, Size, network
from pycnn.explain import explain
from pycnn.optimize import optimize


@command("explain")
def explain_command(
    name: Name,
    batch: Batch = 1,
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Show the steps an optimised model runs: kernel, sizes, what was fused, why something was not.

    Examples: [bold]pycnn explain resnet18[/], [bold]pycnn explain small_cnn --batch 8 --json[/]
    """
    model, arguments = network(name, batch, size)
    with torch.inference_mode():
        report = explain(optimize(model), *arguments)
    print(report.to_json() if as_json else report)
