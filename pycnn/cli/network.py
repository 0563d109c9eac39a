"""What the commands that run a network of the zoo have in common: its arguments, and random inputs for it."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer
from torch import nn

from pycnn.models import create_model
from pycnn.registry import find_model

Name = Annotated[str, typer.Argument(help="A model of `pycnn list`.")]
Batch = Annotated[int, typer.Option(min=1, help="Images in the batch.")]
Size = Annotated[
    int | None, typer.Option(min=1, help="Height and width; default: the model's own.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="At most this many; default: torch's.")]


def network(name: str, batch: int, size: int | None) -> tuple[nn.Module, tuple[Any, ...]]:
    """The model in eval mode and the arguments of a call; weights and images are random, from seed 0."""
    variant = find_model(name)
    c, h, w = variant.input_size
    image = (h, w) if size is None else (size, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(name).eval()
        x = torch.randn(batch, c, *image)
    return model, (x, *variant.family.extra_inputs)
