"""What the commands on networks of the zoo have in common: their arguments, random inputs, the paper in a few words."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer
from torch import nn

from pycnn.models import create_model
from pycnn.registry import Paper, find_model

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


def cite(paper: Paper) -> str:
    """The first author, the year and the number at arXiv: for a column of a table."""
    first, *others = paper.authors.removesuffix(" et al.").split(", ")
    et_al = " et al." if others or "et al." in paper.authors else ""
    arxiv = "" if paper.arxiv is None else f", arXiv:{paper.arxiv}"
    return f"{first}{et_al} {paper.year}{arxiv}"
