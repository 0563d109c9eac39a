"""Facts about the rows of the table that only a network built has: parameters and multiply-adds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pycnn.models.create import create_model
from pycnn.registry import Variant, find_model

FILE = Path(__file__).with_name("figures.json")  # written by tools/models_table.py


@dataclass(frozen=True)
class Figures:
    """Of one variant as `create_model(name)` builds it.

    Attributes:
        parameters: number of them, auxiliary heads included.
        macs: multiply-adds of the convolutions and linear layers for one image of the default size in eval mode.
    """

    parameters: int
    macs: int


def figures(name: str) -> Figures:
    """The figures of a model: from the table that comes with the package, else counted.

    Raises:
        ValueError: there is no such model.
    """
    find_model(name)
    known = _table().get(name)
    return count(name) if known is None else Figures(**known)


def count(name: str) -> Figures:
    """The figures of a model, counted on the meta device, where nothing is computed."""
    variant = find_model(name)
    with torch.device("meta"):
        net = create_model(name).eval()
        x = torch.empty(1, *variant.input_size)
    macs = 0

    def add(module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.ConvTranspose2d):  # each input pixel meets the whole filter
            macs += module.weight.numel() * args[0].shape[2:].numel()
        elif isinstance(module, nn.Conv2d):
            macs += module.weight.numel() * y.shape[2:].numel()
        elif isinstance(module, nn.Linear):
            macs += module.in_features * y.numel()

    for module in net.modules():
        module.register_forward_hook(add)
    with torch.enable_grad():  # so that each layer is called as a module
        net(x, *variant.family.extra_inputs)
    return Figures(sum(p.numel() for p in net.parameters()), macs)


def describe(name: str) -> dict[str, Any]:
    """A row of `pycnn list`, ready for JSON."""
    variant = find_model(name)
    found = figures(name)
    paper = variant.family.paper
    return {
        "name": name,
        "family": variant.family.name,
        "task": variant.family.task,
        "input_size": variant.input_size,
        "num_classes": variant.num_classes,
        "parameters": found.parameters,
        "macs": found.macs,
        "backbone_reductions": _reductions(variant),
        "paper": {
            "title": paper.title,
            "authors": paper.authors,
            "year": paper.year,
            "arxiv": paper.arxiv,
        },
    }


def _reductions(variant: Variant) -> list[int] | None:
    return None if variant.family.stages is None else list(variant.family.stages)


@cache
def _table() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = json.loads(FILE.read_text())
    return table
