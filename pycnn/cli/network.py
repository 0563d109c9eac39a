"""What the commands on networks have in common: their arguments, random inputs, the paper in a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from pycnn.cli.files import PROGRAMS, of_file
from pycnn.models import create_model
from pycnn.registry import Paper, find_model

ZooName = Annotated[str, typer.Argument(help="A model of `pycnn list`.")]
Name = Annotated[str, typer.Argument(help="A model of `pycnn list`, or a .pt2 or .pycnn file.")]
Batch = Annotated[int, typer.Option(min=1, help="Images in the batch.")]
Size = Annotated[
    int | None, typer.Option(min=1, help="Height and width; default: the model's own.")
]
DtypeName = Annotated[
    str | None, typer.Option("--dtype", help="Run it in bfloat16, float16 or float32.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="At most this many; default: torch's.")]


def network(name: str, batch: int, size: int | None) -> tuple[nn.Module, tuple[Any, ...]]:
    """The model in eval mode and the arguments of a call; weights and images are random, from seed 0.

    Of a file: the inputs it was made with, or random ones of their sizes; batch and size instead where it takes them.
    """
    if Path(name).suffix in PROGRAMS:
        return of_file(Path(name), batch, size)
    variant = find_model(name)
    c, h, w = variant.input_size
    image = (h, w) if size is None else (size, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(name).eval()
        x = torch.randn(batch, c, *image)
    return model, (x, *variant.family.extra_inputs)


def dtype_of(name: str | None) -> torch.dtype | None:
    """The dtype of that name. ValueError: there is none."""
    found = None if name is None else getattr(torch, name, None)
    if name is not None and not isinstance(found, torch.dtype):
        raise ValueError(f"--dtype {name!r} is no dtype of torch, such as bfloat16")
    return found


def cite(paper: Paper) -> str:
    """The first author, the year and the number at arXiv: for a column of a table."""
    first, *others = paper.authors.removesuffix(" et al.").split(", ")
    et_al = " et al." if others or "et al." in paper.authors else ""
    arxiv = "" if paper.arxiv is None else f", arXiv:{paper.arxiv}"
    return f"{first}{et_al} {paper.year}{arxiv}"
